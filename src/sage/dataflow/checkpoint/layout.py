"""The bytes of a checkpoint's file.

A line that names the format and its version, a line of JSON, the states of all replicas one after
the other, and the SHA-256 of everything before it, which is last in every version. The JSON says
what is in it and how long each state is.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict
from typing import IO, Any

from sage.dataflow.checkpoint.signature import OperatorSignature
from sage.dataflow.checkpoint.snapshot import JobSnapshot, ReplicaSnapshot
from sage.errors import CheckpointError, DamagedCheckpointError

VERSION = 1
_MAGIC = b"SAGE checkpoint "
_DIGEST_SIZE = hashlib.sha256().digest_size
_CHUNK = 1 << 20


def encode(snapshot: JobSnapshot) -> Iterator[bytes]:
    """Yield a file's bytes, in parts."""
    digest = hashlib.sha256()
    for part in _parts(snapshot):
        digest.update(part)
        yield part
    yield digest.digest()


def decode(file: IO[bytes], path: str) -> JobSnapshot:
    """Return what a file holds, once every byte of it has been checked.

    Args:
        file: one that can be sought in.
        path: for errors.

    Raises:
        DamagedCheckpointError: the bytes are not those that were written.
        CheckpointError: another version of SAGE wrote it, in a format of its own.
        OSError: it cannot be read.
    """
    verify(file, path)
    file.seek(0)
    version = file.readline()[len(_MAGIC) :].strip().decode()
    if version != str(VERSION):
        raise CheckpointError(
            f"{path} has format {version}, and this version of SAGE reads format {VERSION}; "
            "resume with the version that wrote it"
        )
    header = json.loads(file.readline())
    return JobSnapshot(
        number=header["number"],
        time=header["time"],
        graph=tuple(_signature(operator) for operator in header["graph"]),
        operators={
            operator["name"]: tuple(
                ReplicaSnapshot(file.read(replica["length"]), replica["finished"])
                for replica in operator["replicas"]
            )
            for operator in header["operators"]
        },
    )


def verify(file: IO[bytes], path: str) -> None:
    """Read a whole file and raise `DamagedCheckpointError` unless it is as it was written.

    Args:
        file: one that can be sought in.
        path: for errors.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(len(_MAGIC)) != _MAGIC:
        raise DamagedCheckpointError(f"{path} is damaged: it does not begin as a checkpoint does")
    digest = hashlib.sha256(_MAGIC)
    left = size - len(_MAGIC) - _DIGEST_SIZE
    while left > 0 and (chunk := file.read(min(left, _CHUNK))):
        digest.update(chunk)
        left -= len(chunk)
    if file.read(_DIGEST_SIZE) != digest.digest():
        raise DamagedCheckpointError(
            f"{path} is damaged: its {size:,} bytes do not have the checksum at their end, so it "
            "was cut short or changed"
        )


def _parts(snapshot: JobSnapshot) -> Iterator[bytes]:
    yield _MAGIC + b"%d\n" % VERSION
    yield json.dumps(_header(snapshot)).encode("ascii") + b"\n"
    for replicas in snapshot.operators.values():
        for replica in replicas:
            yield replica.state


def _header(snapshot: JobSnapshot) -> dict[str, Any]:
    return {
        "number": snapshot.number,
        "time": snapshot.time,
        "python": platform.python_version(),
        "sage": _package_version(),
        "graph": [asdict(operator) for operator in snapshot.graph],
        "operators": [
            {
                "name": name,
                "replicas": [
                    {"length": len(replica.state), "finished": replica.finished}
                    for replica in replicas
                ],
            }
            for name, replicas in snapshot.operators.items()
        ],
    }


def _signature(fields: dict[str, Any]) -> OperatorSignature:
    return OperatorSignature(**{**fields, "inputs": tuple(fields["inputs"])})


@functools.cache
def _package_version() -> str:
    try:
        return importlib.metadata.version("sage-stack")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"

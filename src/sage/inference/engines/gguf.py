"""Enough of the GGUF format to tell a model file from one that is not."""

from __future__ import annotations

import struct
from pathlib import Path

from sage.errors import ModelFileError

_HEADER = struct.Struct("<4sIQQ")  # magic, version, tensors, metadata entries
_VERSIONS = range(2, 4)


def check_gguf(path: Path) -> None:
    """Check that a file begins as a GGUF model does.

    Raises:
        ModelFileError: it cannot be read, is of another kind, of an unknown version, or cut short.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEADER.size)
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror}") from error
    if head[:4] != b"GGUF":
        hint = _hint(head)
        raise ModelFileError(f"{path} is not a GGUF model: it begins with {head[:8]!r}{hint}")
    if len(head) < _HEADER.size:
        raise ModelFileError(f"{path} is cut short: {size} bytes; download it again")
    _, version, tensors, _ = _HEADER.unpack(head)
    if version not in _VERSIONS:
        raise ModelFileError(f"{path} is GGUF version {version}; versions 2 and 3 can be loaded")
    if tensors == 0:
        raise ModelFileError(f"{path} holds no tensors; it is a vocabulary, not a model")


def _hint(head: bytes) -> str:
    lowered = head.lstrip().lower()
    if lowered.startswith((b"<!doc", b"<htm", b"<?xml")):
        return "; that is a web page, so the download did not give the file"
    if lowered.startswith(b"version "):
        return "; that is a Git LFS pointer: run `git lfs pull`"
    return ""

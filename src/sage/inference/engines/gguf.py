"""Enough of the GGUF format to tell a whole model file from one that is not."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from sage.errors import ModelFileError

_HEADER = struct.Struct("<4sIQQ")  # magic, version, tensors, metadata entries
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_VERSIONS = range(2, 4)
_STRING, _ARRAY = 8, 9
# Bytes of a metadata value, by its type.
_FIXED = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
# Elements and bytes of a block, by the tensor's type. A type that is missing here only loosens the
# check: its tensor then counts as empty.
_BLOCKS = {
    0: (1, 4),  # F32
    1: (1, 2),  # F16
    2: (32, 18),  # Q4_0
    3: (32, 20),  # Q4_1
    6: (32, 22),  # Q5_0
    7: (32, 24),  # Q5_1
    8: (32, 34),  # Q8_0
    10: (256, 84),  # Q2_K
    11: (256, 110),  # Q3_K
    12: (256, 144),  # Q4_K
    13: (256, 176),  # Q5_K
    14: (256, 210),  # Q6_K
    30: (1, 2),  # BF16
}
_MAX_DIMENSIONS = 4
_DEFAULT_ALIGNMENT = 32


def check_gguf(path: Path) -> None:
    """Check that a file is a GGUF model, and that all its tensors lie inside it.

    Takes milliseconds (30 with a vocabulary of 262,144), since only the file's head is read.

    Raises:
        ModelFileError: it cannot be read, is of another kind, of an unknown version, damaged or cut
            short.
    """
    try:
        with path.open("rb") as file:
            _check_header(path, file.read(_HEADER.size))
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                _check_extent(path, data)
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror or error}") from error


def metadata_text(path: Path, key: str) -> str | None:
    """Return a text of a model file's metadata, or None where it has none by that key.

    Args:
        path: a file that `check_gguf` accepts.
        key: such as ``tokenizer.chat_template``.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        cursor = _Cursor(data)
        _, _, _, entries = _HEADER.unpack_from(data)
        cursor.skip(_HEADER.size)
        for _ in range(entries):
            name, kind = cursor.text(), cursor.number(_U32)
            if name == key.encode() and kind == _STRING:
                return cursor.text().decode("utf-8", errors="replace")
            _skip_value(cursor, kind)
    return None


def _check_header(path: Path, head: bytes) -> None:
    if head[:4] != b"GGUF":
        raise ModelFileError(
            f"{path} is not a GGUF model: it begins with {head[:8]!r}{_hint(path, head)}"
        )
    if len(head) < _HEADER.size:
        raise ModelFileError(f"{path} is cut short: {len(head)} bytes; download it again")
    _, version, tensors, _ = _HEADER.unpack(head)
    if version not in _VERSIONS:
        raise ModelFileError(f"{path} is GGUF version {version}; versions 2 and 3 can be loaded")
    if tensors == 0:
        raise ModelFileError(f"{path} holds no tensors; it is a vocabulary, not a model")


def _hint(path: Path, head: bytes) -> str:
    lowered = head.lstrip().lower()
    if lowered.startswith((b"<!doc", b"<htm", b"<?xml")):
        return "; that is a web page, so the download did not give the file"
    if lowered.startswith(b"version "):
        return "; that is a Git LFS pointer: run `git lfs pull`"
    if path.suffix in {".onnx", ".safetensors", ".bin", ".json"}:
        return "; for a model of several files, give the folder that holds them"
    return ""


def _check_extent(path: Path, data: mmap.mmap) -> None:
    try:
        needed = _end_of_tensors(_Cursor(data))
    except _CutShortError:
        needed = None
    except _DamagedError as error:
        raise ModelFileError(f"{path} is damaged: {error}; download it again") from None
    if needed is None or needed > len(data):
        least = "" if needed is None else f" of at least {needed}"
        raise ModelFileError(f"{path} is cut short: {len(data)} bytes{least}; download it again")


class _CutShortError(Exception):
    """The file ends before what it announces."""


class _DamagedError(Exception):
    """A value that the format does not have."""


class _Cursor:
    """A place in the file that moves on as values are read or skipped."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.size = len(data)
        self.at = 0

    def skip(self, count: int) -> None:
        self.at += count
        if self.at > self.size:
            raise _CutShortError

    def number(self, layout: struct.Struct) -> int:
        start = self.at
        self.skip(layout.size)
        value: int = layout.unpack_from(self.data, start)[0]
        return value

    def text(self) -> bytes:
        length = self.number(_U64)
        start = self.at
        self.skip(length)
        return self.data[start : self.at]

    def skip_texts(self, count: int) -> None:
        # The loop over the vocabulary is all the time that this module takes.
        data, size, at, read = self.data, self.size, self.at, _U64.unpack_from
        for _ in range(count):
            if at + 8 > size:
                raise _CutShortError
            at += 8 + read(data, at)[0]
        self.at = at
        self.skip(0)


def _end_of_tensors(cursor: _Cursor) -> int:
    """Return how long the file must be to hold its last tensor."""
    _, _, tensors, entries = _HEADER.unpack_from(cursor.data)
    cursor.skip(_HEADER.size)
    alignment = _DEFAULT_ALIGNMENT
    for _ in range(entries):
        key, kind = cursor.text(), cursor.number(_U32)
        if key == b"general.alignment" and kind == 4:
            alignment = cursor.number(_U32)
        else:
            _skip_value(cursor, kind)
    if alignment == 0 or alignment % 8:
        raise _DamagedError(f"its tensors are aligned to {alignment}")
    end = max(_tensor_end(cursor) for _ in range(tensors))
    start_of_data = -(-cursor.at // alignment) * alignment
    return start_of_data + end


def _skip_value(cursor: _Cursor, kind: int) -> None:
    count = 1
    if kind == _ARRAY:
        kind, count = cursor.number(_U32), cursor.number(_U64)
    if kind == _STRING:
        cursor.skip_texts(count)
    elif kind in _FIXED:
        cursor.skip(_FIXED[kind] * count)
    else:
        raise _DamagedError(f"its metadata has a value of type {kind}")


def _tensor_end(cursor: _Cursor) -> int:
    cursor.text()
    dimensions = cursor.number(_U32)
    if dimensions > _MAX_DIMENSIONS:
        raise _DamagedError(f"a tensor has {dimensions} dimensions")
    elements = 1
    for _ in range(dimensions):
        elements *= cursor.number(_U64)
    kind, offset = cursor.number(_U32), cursor.number(_U64)
    block, size = _BLOCKS.get(kind, (1, 0))
    return offset + elements // block * size

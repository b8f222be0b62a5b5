"""What a GGUF file says of its model that decides how much context the model can be given."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_HEADER = struct.Struct("<4sIQQ")  # magic, version, tensors, metadata entries
_LENGTH = struct.Struct("<Q")
_TYPE = struct.Struct("<I")
_ARRAY_HEAD = struct.Struct("<IQ")
_STRING, _ARRAY = 8, 9
_SCALARS = {
    code: struct.Struct("<" + letter)
    for code, letter in enumerate(("B", "b", "H", "h", "I", "i", "f", "?", "", "", "Q", "q", "d"))
    if letter
}
_LONGEST_TEXT = 1 << 20
_LONGEST_ARRAY = 1 << 12
_BYTES_A_VALUE = 2  # keys and values are kept as 16-bit floats


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What of a model decides how much context it can be given.

    Attributes:
        context: tokens it was trained on at once.
        token_bytes: memory of a token's keys and values over all layers, in bytes; an upper
            estimate for models that keep only a window or a part of them.
    """

    context: int
    token_bytes: int


def read_shape(path: Path) -> ModelShape | None:
    """Return a model's shape, or None when its metadata does not tell.

    The file is one that `check_gguf` accepts; what is wrong further in is for the engine to say.
    """
    try:
        with path.open("rb") as file:
            *_, entries = _HEADER.unpack(file.read(_HEADER.size))
            values = dict(_metadata(file, entries))
    except (OSError, struct.error, ValueError):
        return None
    return _shape(values)


def _shape(values: dict[str, object]) -> ModelShape | None:
    def number(key: str) -> int | None:
        value = values.get(f"{values.get('general.architecture')}.{key}")
        return value if isinstance(value, int) and value > 0 else None

    context, layers, heads = (
        number("context_length"),
        number("block_count"),
        number("attention.head_count"),
    )
    width = number("embedding_length")
    if context is None or layers is None or heads is None or width is None:
        return None
    kv_heads = values.get(f"{values['general.architecture']}.attention.head_count_kv", heads)
    all_heads = sum(kv_heads) if isinstance(kv_heads, list) else layers * int(str(kv_heads))
    key = number("attention.key_length") or width // heads
    value = number("attention.value_length") or width // heads
    return ModelShape(context, all_heads * (key + value) * _BYTES_A_VALUE)


def _metadata(file: BinaryIO, entries: int) -> Iterator[tuple[str, object]]:
    """Yield the entries up to the tokenizer's, which are long and come last."""
    for _ in range(entries):
        key = _text(file)
        if key.startswith("tokenizer."):
            return
        (code,) = _TYPE.unpack(file.read(_TYPE.size))
        yield key, _value(file, code)


def _value(file: BinaryIO, code: int) -> object:
    if code == _STRING:
        return _text(file)
    if code == _ARRAY:
        code, count = _ARRAY_HEAD.unpack(file.read(_ARRAY_HEAD.size))
        if count > _LONGEST_ARRAY:
            raise ValueError(f"an array of {count} entries before the tokenizer's")
        return [_value(file, code) for _ in range(count)]
    try:
        scalar = _SCALARS[code]
    except KeyError:
        raise ValueError(f"no value has type {code}") from None
    (value,) = scalar.unpack(file.read(scalar.size))
    return value


def _text(file: BinaryIO) -> str:
    (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
    if length > _LONGEST_TEXT:
        raise ValueError(f"a text of {length} bytes in the metadata")
    return file.read(length).decode("utf-8", errors="replace")

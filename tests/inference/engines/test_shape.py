"""Reading a model's shape from its GGUF file."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.inference.engines.resolve import resolve_model
from sage.inference.engines.shape import ModelShape, read_shape
from sage.inference.scheduling.request import Kind

U32, STRING, ARRAY = 4, 8, 9


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _entry(key: str, value: int | str | list[int]) -> bytes:
    if isinstance(value, str):
        return _text(key) + struct.pack("<I", STRING) + _text(value)
    if isinstance(value, list):
        head = struct.pack("<IIQ", ARRAY, U32, len(value))
        return _text(key) + head + struct.pack(f"<{len(value)}I", *value)
    return _text(key) + struct.pack("<II", U32, value)


def _gguf(values: dict[str, int | str | list[int]]) -> bytes:
    head = struct.pack("<4sIQQ", b"GGUF", 3, 1, len(values))
    return head + b"".join(_entry(key, value) for key, value in values.items())


PLAIN: dict[str, int | str | list[int]] = {
    "general.architecture": "llama",
    "llama.context_length": 4096,
    "llama.block_count": 4,
    "llama.embedding_length": 256,
    "llama.attention.head_count": 8,
}


@pytest.mark.parametrize(
    ("changes", "token_bytes"),
    [
        ({}, 4 * 8 * (32 + 32) * 2),
        ({"llama.attention.head_count_kv": 2}, 4 * 2 * (32 + 32) * 2),
        ({"llama.attention.head_count_kv": [2, 0, 2, 0]}, 4 * (32 + 32) * 2),
        (
            {"llama.attention.key_length": 64, "llama.attention.value_length": 16},
            4 * 8 * (64 + 16) * 2,
        ),
    ],
    ids=["all heads", "grouped", "by layer", "own lengths"],
)
def test_the_memory_of_a_token_follows_from_heads_and_layers(
    tmp_path: Path, changes: dict[str, int | str | list[int]], token_bytes: int
) -> None:
    """Keys and values of every layer, two bytes each."""
    path = tmp_path / "m.gguf"
    path.write_bytes(_gguf({**PLAIN, **changes, "tokenizer.ggml.model": "gpt2"}))
    assert read_shape(path) == ModelShape(4096, token_bytes)


def test_a_file_that_does_not_tell_gives_none(tmp_path: Path) -> None:
    """The caller then has a plain default."""
    path = tmp_path / "m.gguf"
    path.write_bytes(_gguf({key: PLAIN[key] for key in list(PLAIN)[:3]}))
    assert read_shape(path) is None
    assert read_shape(tmp_path / "absent.gguf") is None


@given(st.binary(max_size=400), st.integers(0, 400))
def test_no_damage_raises(tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int) -> None:
    """What is wrong further in is for the engine to say."""
    whole = _gguf(PLAIN)
    path = tmp_path_factory.mktemp("shape") / "m.gguf"
    path.write_bytes(whole[:at] + noise)
    shape = read_shape(path)
    assert shape is None or shape.context > 0


@pytest.mark.engines
def test_the_packaged_model_tells_its_shape() -> None:
    """SmolLM2-135M: 8,192 tokens; 30 layers of 3 grouped heads of 64."""
    path = resolve_model(None, Kind.LLM).path
    assert path is not None
    assert read_shape(path) == ModelShape(8192, 30 * 3 * (64 + 64) * 2)

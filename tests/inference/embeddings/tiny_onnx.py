"""Writes small ONNX graphs by hand, so that tests can vary a model without the onnx package."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

FLOAT, INT32, INT64 = 1, 6, 7


def _varint(value: int) -> bytes:
    out = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(raw)) + raw


def _value(name: str, kind: int, dims: list[str | int]) -> bytes:
    shape = b"".join(
        _bytes(1, _number(1, one) if isinstance(one, int) else _bytes(2, one)) for one in dims
    )
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, kind) + _bytes(2, shape)))


def _node(op: str, inputs: list[str], outputs: list[str]) -> bytes:
    named = b"".join(_bytes(1, one) for one in inputs) + b"".join(_bytes(2, o) for o in outputs)
    return named + _bytes(4, op)


def _tensor(name: str, array: npt.NDArray[np.float32]) -> bytes:
    dims = b"".join(_number(1, one) for one in array.shape)
    raw = struct.pack(f"<{array.size}f", *array.flat)
    return dims + _number(2, FLOAT) + _bytes(8, name) + _bytes(9, raw)


def write_model(
    folder: Path,
    *,
    inputs: tuple[str, ...] = ("input_ids", "attention_mask"),
    integers: int = INT64,
    dynamic: bool = False,
    place: str = "model.onnx",
    words: tuple[str, ...] = ("[PAD]", "[UNK]", "red", "green", "blue"),
    max_tokens: int = 8,
) -> npt.NDArray[np.float32]:
    """Write a model whose token states are rows of a table; return the table.

    Args:
        folder: where.
        inputs: the graph's inputs; only input_ids is used.
        integers: their type.
        dynamic: quantise the states with a scale over the whole batch, as dynamic quantisation
            does, so that a vector depends on its batch mates.
        place: the graph's path in the folder.
        words: the vocabulary; a text is split at white space, without special tokens.
        max_tokens: for sentence_bert_config.json.
    """
    table = np.random.default_rng(7).normal(size=(len(words), 4)).astype(np.float32)
    table[-1] *= 50
    nodes = [_node("Gather", ["table", "input_ids"], ["rows" if dynamic else "states"])]
    if dynamic:
        nodes.append(_node("DynamicQuantizeLinear", ["rows"], ["q", "scale", "zero"]))
        nodes.append(_node("DequantizeLinear", ["q", "scale", "zero"], ["states"]))
    graph = b"".join(_bytes(1, one) for one in nodes) + _bytes(2, "tiny")
    graph += _bytes(5, _tensor("table", table))
    graph += b"".join(_bytes(11, _value(one, integers, ["texts", "tokens"])) for one in inputs)
    graph += _bytes(12, _value("states", FLOAT, ["texts", "tokens", 4]))
    model = _number(1, 8) + _bytes(7, graph) + _bytes(8, _bytes(1, "") + _number(2, 13))
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model)
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {
            "type": "WordLevel",
            "vocab": {word: index for index, word in enumerate(words)},
            "unk_token": "[UNK]",
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": max_tokens}))
    return table

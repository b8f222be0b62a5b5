"""OpenAI's wire format."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from sage.errors import BadRequestError
from sage.inference.embeddings.wire import (
    EmbeddingInput,
    decode_request,
    encode_answer,
    encode_error,
    read_input,
)

VECTORS = np.array([[0.5, -0.25], [0.1, 2.0], [3.0, 4.0]], np.float32)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("one", EmbeddingInput(texts=["one"])),
        ("", EmbeddingInput(texts=[""])),
        (["one", "two"], EmbeddingInput(texts=["one", "two"])),
        ([1, 2], EmbeddingInput(ids=[[1, 2]])),
        ([[1], [2, 3]], EmbeddingInput(ids=[[1], [2, 3]])),
    ],
)
def test_the_four_shapes_of_input(given: object, expected: EmbeddingInput) -> None:
    """A text, texts, token ids, lists of token ids."""
    assert read_input(given) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [[], ["one", 1], [1, [2]], [True], [1.5], [None], [["one"]]])
def test_other_inputs_are_bad_requests(given: list[object]) -> None:
    """Mixed, empty or of other types."""
    with pytest.raises(BadRequestError, match="input"):
        read_input(given)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "not valid JSON"),
        (b"\xff", "not valid JSON|not an embeddings request"),
        (b"[]", "not an embeddings request"),
        (b'{"model": "m"}', "input"),
        (b'{"model": "m", "input": 3}', r"\$\.input"),
        (b'{"model": "m", "input": "x", "encoding_format": "hex"}', "encoding_format"),
        (b'{"model": "m", "input": "x", "dimension": 3}', "did you mean 'dimensions'"),
        (b'{"model": "m", "input": "x", "zzz": 3}', "known: input, model"),
    ],
)
def test_bad_bodies_say_what_is_wrong(body: bytes, message: str) -> None:
    """Each names the field, and an unknown one the nearest."""
    with pytest.raises(BadRequestError, match=message):
        decode_request(body)


@pytest.mark.parametrize("piece", [1, 2, 64])
@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_answers_carry_the_vectors_in_order(encoding: str, piece: int) -> None:
    """Whatever the piece size, the JSON is whole and each vector is the float32 it was."""
    pieces = encode_answer("m", VECTORS, encoding, tokens=7, truncated=1, piece=piece)  # type: ignore[arg-type]
    answer = json.loads(b"".join(pieces))
    assert [row["index"] for row in answer["data"]] == [0, 1, 2]
    for row, vector in zip(answer["data"], VECTORS, strict=True):
        got = row["embedding"]
        if encoding == "base64":
            got = np.frombuffer(base64.b64decode(got), "<f4")
        np.testing.assert_array_equal(np.array(got, np.float32), vector)
    assert answer["usage"] == {"prompt_tokens": 7, "total_tokens": 7, "truncated": 1}
    assert answer["model"] == "m"
    assert answer["object"] == "list"


def test_errors_have_openais_shape() -> None:
    """message, type, param and code under "error"."""
    assert json.loads(encode_error("no", kind="server_error", code="c")) == {
        "error": {"message": "no", "type": "server_error", "param": None, "code": "c"}
    }

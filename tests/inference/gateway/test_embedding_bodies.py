"""Embedding bodies taken apart and put together."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.inference.gateway.embedding_bodies import (
    Assembly,
    read_answer,
    read_question,
    split_usage,
    write_answer,
    write_body,
)


def body(given_input: object, **fields: object) -> bytes:
    return json.dumps({"model": "m", "input": given_input, **fields}).encode()


@pytest.mark.parametrize(
    ("given_input", "inputs", "lengths"),
    [
        ("hello", ["hello"], [2]),
        (["a", "b" * 40], ["a", "b" * 40], [1, 11]),
        ([1, 2, 3], [[1, 2, 3]], [3]),
        ([[1, 2], [3]], [[1, 2], [3]], [2, 1]),
    ],
)
def test_plain_requests_are_taken_apart(
    given_input: object, inputs: list[object], lengths: list[int]
) -> None:
    """All four shapes of input are understood, and go into a body again unchanged."""
    question = read_question(body(given_input, dimensions=3))
    assert question is not None
    assert [json.loads(bytes(item)) for item in question.inputs] == inputs
    assert question.lengths == lengths
    written = json.loads(write_body(question.fields, question.inputs))
    assert written == {"model": "m", "dimensions": 3, "input": inputs}


@pytest.mark.parametrize(
    "odd",
    [[], "", ["a", ""], ["a", [1]], ["a", 1], [[1], []], [[1.5]], [-1], 7, None, {"text": "a"}],
)
def test_what_is_not_plain_is_left_whole(odd: object) -> None:
    """Such a body goes to the engine as it is, which says what it makes of it."""
    assert read_question(body(odd)) is None


@pytest.mark.parametrize("text", [b"{}", b"[]", b"{", b'{"input":"\xff"', b"null"])
def test_what_is_no_request_is_left_whole(text: bytes) -> None:
    """So are bodies that are no embedding request at all."""
    assert read_question(text) is None


def test_only_equal_requests_share_a_key() -> None:
    """Any other field that differs, and the kind of input, keep requests apart."""
    keys = [
        question.key
        for question in map(
            read_question,
            [
                body("a"),
                body(["b", "c"]),
                body("a", dimensions=3),
                body("a", user="u"),
                body("a", encoding_format="base64"),
                body([1]),
                b'{"input": "x", "model": "m"}',
            ],
        )
        if question is not None
    ]
    assert keys[0] == keys[1] == keys[6]
    assert len(set(keys)) == 5


def test_rows_come_back_in_the_order_of_the_inputs() -> None:
    """An engine may answer in any order; its indexes say which row is whose."""
    rows = [{"index": 1, "embedding": [1.0]}, {"index": 0, "embedding": "AAA="}]
    answer = read_answer(json.dumps({"data": rows, "usage": {"prompt_tokens": 4}}).encode(), 2)
    assert answer is not None
    assert [bytes(row["embedding"]) for row in answer.rows] == [b'"AAA="', b"[1.0]"]
    assert answer.usage == {"prompt_tokens": 4}


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b"no",
        b'{"data":7}',
        b'{"data":[]}',
        b'{"data":[{"index":0},{"index":0}]}',
        b'{"data":[{"index":0},{"index":2}]}',
        b'{"data":[{"index":0},{"index":1.5}]}',
        b'{"data":[{"embedding":[]},{"embedding":[]}]}',
        b'{"data":[{"index":0},{"index":1},{"index":2}]}',
    ],
)
def test_an_answer_that_cannot_be_told_apart_is_not_guessed_at(text: bytes) -> None:
    """Without one row and one index for each input, nobody gets somebody else's vector."""
    assert read_answer(text, 2) is None


def test_an_answer_keeps_what_else_the_engine_said() -> None:
    """Fields beside data and usage stay as they are, and vectors keep every digit."""
    text = b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.10000]}],'
    text += b'"model":"m","id":"x","usage":{"prompt_tokens":3,"details":{"a":1}}}'
    answer = read_answer(text, 1)
    assert answer is not None
    written = write_answer(answer.fields, answer.rows, answer.usage)
    assert b"[0.10000]" in written
    assert json.loads(written) == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}],
        "model": "m",
        "id": "x",
        "usage": {"prompt_tokens": 3},
    }


@given(st.integers(0, 10_000), st.lists(st.integers(1, 500), min_size=1, max_size=30))
def test_shares_of_usage_add_up(tokens: int, weights: list[int]) -> None:
    """No token is lost or charged twice, and each share is its proportion to within one."""
    shares = split_usage({"prompt_tokens": tokens, "total_tokens": tokens}, weights)
    assert sum(share["prompt_tokens"] for share in shares) == tokens
    assert sum(share["total_tokens"] for share in shares) == tokens
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share["prompt_tokens"] - tokens * weight / sum(weights)) < 1


@given(st.permutations(list(range(7))), st.integers(1, 6))
def test_parts_are_joined_in_order(order: list[int], cut: int) -> None:
    """Whatever parts a request was cut into, its answer is in the order of its inputs."""
    assembly = Assembly(7)
    for positions in (order[:cut], order[cut:]):
        assert not assembly.complete
        rows = [{"index": i, "embedding": [at]} for i, at in enumerate(positions)]
        text = json.dumps({"model": "m", "data": rows, "usage": {"prompt_tokens": 5}}).encode()
        answer = read_answer(text, len(positions))
        assert answer is not None
        assembly.add(answer.fields, positions, answer.rows, answer.usage)
    assert assembly.complete
    joined = json.loads(assembly.body())
    assert [row["embedding"] for row in joined["data"]] == [[at] for at in range(7)]
    assert [row["index"] for row in joined["data"]] == list(range(7))
    assert joined["usage"] == {"prompt_tokens": 10}

"""Known heads: only whole messages that differ in nothing but length and body are known again."""

from __future__ import annotations

import re
from typing import Any

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage.inference.gateway.known_heads import KnownHeads

LENGTH = re.compile(rb"(.*?\r\n[Cc]ontent-(?:Length|length): )([0-9]+)(\r\n.*)", re.DOTALL)

PLAIN = [b"host: x", b"accept: */*"]
LENGTHS = [b"content-length: %d", b"Content-Length: %d"]
ODD = [
    *LENGTHS,
    b"CONTENT-LENGTH: %d",
    b"content-Length: %d",
    b"xontent-length: %d",
    b"xontent-Length: %d",
    b"x-content-length: %d",
    b"x: content-length: %d",
    b"content-length:%d",
    b"content-length:  %d",
    b"content-length: %d ",
    b"content-length: +%d",
    b"content-length: 0%d",
    b" content-length: %d",
    b"content-length: %d\r\n 1",
    b"x: y\ncontent-length: %d",
    b"x: y\rcontent-length: %d",
    b"transfer-encoding: chunked",
    b"x: \xff\x00",
    b"",
]
STARTS = [b"POST /x HTTP/1.1"] * 4 + [b"\r\nPOST /x HTTP/1.1", b"GET / HTTP/1.1", b""]
CHANGES = ("body", "number", "number and body", "bytes", "line", "all")


@st.composite
def messages(draw: Any) -> bytes:
    """Whole messages, well formed or nearly so, and others."""
    body = draw(st.binary(max_size=12))
    size = draw(st.sampled_from([len(body)] * 4 + [0, 1, len(body) + 1]))
    lines = draw(st.lists(st.sampled_from(PLAIN), max_size=2))
    lines += draw(st.sampled_from([[line] for line in LENGTHS] * 2 + [[]]))
    lines += draw(st.lists(st.sampled_from(ODD), max_size=1))
    lines = [draw(st.sampled_from(STARTS)), *draw(st.permutations(lines))]
    head = b"\r\n".join(line.replace(b"%d", b"%d" % size) for line in lines)
    return head + b"\r\n\r\n" + body


@st.composite
def variants(draw: Any) -> tuple[bytes, bytes]:
    """Two messages, the second made of the first by one change, often a harmless one."""
    first = draw(messages())
    how = draw(st.sampled_from(CHANGES))
    head, _, body = first.partition(b"\r\n\r\n")
    if how == "all":
        return first, draw(messages())
    if how == "line":
        at = first.find(b"\r\n") + 2
        line = draw(st.sampled_from(ODD)).replace(b"%d", b"%d" % len(body))
        return first, first[:at] + line + b"\r\n" + first[at:]
    if how == "bytes":
        at = draw(st.integers(0, len(first)))
        return first, first[:at] + draw(st.binary(max_size=3)) + first[
            at + draw(st.integers(0, 3)) :
        ]
    if how != "number":
        body = draw(st.binary(max_size=12))
    numbers = [found.span() for found in re.finditer(rb"(?<=: )[0-9]+", head)]
    if how == "body":
        head = re.sub(rb"(?<=: )[0-9]+", b"%d" % len(body), head)
    elif numbers:
        start, stop = draw(st.sampled_from(numbers))
        number = len(body) if how == "number and body" else draw(st.integers(0, 13))
        head = head[:start] + b"%d" % number + head[stop:]
    return first, head + b"\r\n\r\n" + body


class Parsed:
    """What a strict parser makes of bytes."""

    def __init__(self, data: bytes) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = self.url = b""
        self.begun = self.ended = 0
        self.good = True
        parser = httptools.HttpRequestParser(self)
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.good = False

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.ended += 1

    @property
    def learnable(self) -> bool:
        """Whether it is what callers of ``learn`` promise."""
        names = [name for name, _ in self.headers]
        return (
            self.good
            and self.begun == self.ended == 1
            and names.count(b"content-length") == 1
            and b"transfer-encoding" not in names
        )

    @property
    def rest(self) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """All but the length and the body."""
        return self.url, [item for item in self.headers if item[0] != b"content-length"]


def split(message: bytes, start: int) -> tuple[bytes, bytes, bytes]:
    """Return what comes before a head's length, its digits, and what comes after them."""
    found = LENGTH.fullmatch(message[:start])
    assert found is not None
    return found[1], found[2], found[3]


def learned(message: bytes) -> KnownHeads[str]:
    """Return heads that know one message's."""
    heads: KnownHeads[str] = KnownHeads()
    heads.learn(message, "item")
    return heads


@pytest.mark.timeout(180)
@settings(max_examples=1000)
@given(variants())
def test_messages_known_again_differ_in_length_and_body_alone(pair: tuple[bytes, bytes]) -> None:
    """Whatever the bytes, what is found has the same head but for digits that tell its body."""
    first, second = pair
    found = learned(first).find(second)
    if found is not None:
        item, start = found
        assert item == "item"
        before, digits, after = split(second, start)
        assert after.endswith(b"\r\n\r\n")
        assert after.count(b"\r\n\r\n") == 1
        assert int(digits) == len(second) - start
        known, _, behind = split(first, first.index(b"\r\n\r\n") + 4)
        assert (before, after) == (known, behind)


@pytest.mark.timeout(180)
@settings(max_examples=1000)
@given(variants())
def test_messages_known_again_are_what_a_parser_makes_of_them(pair: tuple[bytes, bytes]) -> None:
    """Where the first was one request with one length, so is the second: with that body, and
    otherwise the same headers."""
    first, second = pair
    meant = Parsed(first)
    found = learned(first).find(second)
    if meant.learnable and found is not None:
        parsed = Parsed(second)
        assert parsed.learnable
        assert parsed.body == second[found[1] :]
        assert parsed.rest == meant.rest


@pytest.mark.timeout(180)
@settings(max_examples=1000)
@given(messages(), st.data())
def test_only_whole_messages_are_known(message: bytes, data: st.DataObject) -> None:
    """Neither a part of a message that is known, nor one with more behind it."""
    heads = learned(message)
    assert heads.find(message[: data.draw(st.integers(0, len(message) - 1))]) is None
    assert heads.find(message + data.draw(st.binary(min_size=1, max_size=9))) is None


def message(host: bytes, body: bytes = b"") -> bytes:
    """A whole request."""
    return b"POST / HTTP/1.1\r\nhost: %b\r\ncontent-length: %d\r\n\r\n%b" % (host, len(body), body)


def test_the_body_is_told_by_its_start() -> None:
    """Bodies of other lengths are found behind the same head."""
    heads = learned(message(b"a", b"12345"))
    for body in (b"", b"x", b"y" * 1234):
        data = message(b"a", body)
        found = heads.find(data)
        assert found is not None
        assert data[found[1] :] == body
    assert heads.find(message(b"b", b"12345")) is None


def test_as_many_heads_are_kept_as_are_of_use() -> None:
    """256 at most; long ones are not; and none once hardly any comes again, until all are
    forgotten."""
    heads: KnownHeads[int] = KnownHeads()
    for n in range(300):
        heads.learn(message(b"%d" % n), n)
    assert heads.find(message(b"299")) is not None
    assert heads.find(message(b"0")) is None
    heads.learn(message(b"x" * 5000), 1)
    assert heads.find(message(b"x" * 5000)) is None
    for n in range(1000, 1400):
        assert heads.find(message(b"%d" % n)) is None
    heads.learn(message(b"late"), 1)
    assert heads.find(message(b"late")) is None
    heads.clear()
    heads.learn(message(b"late"), 1)
    assert heads.find(message(b"late")) is not None
    assert heads.find(message(b"299")) is None


def test_a_head_with_two_lengths_is_not_learned() -> None:
    """However they are written: which of them tells the body is not for these bytes to say."""
    head = b"POST /x HTTP/1.1\r\ncontent-length: 1\r\nContent-Length: %d\r\n\r\n"
    heads = learned(head % 1 + b"a")
    assert heads.find(head % 1 + b"a") is None
    assert heads.find(head % 0) is None

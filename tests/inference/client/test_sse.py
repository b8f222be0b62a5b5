"""Events come out whole, however their bytes were cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.errors import UpstreamError
from sage.inference.client import sse
from sage.inference.client.sse import EventDecoder, ServerEvent


def decode(*chunks: bytes) -> list[ServerEvent]:
    decoder = EventDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def test_an_event_ends_with_its_blank_line() -> None:
    """One data line and a blank line are one event of type message."""
    assert decode(b"data: hello\n\n") == [ServerEvent("hello", "message")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_all_line_ends_of_the_standard_work(end: bytes) -> None:
    """LF, CRLF and CR end lines alike."""
    lines = [b"event: error", b"data: a", b"data: b", b"", b"data:c", b"", b""]
    assert decode(end.join(lines)) == [ServerEvent("a\nb", "error"), ServerEvent("c")]


def test_a_crlf_cut_in_two_is_one_line_end() -> None:
    """A chunk that ends in CR and one that begins with LF make no blank line between them."""
    assert decode(b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n") == [ServerEvent("a\nb")]


def test_a_character_cut_in_two_is_whole() -> None:
    """The bytes of one Chinese character may come in three chunks."""
    raw = "data: 你\n\n".encode()
    assert decode(raw[:7], raw[7:8], raw[8:]) == [ServerEvent("你")]


def test_comments_ids_and_blank_lines_are_no_events() -> None:
    """Keep-alive comments and events without data give nothing."""
    assert decode(b": ping\n\nid: 4\nretry: 10\n\n\n\nevent: x\n\ndata: a\n\n") == [
        ServerEvent("a")
    ]


def test_an_event_that_is_not_closed_is_not_given() -> None:
    """A stream cut inside an event does not make half of it an event."""
    assert decode(b'data: {"a": 1}\n') == []


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    """A leading BOM is skipped."""
    assert decode(b"\xef\xbb\xbfdata: a\n\n") == [ServerEvent("a")]


@pytest.mark.parametrize("part", [b"x" * 10, b"data: xxxx\n"])
def test_an_endless_event_is_refused(part: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never ends an event cannot fill the memory."""
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    with pytest.raises(UpstreamError, match="larger than 100 bytes"):
        decode(*[part] * 100)


lines = st.sampled_from(
    [
        "data: a",
        "data:你好",
        "data",
        "data:  two",
        "event: error",
        ": ping",
        "",
        "",
        "id: 3",
        "x: é",
    ]
)


@given(
    st.lists(st.tuples(lines, st.sampled_from(["\n", "\r\n", "\r"]))),
    st.lists(st.integers(1, 5), min_size=1),
)
def test_the_cuts_do_not_matter(written: list[tuple[str, str]], sizes: list[int]) -> None:
    """Any cut of the same bytes gives the same events, as a plain reading by lines does."""
    raw = "".join(line + end for line, end in written).encode()
    chunks, at = [], 0
    while at < len(raw):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(raw[at : at + size])
        at += size
    assert decode(*chunks) == decode(raw) == plainly(raw.decode())


def plainly(text: str) -> list[ServerEvent]:
    """The standard, read as it is written."""
    events, data, kind = [], [], ""
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                events.append(ServerEvent("\n".join(data), kind or "message"))
            data, kind = [], ""
        elif name == "data":
            data.append(value)
        elif name == "event":
            kind = value
    return events

"""Message heads that have been parsed before, known again by their bytes."""

from __future__ import annotations

from typing import Generic, TypeVar

_MOST_HEADS = 256
_LONGEST_HEAD = 4096
_PATIENCE = 256
_BEFORE = (b"\r\nC", b"\r\nc")
_LENGTH = 15  # of "content-length", but for its first letter, with the colon and a space

T = TypeVar("T")


class KnownHeads(Generic[T]):
    """What was made of heads seen before; the same bytes mean the same again.

    A client on a kept connection sends the same head with every request, and an engine with every
    response, but for the length of the body. So that length is cut out, and the rest looked up:
    that takes a tenth of what parsing does. Only whole messages are known again: a head with one
    ``content-length``, and just so many bytes behind it. At most 256 heads of up to 4 KiB are
    kept; when hardly any is ever seen twice, no more are learned.
    """

    __slots__ = ("_hits", "_items", "_misses")

    def __init__(self) -> None:
        self._items: dict[bytes, T] = {}
        self._hits = 0
        self._misses = 0

    def find(self, message: bytes) -> tuple[T, int] | None:
        """Return what is known of a whole message's head, and where its body begins."""
        cut = _cut(message)
        if cut is None:
            return None
        item = self._items.get(cut[0])
        if item is None:
            self._misses += 1
            return None
        self._hits += 1
        return item, cut[1]

    def learn(self, message: bytes, item: T) -> None:
        """Remember what a whole message's head was found to mean.

        The caller has parsed it: it has no transfer-encoding. One with several content-lengths is
        not learned.
        """
        if self._misses > _PATIENCE + 4 * self._hits:
            return
        cut = _cut(message)
        # One with two lengths would be known again by the second of them.
        if cut is not None and message[: cut[1]].lower().count(b"\ncontent-length:") == 1:
            if len(self._items) >= _MOST_HEADS:
                self._items.clear()
            self._items[cut[0]] = item

    def clear(self) -> None:
        """Forget all."""
        self._items.clear()
        self._hits = self._misses = 0


def _cut(message: bytes) -> tuple[bytes, int] | None:
    """Return a message's head without the digits of its length, and where its body begins.

    None for what is not a whole message with a content-length written in either usual way.
    """
    end = message.find(b"\r\n\r\n", 0, _LONGEST_HEAD)
    if end < 0:
        return None
    at = message.find(b"ontent-Length: ", 0, end)
    if at < 0:
        at = message.find(b"ontent-length: ", 0, end)
    if at < 3 or message[at - 3 : at] not in _BEFORE:
        return None
    at += _LENGTH
    stop = message.find(b"\r\n", at)
    digits = message[at:stop]
    start = end + 4
    if not digits.isdigit() or len(digits) > 9 or len(message) - start != int(digits):
        return None
    return message[:at] + message[stop:end], start

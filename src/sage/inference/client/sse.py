"""Server-sent events, from bytes in any cut to whole events; no I/O."""

from __future__ import annotations

from dataclasses import dataclass

from sage.errors import UpstreamError

MAX_EVENT_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event: its type (``"message"`` unless named) and its data."""

    data: str
    event: str = "message"


class EventDecoder:
    """Turns the bytes of a ``text/event-stream`` into events.

    Bytes may be cut anywhere, inside a UTF-8 character or a CRLF too: lines are split as bytes
    and decoded whole, which is safe because no UTF-8 continuation byte is CR or LF. An event that
    its blank line does not close is never given out, as the standard asks.
    """

    def __init__(self) -> None:
        self._tail = bytearray()
        self._after_cr = False
        self._at_start = True
        self._data: list[bytes] = []
        self._size = 0
        self._event = ""

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """Take the next bytes and return the events they complete.

        Raises:
            UpstreamError: an event grew past 16 MiB.
        """
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk.startswith(b"\n"):
                chunk = chunk[1:]
        if b"\n" not in chunk and b"\r" not in chunk:
            self._keep(chunk)
            return []
        self._after_cr = chunk.endswith(b"\r")
        lines = (bytes(self._tail) + chunk).splitlines(keepends=True)
        self._tail.clear()
        if not lines[-1].endswith((b"\n", b"\r")):
            self._keep(lines.pop())
        events = []
        for line in lines:
            done = self._line(line.rstrip(b"\r\n"))
            if done is not None:
                events.append(done)
        return events

    def _keep(self, part: bytes) -> None:
        self._tail += part
        self._check_size()

    def _check_size(self) -> None:
        if len(self._tail) + self._size > MAX_EVENT_BYTES:
            raise UpstreamError(
                f"an event of the stream is larger than {MAX_EVENT_BYTES} bytes; "
                "the server does not speak server-sent events"
            )

    def _line(self, line: bytes) -> ServerEvent | None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            return self._close()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value) + 1
            self._check_size()
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        return None  # comments, ids and retry times say nothing about the answer

    def _close(self) -> ServerEvent | None:
        data, event = self._data, self._event
        self._data, self._event, self._size = [], "", 0
        if not data:
            return None
        return ServerEvent(b"\n".join(data).decode("utf-8", "replace"), event or "message")

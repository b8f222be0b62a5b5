"""Headers added to a response by those that stand between server and gateway."""

from __future__ import annotations

from collections.abc import Callable

from sage.inference.gateway.asgi import ClientLink, Headers, Message, Send

More = Callable[[], Headers]


def adding_send(send: Send, more: More) -> Send:
    """Return a send that adds headers to the response's head.

    Args:
        send: ASGI's.
        more: called when the response begins.
    """

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *more()]
        await send(message)

    return sending


class AddingLink:
    """A ClientLink that adds headers to the response's head.

    Args:
        link: the server's.
        more: called when the response begins.
    """

    __slots__ = ("_link", "_more", "abort", "drain", "finish", "flush", "whole_body", "write")

    def __init__(self, link: ClientLink, more: More) -> None:
        self._link = link
        self._more = more
        self.whole_body = link.whole_body
        self.flush = link.flush
        self.write = link.write
        self.finish = link.finish
        self.drain = link.drain
        self.abort = link.abort

    def begin(self, status: int, headers: Headers) -> None:
        """Set the head down, with the headers added."""
        self._link.begin(status, [*headers, *self._more()])

    @property
    def message(self) -> bytes | None:
        """The whole request as it came, where its head may be known again."""
        return self._link.message

    @message.setter
    def message(self, message: bytes | None) -> None:
        self._link.message = message

    @property
    def on_gone(self) -> Callable[[], None] | None:
        """Called when the client leaves before the response is complete."""
        return self._link.on_gone

    @on_gone.setter
    def on_gone(self, call: Callable[[], None] | None) -> None:
        self._link.on_gone = call

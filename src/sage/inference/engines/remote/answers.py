"""Awaiting what Ray's actors answer, and saying in one line why one did not."""

from __future__ import annotations

import asyncio
from typing import Any

_MOST = 300
# Lines of Ray's errors that say who and not why.
_WHO = ("class_name:", "actor_id:", "pid:", "namespace:", "ip:", "name:", "The actor died unexpect")


def asked(reference: Any) -> asyncio.Future[Any]:
    """Return a future of a call's answer; of a connection through ``ray://`` too."""
    future: asyncio.Future[Any] = asyncio.wrap_future(reference.future())
    future.add_done_callback(_seen)
    return future


async def answer(reference: Any) -> Any:
    """Wait for a call's answer.

    Giving up the waiting does not touch the call: Ray's own future must not be cancelled under it.
    """
    return await asyncio.shield(asked(reference))


def _seen(future: asyncio.Future[Any]) -> None:
    # An answer that nobody waits for any more is no error to report.
    if not future.cancelled():
        future.exception()


def why(error: BaseException) -> str:
    """Return the reason in Ray's error, which spreads over many lines, in one.

    Of an exception on a node, whose traceback Ray sends along, that is its last line.
    """
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(_WHO)]
    if any(line.startswith('File "') for line in told):
        told = told[-1:]
    text = " ".join(told) or type(error).__name__
    if "No module named" in text:
        text += " (every node needs the sage-stack of this machine, with the extra of the engine)"
    return text if len(text) <= _MOST else f"{text[: _MOST - 1]}…"

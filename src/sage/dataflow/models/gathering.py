"""Calls that each take many items, made of single ones that wait side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sage.dataflow.checks import check_count, check_seconds
from sage.errors import BadRequestError

# What a server says of a request of which one item may be to blame: its content, or its size.
_OF_ITS_CONTENT = frozenset({400, 413, 422})


@dataclass(frozen=True, slots=True)
class Gathering:
    """How texts are put together.

    Attributes:
        size: most texts of a call.
        timeout: seconds that a text waits at most for others.
        concurrency: most calls out at once.
    """

    size: int = 32
    timeout: float = 0.02
    concurrency: int = 8

    def __post_init__(self) -> None:
        check_count("batch_size", self.size)
        check_count("concurrency", self.concurrency)
        check_seconds("batch_timeout", self.timeout)

    @property
    def records(self) -> int:
        """How many texts may be here at once: one call's worth is gathered while all are out."""
        return self.size * (self.concurrency + 1)


@dataclass(eq=False, slots=True)
class _Item:
    """A text on its way, and who waits for what becomes of it."""

    text: str
    waiting: list[asyncio.Future[Any]] = field(default_factory=list)


class Gatherer:
    """Sends the texts that are asked for at about the same time in one call.

    A call goes out when it is full, or when its first text has waited long enough, as long as fewer
    than ``concurrency`` are out. It takes the text that waits longest and those nearest to it in
    length: servers compute a batch as long as its longest text. A text that is asked for again
    while it is on its way is not sent again. When the server says that a call's content is wrong,
    its halves are sent by themselves, so that only the text to blame fails. Belongs to one event
    loop.

    Args:
        send: returns what each text becomes, in their order.
        how: bounds of the calls.
        shared: called for a text that was on its way already.
    """

    def __init__(
        self,
        send: Callable[[Sequence[str]], Awaitable[Sequence[Any]]],
        how: Gathering,
        *,
        shared: Callable[[], None],
    ) -> None:
        self._send = send
        self._how = how
        self._shared = shared
        self._items: dict[str, _Item] = {}
        # In the order that they came in; those of `_items` that no call has taken.
        self._held: dict[str, _Item] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due = False
        self._calls: set[asyncio.Task[None]] = set()

    async def get(self, text: str) -> Any:
        """Return what a text becomes.

        Raises:
            Exception: what its call raised.
        """
        item = self._items.get(text)
        if item is None:
            item = self._items[text] = self._held[text] = _Item(text)
        else:
            self._shared()
        future = asyncio.get_running_loop().create_future()
        item.waiting.append(future)
        self._go_on()
        return await future

    async def cancel(self) -> None:
        """Cancel the calls that are out and wait until they have ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._held.clear()
        calls = list(self._calls)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    def _go_on(self) -> None:
        while len(self._calls) < self._how.concurrency and (
            len(self._held) >= self._how.size or (self._due and self._held)
        ):
            self._due = False
            items = take_similar(list(self._held.values()), self._how.size)
            for item in items:
                del self._held[item.text]
            call = asyncio.get_running_loop().create_task(self._call(items))
            self._calls.add(call)
            call.add_done_callback(self._ended)
        self._set_timer()

    def _set_timer(self) -> None:
        if not self._held and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._held and self._timer is None and not self._due:
            self._timer = asyncio.get_running_loop().call_later(self._how.timeout, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._due = True
        self._go_on()

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            self._go_on()

    async def _call(self, items: list[_Item]) -> None:
        try:
            results = await self._send([item.text for item in items])
        except Exception as error:  # noqa: BLE001 - each that waits gets it raised
            if len(items) > 1 and _may_be_one_of_them(error):
                middle = len(items) // 2
                await self._call(items[:middle])
                await self._call(items[middle:])
                return
            for item in items:
                self._fail(item, error)
        else:
            for item, result in zip(items, results, strict=True):
                for future in self._left(item):
                    future.set_result(result)

    def _fail(self, item: _Item, error: Exception) -> None:
        for future in self._left(item):
            future.set_exception(error)

    def _left(self, item: _Item) -> list[asyncio.Future[Any]]:
        """Return those who still wait for an item, which is on its way no more."""
        del self._items[item.text]
        return [future for future in item.waiting if not future.done()]


def take_similar(items: Sequence[_Item], size: int) -> list[_Item]:
    """Return the first item and those nearest to it in length, ``size`` in all."""
    if len(items) <= size:
        return list(items)
    length = len(items[0].text)
    return sorted(items, key=lambda item: abs(len(item.text) - length))[:size]


def _may_be_one_of_them(error: Exception) -> bool:
    return isinstance(error, BadRequestError) and error.status in _OF_ITS_CONTENT

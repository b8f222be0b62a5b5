"""Which prompt beginnings an instance has likely cached."""

from __future__ import annotations

from collections import OrderedDict


class PrefixIndex:
    """The block hashes last sent to one instance, at most ``capacity``.

    It is approximate: the engine evicts by rules of its own. A request's blocks are touched from
    its last to its first, so the beginnings of prompts are the last to be forgotten, and a chain
    is always known from its start.
    """

    __slots__ = ("_blocks", "_capacity", "_hit", "_last")

    def __init__(self, capacity: int = 32_768) -> None:
        self._capacity = capacity
        self._blocks: OrderedDict[int, None] = OrderedDict()
        # The request at the head of a queue is looked up again and again until it goes.
        self._last: tuple[int, ...] | None = None
        self._hit = 0

    def __len__(self) -> int:
        return len(self._blocks)

    def matched(self, prefix: tuple[int, ...]) -> int:
        """Return how many leading blocks are known, by bisection."""
        if prefix is not self._last:
            self._hit = self._search(prefix)
            self._last = prefix
        return self._hit

    def _search(self, prefix: tuple[int, ...]) -> int:
        blocks = self._blocks
        if not prefix or prefix[0] not in blocks:
            return 0
        low, high = 1, len(prefix)
        while low < high:
            middle = (low + high + 1) // 2
            if prefix[middle - 1] in blocks:
                low = middle
            else:
                high = middle - 1
        return low

    def add(self, prefix: tuple[int, ...], most: int | None = None) -> None:
        """Note that a prompt with these blocks was sent, and that at most so many are kept."""
        blocks = self._blocks
        self._last = None
        capacity = self._capacity
        if most is not None and most < capacity:
            capacity = most
        for block in reversed(prefix[:capacity]):
            blocks[block] = None
            blocks.move_to_end(block)
        while len(blocks) > capacity:
            blocks.popitem(last=False)

    def clear(self) -> None:
        """Forget everything: the engine has been restarted."""
        self._blocks.clear()
        self._last = None

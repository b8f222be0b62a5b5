"""An engine's KV cache: blocks in use, and prompt beginnings that are kept until room is needed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence


class KvCache:
    """Counts blocks; which ones they are does not matter.

    Prompt beginnings are known by hashes, each of so many blocks. What nobody uses any longer is
    kept, and given up by last use when its room is needed.

    Args:
        blocks: how many there are.
        hash_blocks: blocks that one hash of a prompt stands for.

    Attributes:
        total: how many there are.
        used: blocks that requests hold, shared ones counted once.
    """

    __slots__ = ("_hash_blocks", "_idle", "_refs", "total", "used")

    def __init__(self, blocks: int, hash_blocks: int) -> None:
        self.total = blocks
        self.used = 0
        self._hash_blocks = hash_blocks
        self._refs: dict[int, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()

    @property
    def free(self) -> int:
        """Blocks that can be taken, cached ones that nobody uses included."""
        return self.total - self.used

    @property
    def unused(self) -> int:
        """Blocks that hold nothing, not even what is cached and idle."""
        return self.total - self.used - len(self._idle) * self._hash_blocks

    def cached(self, hashes: Sequence[int]) -> int:
        """Return how many leading hashes are cached."""
        refs = self._refs
        for number, item in enumerate(hashes):
            if item not in refs:
                return number
        return len(hashes)

    def idle(self, hashes: Sequence[int]) -> int:
        """Return the blocks of these that nobody uses: holding them takes that much room."""
        idle = self._idle
        return sum(item in idle for item in hashes) * self._hash_blocks

    def hold(self, hashes: Sequence[int]) -> None:
        """Use cached beginnings."""
        for item in hashes:
            if not self._refs[item]:
                del self._idle[item]
                self.used += self._hash_blocks
            self._refs[item] += 1

    def keep(self, hashes: Sequence[int]) -> int:
        """Make blocks that a request has taken known by their hashes.

        Returns:
            How many of ``hashes`` it now holds: those before the first that another request has
            computed at the same time, whose blocks then stay its own.
        """
        refs = self._refs
        for number, item in enumerate(hashes):
            if item in refs:
                return number
            refs[item] = 1
        return len(hashes)

    def take(self, blocks: int) -> None:
        """Use more blocks; the caller has seen that they are free."""
        self.used += blocks
        idle = self._idle
        if not idle:
            return
        while idle and self.used + len(idle) * self._hash_blocks > self.total:
            item, _ = idle.popitem(last=False)
            del self._refs[item]

    def give(self, blocks: int, hashes: Sequence[int] = ()) -> None:
        """Use blocks and beginnings no longer.

        The end of a prompt is given up before its beginning, as it is of less use.
        """
        self.used -= blocks
        refs = self._refs
        for item in reversed(hashes):
            refs[item] -= 1
            if not refs[item]:
                self._idle[item] = None
                self.used -= self._hash_blocks

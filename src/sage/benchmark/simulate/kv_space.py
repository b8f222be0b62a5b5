"""What each request holds of an engine's KV cache."""

from __future__ import annotations

from sage.benchmark.simulate.engine_request import EngineRequest
from sage.benchmark.simulate.kv_cache import KvCache
from sage.benchmark.simulate.profile import Capacity
from sage.benchmark.simulate.slot_heads import SlotHeads


class KvSpace:
    """Gives requests blocks for their prompts, and takes all they held back.

    Args:
        capacity: of the engine.
        hash_tokens: prompt tokens that one of a request's hashes stands for.
        caching: whether prompt beginnings are kept.
        head: tokens with which every prompt begins, and which are always cached; but where
        clears_idle: whether idle slots are cleared when a request begins.

    Attributes:
        cache: the blocks.
    """

    __slots__ = (
        "_block_size",
        "_caching",
        "_hash_blocks",
        "_hash_tokens",
        "_head",
        "_slots",
        "cache",
    )

    def __init__(
        self,
        capacity: Capacity,
        hash_tokens: int,
        *,
        caching: bool,
        head: int = 0,
        clears_idle: bool = False,
    ) -> None:
        self._head = head
        self._slots = SlotHeads(capacity.max_num_seqs, head) if head and clears_idle else None
        self._block_size = capacity.block_size
        self._hash_tokens = hash_tokens
        self._hash_blocks = max(1, hash_tokens // capacity.block_size)
        self._caching = caching
        self.cache = KvCache(capacity.num_gpu_blocks, self._hash_blocks)

    def limit_hashes(self, request: EngineRequest) -> None:
        """Leave a request the hashes of blocks that may come from the cache.

        A prompt's last token is always computed, so its block is never taken from there.
        """
        whole = (request.prompt - 1) // self._hash_tokens if self._caching else 0
        request.hashes = request.hashes[:whole]

    def claim(self, request: EngineRequest, spare: int) -> int | None:
        """Give a request blocks for its prompt, and take what is cached of it for computed.

        Returns:
            The blocks of ``spare`` that this takes; None, and nothing is done, if it has too few.
        """
        cache, hashes = self.cache, request.hashes
        blocks = -(-request.context // self._block_size)
        if not hashes:
            if blocks > spare:
                return None
            cache.take(blocks)
            request.blocks = blocks
            self._skip_head(request)
            return blocks
        hit = cache.cached(hashes)
        blocks -= hit * self._hash_blocks
        room = blocks + cache.idle(hashes[:hit])
        if room > spare:
            return None
        cache.hold(hashes[:hit])
        cache.take(blocks)
        request.held = hit
        request.blocks = blocks
        request.left = request.context - hit * self._hash_tokens
        self._skip_head(request)
        return room

    def computed(self, request: EngineRequest) -> None:
        """Let others find what is now computed of a request's prompt, and no more than that.

        From the first block on that another request has computed at the same time, a request's
        blocks stay its own.
        """
        held, hashes = request.held, request.hashes
        whole = min(len(hashes), (request.context - request.left) // self._hash_tokens)
        if whole > held and not request.apart:
            kept = self.cache.keep(hashes[held:whole])
            request.apart = kept < whole - held
            request.held = held + kept
            request.blocks -= kept * self._hash_blocks

    def _skip_head(self, request: EngineRequest) -> None:
        head = self._head
        if self._slots is not None and not self._slots.begin(request.context):
            head = 0
        if request.head is not None:
            head = request.head
        if head:
            request.left = max(1, min(request.left, request.context - head))

    def grown(self, request: EngineRequest, blocks: int) -> None:
        """Note that a request's tokens now fill so many blocks, shared ones included."""
        request.blocks = blocks - request.held * self._hash_blocks

    def release(self, request: EngineRequest) -> None:
        """Free what a request holds."""
        if self._slots is not None:
            self._slots.end(request.prompt + request.generated)
        self.cache.give(request.blocks, request.hashes[: request.held])
        request.blocks = request.held = 0
        request.apart = False

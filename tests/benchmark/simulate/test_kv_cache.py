"""The KV cache's counts, and which beginnings it keeps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sage.benchmark.simulate.kv_cache import KvCache

_SIZE = 4


def test_what_nobody_uses_is_kept_until_its_room_is_needed() -> None:
    """The beginning last used goes last, and a prompt's end goes before its beginning."""
    cache = KvCache(16, _SIZE)
    for hashes in ((1, 2), (3, 4)):
        cache.take(2 * _SIZE)
        assert cache.keep(hashes) == 2
        cache.give(0, hashes)
    assert cache.free == 16
    assert cache.cached((1, 2)) == cache.cached((3, 4)) == 2
    cache.take(5)
    assert cache.cached((1, 2)) == 0
    assert cache.cached((3, 4)) == 2
    cache.take(4)
    assert (cache.cached((1, 2)), cache.cached((3, 4))) == (0, 1)


def test_shared_beginnings_are_counted_once() -> None:
    """Two that use the same take no more room than one; what is in use is never given up."""
    cache = KvCache(12, _SIZE)
    cache.take(8)
    cache.keep((1, 2))
    cache.hold((1, 2))
    assert cache.used == 8
    cache.take(4)
    assert cache.free == 0
    cache.give(4, (1, 2))
    assert (cache.used, cache.idle((1, 2))) == (8, 0)
    cache.give(0, (1, 2))
    assert (cache.used, cache.idle((1, 2))) == (0, 8)


@given(
    prompts=st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 5), st.integers(0, 6)), max_size=40
    ),
    ends=st.lists(st.integers(0, 10), max_size=40),
)
def test_every_block_is_given_back(prompts: list[tuple[int, int, int]], ends: list[int]) -> None:
    """Whatever comes and goes in whatever order, and never more than there are."""
    cache = KvCache(60, _SIZE)
    running: list[tuple[int, tuple[int, ...]]] = []
    for number, (family, length, own) in enumerate(prompts):
        hashes = tuple(family * 10 + place for place in range(length))
        hit = cache.cached(hashes)
        blocks = (length - hit) * _SIZE + own
        if blocks + cache.idle(hashes[:hit]) <= cache.free:
            cache.hold(hashes[:hit])
            cache.take(blocks)
            kept = cache.keep(hashes[hit:])
            running.append((blocks - kept * _SIZE, hashes[: hit + kept]))
        assert 0 <= cache.used <= cache.total
        if running and number < len(ends):
            cache.give(*running.pop(ends[number] % len(running)))
    for blocks, held in running:
        cache.give(blocks, held)
    assert cache.used == 0

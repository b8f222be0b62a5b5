"""The prefix index is bounded, and forgets the ends of prompts before their beginnings."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sage.inference.scheduling.instance import InstanceSpec
from sage.inference.scheduling.prefixes import PrefixIndex
from sage.inference.scheduling.request import Kind, Request
from sage.inference.scheduling.scheduler import Scheduler


def chain(*parts: int) -> tuple[int, ...]:
    return tuple(hash(parts[: n + 1]) for n in range(len(parts)))


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), max_size=12))
def test_match_is_the_longest_known_beginning(prompts: list[list[int]]) -> None:
    """Bisection finds what a search from the start finds."""
    index = PrefixIndex()
    sent: set[int] = set()
    for parts in prompts:
        prefix = chain(*parts)
        known = 0
        while known < len(prefix) and prefix[known] in sent:
            known += 1
        assert index.matched(prefix) == known
        index.add(prefix)
        sent.update(prefix)


def test_memory_is_bounded_and_beginnings_stay() -> None:
    """Over its capacity, the oldest prompts go, and of one prompt its end goes first."""
    index = PrefixIndex(10)
    index.add(chain(*range(6)))
    index.add(chain(*range(100, 106)))
    assert len(index) == 10
    assert index.matched(chain(*range(100, 106))) == 6
    assert index.matched(chain(*range(6))) == 4
    index.add(chain(*range(200, 300)))
    assert len(index) == 10
    assert index.matched(chain(*range(200, 300))) == 10
    assert index.matched(()) == 0


def test_what_the_blocks_leave_out_is_never_cached() -> None:
    """Of 1,000 tokens in blocks for 800, half of them known, 600 are to be prefilled."""
    core = Scheduler()
    core.instance_up(InstanceSpec("a", Kind.LLM, ("m",)), 0.0)
    state = core.instance("a")
    state.prefixes.add((1, 2))
    blocks = (1, 2, 3, 4)

    def request(covered: int) -> Request:
        return Request(1, Kind.LLM, "m", 0.0, 1000, prefix=blocks, prefix_tokens=covered)

    assert state.uncached(request(800), 1000) == 600
    assert state.uncached(request(0), 1000) == 500
    assert state.uncached(request(800), 2000) == 1200, "the tokens' count was corrected"
    state.prefixes.add(blocks)
    assert state.uncached(request(800), 1000) == 200
    assert state.uncached(request(1000), 1000) == 1

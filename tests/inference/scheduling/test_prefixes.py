"""The prefix index is bounded, and forgets the ends of prompts before their beginnings."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sage.inference.scheduling.prefixes import PrefixIndex


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

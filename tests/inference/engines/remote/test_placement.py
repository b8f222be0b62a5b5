"""Which engines fit on which nodes."""

from __future__ import annotations

import pytest

from sage.inference.engines.remote.order import Need
from sage.inference.engines.remote.placement import Room, equal_share, misfit, most_on_a_node


def _rooms(*sizes: tuple[float, float]) -> list[Room]:
    return [Room(f"node-{number}", *size) for number, size in enumerate(sizes, 1)]


@pytest.mark.parametrize(
    ("cpus", "engines", "share"),
    [((8,), 1, 8), ((8,), 3, 2), ((4, 4), 3, 2), ((3, 3), 2, 3), ((2,), 5, 1), ((), 2, 1)],
)
def test_each_engine_gets_the_most_with_which_all_fit(
    cpus: tuple[int, ...], engines: int, share: int
) -> None:
    """Whole CPUs of one node, and never none."""
    assert equal_share(_rooms(*((count, 0) for count in cpus)), engines) == share


def test_engines_that_fit_are_no_misfit() -> None:
    """Also when the largest must be placed first, and shares add up to a whole GPU."""
    needs = [Need(1, 0), Need(1, 2), Need(1, 0.1), *[Need(0.1, 0.1)] * 9]
    assert misfit(needs, _rooms((3, 1), (1, 2))) is None


def test_gpus_of_two_nodes_do_not_make_one_engines() -> None:
    """A model is split over the GPUs of one node; the message has both numbers."""
    assert misfit([Need(1, 4)], _rooms((8, 2), (8, 2))) == (
        "1 engine needs 1 CPU and 4 GPUs on one node; "
        "free: 8 CPUs and 2 GPUs on node-1, 8 CPUs and 2 GPUs on node-2"
    )


def test_what_all_engines_need_and_what_is_free_are_named() -> None:
    """Sums of what is asked, and each node's own."""
    assert misfit([Need(2, 0)] * 3, _rooms((4, 0))) == (
        "3 engines need 6 CPUs, 2 CPUs each on one node; free: 4 CPUs on node-1"
    )
    assert "free: no node is alive" in (misfit([Need(1, 0)], []) or "")


@pytest.mark.parametrize(
    ("need", "count"), [(Need(1, 0), 3), (Need(2, 0), 2), (Need(1, 1), 1), (Need(9, 0), 1)]
)
def test_engines_that_may_share_a_nodes_memory_are_counted(need: Need, count: int) -> None:
    """As many as fit on the roomiest node, at most all of them, at least the one itself."""
    assert most_on_a_node(_rooms((4, 1), (1, 0)), need, engines=3) == count

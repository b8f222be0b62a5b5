"""How the state of some replicas becomes that of others."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sage.dataflow.checkpoint.operator_state import OperatorState, share
from sage.dataflow.keys import partition
from sage.dataflow.meter import Meter
from sage.dataflow.timers import SavedTimers, TimeDomain

KEYS = st.one_of(st.none(), st.integers(-50, 50), st.text(max_size=3), st.booleans())


@given(st.sets(KEYS, max_size=30), st.integers(1, 4), st.integers(1, 5))
def test_every_key_goes_where_its_records_will(keys: set[object], before: int, now: int) -> None:
    """State and timers are divided by key, and none is lost or doubled, nor any count."""
    states = [
        OperatorState(
            meter=Meter(records_in=index + 1),
            metrics={"seen": 2},
            keyed={"t": {key: repr(key) for key in keys if partition(key, before) == index}},
            timers=SavedTimers(
                float(index),
                tuple(
                    (TimeDomain.EVENT, 7.0, key) for key in keys if partition(key, before) == index
                ),
            ),
            in_flight=(f"record {index}", f"another {index}"),
        )
        for index in range(before)
    ]
    shares = [share(states, index, now) for index in range(now)]
    for index, mine in enumerate(shares):
        assert all(partition(key, now) == index for key in mine.keyed["t"])
        assert {timer[2] for timer in mine.timers.timers} == set(mine.keyed["t"])
        assert mine.timers.watermark == 0.0
    assert Counter(key for each in shares for key in each.keyed["t"]) == Counter(keys)
    assert sum(each.meter.records_in for each in shares) == before * (before + 1) // 2
    assert sum(each.metrics.get("seen", 0) for each in shares) == 2 * before
    in_flight = sorted(item for each in shares for item in each.in_flight)
    assert in_flight == sorted(item for each in states for item in each.in_flight)

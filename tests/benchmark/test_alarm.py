"""An alarm fires once for each setting, never early, whichever timer is behind it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
import uvloop

from sage.benchmark.alarm import Alarm, LoopTimer, make_alarm

Maker = Callable[[asyncio.AbstractEventLoop, Callable[[], None]], Alarm]
pytestmark = pytest.mark.parametrize("make", [make_alarm, LoopTimer])


def _run(make: Maker, waits: list[float]) -> list[float]:
    """Set the alarm for each wait in turn and return how late it was."""

    async def ring() -> list[float]:
        fired = asyncio.Event()
        late = []
        alarm = make(asyncio.get_running_loop(), fired.set)
        for wait in waits:
            due = time.perf_counter() + wait
            alarm.set(wait)
            await fired.wait()
            late.append(time.perf_counter() - due)
            fired.clear()
        alarm.close()
        return late

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(ring())


def test_it_fires_for_each_setting_and_never_early(make: Maker) -> None:
    """Also when the moment is now; the loop's own timer rounds to its millisecond."""
    late = _run(make, [0.0003, 0.0, 0.0021, 0.00001])
    assert len(late) == 4
    assert min(late) >= (0 if make is make_alarm else -0.001)


def test_setting_it_anew_replaces_the_moment_before(make: Maker) -> None:
    """It fires once, at the later moment; after closing not at all."""

    async def ring() -> list[float]:
        fired: list[float] = []
        rung = asyncio.Event()

        def ring_once() -> None:
            fired.append(time.perf_counter())
            rung.set()

        alarm = make(asyncio.get_running_loop(), ring_once)
        begin = time.perf_counter()
        alarm.set(0.001)
        alarm.set(0.02)
        await rung.wait()
        alarm.set(0.001)
        alarm.close()
        await asyncio.sleep(0.01)
        return [moment - begin for moment in fired]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        moments = runner.run(ring())
    assert len(moments) == 1
    assert moments[0] >= 0.019

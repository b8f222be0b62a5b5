"""The work of the comparison: map → map → filter → sink over integers."""

from __future__ import annotations

import time
from collections.abc import Callable

RECORDS = 1_000_000
TURNS = 3


def add_one(x: int) -> int:
    return x + 1


def double(x: int) -> int:
    return x * 2


def not_by_three(x: int) -> bool:
    return x % 3 != 0


def kept(records: int) -> int:
    """Return how many of the first integers the filter lets pass."""
    return records - records // 3


def rate(run: Callable[[], int], records: int = RECORDS, turns: int = 1) -> dict[str, float]:
    """Run the work and return records/s, and CPU microseconds a record, of the fastest turn.

    Args:
        run: does it and returns how many records came to the sink.
        records: how many go in.
        turns: how often.

    Raises:
        SystemExit: records were lost.
    """
    seconds, cpu = [], []
    for _ in range(turns):
        used, start = time.process_time(), time.perf_counter()
        arrived = run()
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
        if arrived != kept(records):
            raise SystemExit(f"{arrived} records came to the sink, not {kept(records)}")
    return {"records_per_s": records / min(seconds), "cpu_us": min(cpu) / records * 1e6}

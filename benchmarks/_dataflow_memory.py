"""A source without an end before a sink that stands still: what the memory does meanwhile."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator

import psutil
from _dataflow_rounds import Figures, serve

from sage.dataflow import LocalEnvironment

RECORD_BYTES = 1000
# After so long the channels are full, and from then on the source must give nothing.
SETTLE_S = 2.0


def stalled(seconds: str) -> Figures:
    """Stall the sink and say how much memory grew, and how many records the source gave.

    Args:
        seconds: for how long.
    """
    given = 0
    stalls, goes_on = threading.Event(), threading.Event()

    def endless() -> Iterator[bytes]:
        nonlocal given
        for number in itertools.count():
            given += 1
            yield number.to_bytes(8, "big") * (RECORD_BYTES // 8)

    def sink(_: bytes) -> None:
        stalls.set()
        goes_on.wait()

    env = LocalEnvironment("stalled")
    process = psutil.Process()
    before = process.memory_info().rss
    env.from_source(endless).map(lambda record: record).sink(sink)
    job = env.submit()
    stalls.wait()
    time.sleep(SETTLE_S)
    settled = given
    highest = 0
    deadline = time.monotonic() + float(seconds) - SETTLE_S
    while time.monotonic() < deadline:
        highest = max(highest, process.memory_info().rss)
        time.sleep(0.1)
    at_end = given
    goes_on.set()
    job.cancel()
    return {
        "grown_mb": (highest - before) / 1e6,
        "given": float(at_end),
        "given_while_stalled": float(at_end - settled),
        "stalled_s": float(seconds),
    }


if __name__ == "__main__":
    serve({"stalled": stalled})

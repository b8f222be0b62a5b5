"""This machine's GPUs while a run lasts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sage.dataflow.gpu import GpuProbe, GpuReading, open_gpus

_EVERY_S = 0.5


class GpuWatch:
    """Takes a sample of each GPU twice a second, in a thread of its own.

    Without nvidia-ml-py, or without a GPU, there is no thread and there are no readings.

    Args:
        open_probe: makes what reads them.
    """

    def __init__(self, open_probe: Callable[[], GpuProbe | None] = open_gpus) -> None:
        self._probe = open_probe()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Begin to look."""
        if self._probe is not None:
            self._thread = threading.Thread(target=self._watch, args=(self._probe,), daemon=True)
            self._thread.start()

    def end(self) -> tuple[GpuReading, ...]:
        """Look no more, and return what was seen."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        return self._probe.readings() if self._probe is not None else ()

    def _watch(self, probe: GpuProbe) -> None:
        while True:
            probe.probe(time.monotonic())
            if self._over.wait(_EVERY_S):
                return

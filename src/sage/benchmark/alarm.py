"""A timer of an event loop that fires within some tens of microseconds of its moment.

The loop's own timers count in whole milliseconds. A load that is to send 8,000 requests a second
would have to poll between them, which takes a whole core, or send them late by half a
millisecond, which would be measured as latency.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import sys
from collections.abc import Callable
from typing import Protocol

_CLOCK_MONOTONIC = 1
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)
_SHORTEST_NS = 1  # zero would disarm it
_TICK_S = 0.001  # nearer moments would be rounded to now
_FIRINGS = 8  # bytes that count how often it fired


class Alarm(Protocol):
    """Fires once for each time that it is set."""

    def set(self, seconds: float) -> None:
        """Fire after so many seconds from now, and not when it was set to before."""

    def close(self) -> None:
        """Fire no more."""


def make_alarm(loop: asyncio.AbstractEventLoop, fire: Callable[[], None]) -> Alarm:
    """Return the most exact timer that this system has: timerfd on Linux, else the loop's own.

    Args:
        loop: calls ``fire``.
        fire: what is to be done at the moment.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            return _TimerFile(loop, fire)
    return LoopTimer(loop, fire)


class _Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _Setting(ctypes.Structure):
    _fields_ = [("interval", _Timespec), ("value", _Timespec)]


class _TimerFile:
    """A timerfd(2), which the loop watches like a socket; os.timerfd_create is Python 3.13's."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fire: Callable[[], None]) -> None:
        self._loop = loop
        self._fire = fire
        libc = ctypes.CDLL(None, use_errno=True)
        self._settime = libc.timerfd_settime
        self._settime.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        self._file = libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._setting = _Setting()
        self._value = self._setting.value
        self._address = ctypes.addressof(self._setting)
        loop.add_reader(self._file, self._fired)

    def set(self, seconds: float) -> None:
        whole = int(seconds)
        self._value.seconds = whole
        self._value.nanoseconds = max(_SHORTEST_NS, int((seconds - whole) * 1e9))
        self._settime(self._file, 0, self._address, None)

    def close(self) -> None:
        if self._file >= 0:
            self._loop.remove_reader(self._file)
            os.close(self._file)
            self._file = -1

    def _fired(self) -> None:
        try:
            os.read(self._file, _FIRINGS)
        except BlockingIOError:
            return  # it was set anew after the loop had seen it fire
        self._fire()


class LoopTimer:
    """A timer of the loop, which counts in milliseconds: up to one late, but it does not poll."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fire: Callable[[], None]) -> None:
        self._loop = loop
        self._fire = fire
        self._handle: asyncio.TimerHandle | None = None

    def set(self, seconds: float) -> None:
        self.close()
        self._handle = self._loop.call_later(max(_TICK_S, seconds), self._fire)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

"""The access log: one JSON line a request, written by a thread of its own."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from sage.errors import ConfigError
from sage.inference.gateway.exchange import Exchange

logger = logging.getLogger("sage.gateway")

STDERR = "stderr"

_LINGER = 0.2
"""Seconds that the writer lets lines gather, so that a busy gateway writes a few times a second."""
_MOST_WAITING = 100_000
_LONGEST_MODEL = 200


class AccessLog:
    """Writes who asked for what, when, and what came of it; never a prompt, answer or key.

    A line that cannot be written (no space left, a reader that does not read) is dropped and
    counted, and said so once; requests never wait for it.

    Args:
        target: a file's path, or ``stderr``.
        wall_clock: seconds since the epoch.

    Attributes:
        target: where it is written.
        dropped: lines that could not be written.
    """

    def __init__(self, target: str, wall_clock: Callable[[], float]) -> None:
        self.target = target
        self._wall_clock = wall_clock
        self._records: deque[tuple[Any, ...]] = deque()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._asleep = True
        self._reopening = False
        self._failing = False
        self._cut = False
        self._fd = -1
        self._thread: threading.Thread | None = None
        self._dropping = threading.Lock()
        self.dropped = 0

    def open(self) -> None:
        """Open the file and start to write.

        Raises:
            ConfigError: the file cannot be opened.
        """
        if self._thread is not None:
            return
        self._fd = self._open_target()
        self._closing.clear()
        self._thread = threading.Thread(target=self._run, name="sage-access-log", daemon=True)
        self._thread.start()

    def _open_target(self) -> int:
        if self.target == STDERR:
            return os.dup(sys.__stderr__.fileno() if sys.__stderr__ is not None else 2)
        path = Path(self.target).expanduser()
        try:
            return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise ConfigError(f"access_log: {path} cannot be opened: {error.strerror}") from error

    def reopen(self) -> None:
        """Write to a new file by that name from the next line on, after the old one was moved."""
        self._reopening = True
        self._wake.set()

    def close(self) -> None:
        """Write what is left, and end."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._closing.set()
        self._wake.set()
        thread.join()
        os.close(self._fd)
        self._fd = -1

    def note(self, exchange: Exchange, now: float) -> None:
        """Take in a request that has ended.

        Args:
            exchange: the request's.
            now: the time on the gateway's clock.
        """
        if len(self._records) >= _MOST_WAITING:
            self._drop(1, "lines come faster than they can be written")
            return
        self._records.append((self._wall_clock(), now, *_facts(exchange)))
        if self._asleep:
            self._asleep = False
            self._wake.set()

    # In the writer's thread

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._closing.wait(_LINGER)
            self._wake.clear()
            # Set before the records are taken: one that comes after them wakes the writer again.
            self._asleep = True
            if self._reopening:
                self._reopening = False
                self._swap()
            self._write_records()
            if self._closing.is_set() and not self._records:
                return

    def _swap(self) -> None:
        try:
            fresh = self._open_target()
        except ConfigError as error:
            logger.error("%s; the old file is written on", error)  # noqa: TRY400 - the message says all
            return
        os.close(self._fd)
        self._fd = fresh
        self._cut = False

    def _write_records(self) -> None:
        count = len(self._records)
        if not count:
            return
        lines = [_line(self._records.popleft()) for _ in range(count)]
        if self._cut:
            lines.insert(0, b"")
        data = b"\n".join([*lines, b""])
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError as error:
            done = data[:written]
            if done:
                self._cut = not done.endswith(b"\n")
            self._drop(min(count, len(lines) - done.count(b"\n")), error.strerror or str(error))
        else:
            self._cut = False
            if self._failing:
                self._failing = False
                logger.warning("access log: written again; %d lines were dropped", self.dropped)

    def _drop(self, lines: int, why: str) -> None:
        with self._dropping:
            self.dropped += lines
            said, self._failing = self._failing, True
        if not said:
            logger.error("access log: %s; lines are dropped and counted", why)


def _facts(exchange: Exchange) -> tuple[Any, ...]:
    """Return what the line needs of an exchange, without keeping the exchange."""
    response = exchange.response
    status = exchange.status or (
        response.status if response is not None and exchange.started else None
    )
    scope = exchange.scope
    kind = exchange.kind
    return (
        exchange.request_id,
        scope["method"],
        scope["path"],
        exchange.model,
        exchange.terms.cls or (kind.value if kind is not None else ""),
        exchange.tenant,
        exchange.instance_id,
        status,
        exchange.outcome.value if exchange.outcome is not None else "",
        exchange.arrived,
        exchange.submitted_at,
        exchange.dispatched_at,
        exchange.first_byte_at if exchange.streamed else 0.0,
        exchange.prompt_tokens or None,
        exchange.completion_tokens if exchange.has_usage else None,
    )


def _line(record: tuple[Any, ...]) -> bytes:
    (
        wall, now, request_id, method, path, model, request_class, tenant, instance, status,
        outcome, arrived, submitted, dispatched, first_byte, prompt, completion,
    ) = record  # fmt: skip
    time = datetime.fromtimestamp(wall - (now - arrived), UTC)
    return msgspec.json.encode(
        {
            "time": time.isoformat("T", "milliseconds"),
            "request_id": request_id.decode("latin-1"),
            "method": method,
            "path": path,
            "model": model[:_LONGEST_MODEL] or None,
            "class": request_class or None,
            "tenant": tenant or None,
            "instance": instance or None,
            "status": status,
            "outcome": outcome,
            "queue_ms": _ms(submitted, dispatched),
            "ttft_ms": _ms(arrived, first_byte),
            "e2e_ms": _ms(arrived, now),
            "prompt_tokens": prompt,
            "completion_tokens": completion,
        }
    )


def _ms(start: float, end: float) -> float | None:
    """Return a span in milliseconds; None where it has no end."""
    return round((end - start) * 1000, 3) if end else None

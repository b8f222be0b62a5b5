"""Servers with one fault at most that a load client should show, and the truth about it.

    python benchmarks/_client_faults.py PORT FAULT ASKED

An answer is a stream. Every fault is steered by what arrives, so that a client may start as late
as it likes. ``GET /truth`` tells what the server itself saw. At the first chat a byte is written
to the file ASKED.

- ``steady``: none; streams of 200 events 5 ms apart.
- ``stall``: 20 ms to an answer; from the 400th request on nothing is written for 2 s.
- ``freeze``: streams of 64 events 10 ms apart. When 16 are open for the first time, and every
  second from then on, all of them stand still for 300 ms. Every tenth request is answered with
  status 500 instead.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from heapq import heappop, heappush
from pathlib import Path

import uvloop
from _streams import Engine, pieces, whole

SERVICE_S = 0.02
STALL_AT, STALL_S = 400, 2.0
FAIL_EVERY = 10
# Events of a stream, and seconds between them.
SHAPES = {"steady": (200, 0.005), "stall": (4, 0.0), "freeze": (64, 0.01)}
FREEZE_AT, FREEZE_S, FREEZE_EVERY_S = 16, 0.3, 1.0
_FAILURE = whole('{"error":{"message":"out of luck"}}', "500 Internal Server Error")


def stall_latencies(requests: int, rate: float, slots: int) -> list[float]:
    """Return each request's seconds from when it was due to its answer, as the stall makes them.

    Args:
        requests: how many are due, at equal distances.
        rate: of them, per second.
        slots: most that are out at once; the next one waits for an answer.
    """
    begins = (STALL_AT - 1) / rate
    ends: list[float] = []
    told = []
    for number in range(requests):
        due = number / rate
        sent = max(due, heappop(ends)) if len(ends) >= slots else due
        answered = sent + SERVICE_S
        if answered > begins and sent < begins + STALL_S:
            answered = begins + STALL_S + (SERVICE_S if sent >= begins else 0.0)
        heappush(ends, answered)
        told.append(answered - due)
    return told


@dataclass
class Seen:
    """What one server has seen.

    Attributes:
        asked: file for a byte at the first chat.
        requests: chats asked for.
        failed: of them, answered with an error.
        gaps: seconds between events of one stream, as they were written.
        open: streams that are not at their end.
        still_until: when the stall is over; 0 before it.
        frozen_from: when streams first stood still; None before that.
    """

    asked: Path
    requests: int = 0
    failed: int = 0
    gaps: list[float] = field(default_factory=list)
    open: int = 0
    still_until: float = 0.0
    frozen_from: float | None = None

    def truth(self) -> dict[str, float]:
        gaps = sorted(self.gaps)
        told: dict[str, float] = {"requests": self.requests, "failed": self.failed}
        if gaps:
            told["itl_p99_ms"] = gaps[int(len(gaps) * 0.99)] * 1000
        return told


class Faulty(Engine):
    """One connection to a server with a fault."""

    def __init__(self, fault: str, seen: Seen, written: list[bytes]) -> None:
        super().__init__(written, SHAPES[fault][1])
        self._fault = fault
        self._seen = seen
        self._last = 0.0

    def _answer(self, head: bytes, body: bytes) -> None:
        path = head.split(b" ", 2)[1]
        if path == b"/truth":
            self._transport.write(whole(json.dumps(self._seen.truth())))
        elif path != b"/v1/chat/completions":
            super()._answer(head, body)
        else:
            self._seen.requests += 1
            if self._seen.requests == 1:
                self._seen.asked.write_bytes(b"1")
            if self._fault == "stall":
                self._serve()
            elif self._fault == "freeze" and self._seen.requests % FAIL_EVERY == 0:
                self._seen.failed += 1
                self._loop.call_later(SERVICE_S, self._transport.write, _FAILURE)
            else:
                self._open()

    def _serve(self) -> None:
        """Answer in one write, once the stall is over."""
        seen, now = self._seen, time.monotonic()
        if seen.requests == STALL_AT:
            seen.still_until = now + STALL_S
        wait = SERVICE_S + max(0.0, seen.still_until - now)
        self._loop.call_later(wait, self._write_all)

    def _write_all(self) -> None:
        left = self._seen.still_until - time.monotonic()
        if left > 0:  # it was in service when the stall began
            self._loop.call_later(left, self._write_all)
        elif not self._transport.is_closing():
            self._transport.write(b"".join(self._written))

    def _open(self) -> None:
        seen = self._seen
        seen.open += 1
        frozen = self._fault == "freeze" and seen.frozen_from is None
        if frozen and seen.open >= FREEZE_AT:
            seen.frozen_from = time.monotonic() + FREEZE_S
        self._next, self._last = 0, 0.0
        self._step()

    def _step(self) -> None:
        now = time.monotonic()
        since = self._seen.frozen_from
        if since is not None and now >= since and (now - since) % FREEZE_EVERY_S < FREEZE_S:
            left = FREEZE_S - (now - since) % FREEZE_EVERY_S
            self._timer = self._loop.call_later(left, self._step)
            return
        # The last events have no token and say nothing about the time between tokens.
        if self._last and self._next < SHAPES[self._fault][0] - 1:
            self._seen.gaps.append(now - self._last)
        self._last = now
        super()._step()
        if self._next == len(self._written):
            self._seen.open -= 1


async def serve(port: int, fault: str, asked: Path) -> None:
    """Serve until cancelled."""
    seen = Seen(asked)
    written = pieces(SHAPES[fault][0], usage=True)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Faulty(fault, seen, written), "127.0.0.1", port, backlog=4096
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))

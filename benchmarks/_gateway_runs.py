"""The measurements of the gateway benchmark, each over a stand of gateways that run."""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _peers
import _wrk
import uvloop
from _callers import Caller, Connection, Tally, for_each, request, streams
from _stand import Asked, Gateway, Stand

CONNECTIONS = 32
_BLOCK = 50
_WIDTH = 256

Row = dict[str, float]


def in_turn(
    stand: Stand, rounds: int, seconds: int, work: Callable[[Gateway, int], Row]
) -> dict[str, list[Row]]:
    """Run ``work`` for every gateway, round after round; a short one before is not counted.

    A gateway that fails is left out, with what it had.

    Args:
        stand: what runs.
        rounds: that count.
        seconds: of each gateway's turn.
        work: measures one gateway for so many seconds.
    """
    rows: dict[str, list[Row]] = {name: [] for name in stand.gateways}
    for number in range(rounds + 1):
        for name, gateway in list(stand.gateways.items()):
            try:
                row = work(gateway, seconds if number else 1)
            except (OSError, RuntimeError) as error:
                stand.drop(name, str(error))
                del rows[name]
                continue
            if number:
                rows[name].append(row)
    return rows


def script(folder: Path, asked: Asked) -> Path:
    """Write wrk's script and return its path."""
    path = folder / "chat.lua"
    _wrk.write_script(path, asked.body, asked.headers)
    return path


def whole_answers(gateway: Gateway, lua: Path, seconds: int) -> Row:
    """Load a gateway, and divide the CPU time that it took by the requests it answered.

    Raises:
        RuntimeError: an answer was not good.
    """
    before = gateway.process.cpu_seconds()
    load = _wrk.run(gateway.url, lua, connections=CONNECTIONS, seconds=seconds)
    used = gateway.process.cpu_seconds() - before
    if load.not_ok or load.broken or not load.requests:
        raise RuntimeError(
            f"of {load.requests} answers {load.not_ok} were not 200, {load.broken} did not come"
        )
    return {
        "request_us": used / load.requests * 1e6,
        "requests_per_s": load.requests / load.seconds,
        "core_share": used / load.seconds,
    }


def added_latency(gateway: Gateway, backend: int, asked: Asked, seconds: float) -> Row:
    """Return the median latency through the gateway less that of the engine stand-in alone.

    One connection to each; blocks of calls alternate between the two.
    """
    payload = json.loads(asked.body)
    direct: list[float] = []
    through: list[float] = []
    until = time.perf_counter() + seconds
    with (
        Caller(backend, request(backend, payload, asked.headers)) as engine,
        Caller(gateway.port, request(gateway.port, payload, asked.headers)) as proxy,
    ):
        while time.perf_counter() < until:
            direct += [engine.call() for _ in range(_BLOCK)]
            through += [proxy.call() for _ in range(_BLOCK)]
    ours, alone = statistics.median(through), statistics.median(direct)
    return {"added_p50_ms": (ours - alone) * 1e3, "direct_p50_ms": alone * 1e3}


@dataclass(frozen=True)
class StreamLoad:
    """How streams are asked for.

    Attributes:
        at_once: streams that run at any moment.
        events: of one stream, ``[DONE]`` not among them.
    """

    at_once: int
    events: int

    def run(self, port: int, asked: Asked, seconds: float) -> Tally:
        """Stream, and return what came; after so many seconds no new stream begins."""
        return uvloop.run(
            streams(
                port,
                _streamed(port, asked),
                at_once=self.at_once,
                seconds=seconds,
                expected=self.events,
            )
        )


def _streamed(port: int, asked: Asked) -> bytes:
    return request(port, {**json.loads(asked.body), "stream": True}, asked.headers)


def streamed_events(gateway: Gateway, load: StreamLoad, asked: Asked, seconds: float) -> Row:
    """Stream through a gateway, and divide the CPU time that it took by the events that came.

    Raises:
        RuntimeError: a stream did not come whole.
    """
    before = gateway.process.cpu_seconds()
    start = time.perf_counter()
    tally = load.run(gateway.port, asked, seconds)
    taken = time.perf_counter() - start
    used = gateway.process.cpu_seconds() - before
    if tally.failed:
        raise RuntimeError(f"of {tally.asked} streams {tally.failed} failed: {tally.faults}")
    return {
        "event_us": used / tally.events * 1e6,
        "events_per_s": tally.events / taken,
        "events_per_stream": tally.events / tally.asked,
        "core_share": used / taken,
    }


def memory(gateway: Gateway, lua: Path, requests: int, step: int, limit: float) -> dict[str, Any]:
    """Send so many requests, and read the resident memory about every ``step`` of them.

    Args:
        gateway: one that has served nothing yet.
        lua: wrk's script.
        requests: to send, if ``limit`` seconds suffice.
        step: requests between two samples, or ten seconds' worth where that is less.
        limit: seconds.

    Raises:
        RuntimeError: an answer was not good.
    """
    samples = [(0, gateway.process.rss_bytes())]
    done, seconds = 0, 1
    until = time.monotonic() + limit
    while done < requests and time.monotonic() < until:
        load = _wrk.run(gateway.url, lua, connections=CONNECTIONS, seconds=seconds)
        if load.not_ok or load.broken or not load.requests:
            raise RuntimeError(f"{load.not_ok} answers were not 200, {load.broken} did not come")
        done += load.requests
        samples.append((done, gateway.process.rss_bytes()))
        seconds = min(10, max(1, round(step / load.requests * load.seconds)))
    half, then = next((count, rss) for count, rss in samples if count >= done / 2)
    last = samples[-1][1]
    return {
        "requests": done,
        "rss_mb": last / 1e6,
        # The first half fills caches and windows that are bounded.
        "grown_bytes_a_request": (last - then) / max(1, done - half),
        "samples": [[count, rss / 1e6] for count, rss in samples],
    }


def idle_and_streams(
    gateway: Gateway, asked: Asked, *, idle: int, load: StreamLoad
) -> dict[str, Any]:
    """Hold connections that have had one answer, stream beside them, and use them all again.

    The gateway closes a connection that has been idle for 75 s, so all of it must take less.
    """
    return uvloop.run(_idle_and_streams(gateway, asked, idle, load))


async def _idle_and_streams(
    gateway: Gateway, asked: Asked, idle: int, load: StreamLoad
) -> dict[str, Any]:
    connections: list[Connection] = []
    whole = request(gateway.port, json.loads(asked.body), asked.headers)
    tally = Tally()
    peak = gateway.process.rss_bytes()

    async def open_one(_: int) -> None:
        tally.asked += 1
        try:
            connection = await Connection.open(gateway.port)
        except OSError as error:
            tally.fault(f"not connected: {error}")
            return
        connections.append(connection)
        if fault := await connection.ask(whole):
            tally.fault(fault)

    async def use_again(number: int) -> None:
        tally.asked += 1
        if fault := await connections[number].ask(whole):
            tally.fault(f"used again: {fault}")

    start = time.perf_counter()
    try:
        await for_each(idle, _WIDTH, open_one)
        opened = gateway.process.rss_bytes()
        streaming = asyncio.ensure_future(
            streams(
                gateway.port,
                _streamed(gateway.port, asked),
                at_once=load.at_once,
                seconds=0.0,
                expected=load.events,
            )
        )
        while not streaming.done():
            peak = max(peak, gateway.process.rss_bytes())
            await asyncio.wait([streaming], timeout=0.2)
        streamed = await streaming
        kept = sum(connection.is_open for connection in connections)
        await for_each(len(connections), _WIDTH, use_again)
        peak = max(peak, gateway.process.rss_bytes())
    finally:
        for connection in connections:
            connection.close()
    return {
        "connections": idle,
        "kept": kept,
        "streams": streamed.asked,
        "events": streamed.events,
        "failed": tally.failed + streamed.failed,
        "faults": {**tally.faults, **streamed.faults},
        "rss_opened_mb": opened / 1e6,
        "rss_peak_mb": peak / 1e6,
        "seconds": time.perf_counter() - start,
    }


_FRAME = re.compile(r"^(.*) \((.*?)(?::\d+)?\)$")


def self_times(collapsed: str) -> list[tuple[str, float]]:
    """Read collapsed stacks and return each function's share of the samples, largest first.

    Args:
        collapsed: lines of ``frame;frame;frame count``, the innermost frame last.
    """
    counts: dict[str, int] = {}
    for line in collapsed.splitlines():
        stack, _, count = line.rpartition(" ")
        found = _FRAME.match(stack.rpartition(";")[2])
        if found is None:
            continue
        where = "/".join(Path(found[2]).parts[-2:])
        function = f"{found[1]} ({where})"
        counts[function] = counts.get(function, 0) + int(count)
    total = sum(counts.values()) or 1
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return [(function, count / total) for function, count in ordered]


def profile(gateway: Gateway, lua: Path, folder: Path, seconds: int) -> list[dict[str, Any]]:
    """Sample a gateway's stacks with py-spy while it is loaded; the top functions by self time.

    Raises:
        RuntimeError: py-spy failed.
    """
    path = folder / "stacks.txt"
    command = [str(_peers.ENVIRONMENT / "bin" / "py-spy"), "record", "--pid"]
    command += [str(gateway.process.pid), "--duration", str(seconds), "--rate", "500"]
    command += ["--format", "raw", "--function", "--output", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as recorder:
        try:
            _wrk.run(gateway.url, lua, connections=CONNECTIONS, seconds=seconds + 2)
            told, _ = recorder.communicate(timeout=30)
        finally:
            recorder.kill()
    if recorder.returncode:
        raise RuntimeError(f"py-spy ended with {recorder.returncode}: {told[-300:]!r}")
    shares = self_times(path.read_text(encoding="utf-8"))
    return [{"function": function, "share": share} for function, share in shares[:15]]

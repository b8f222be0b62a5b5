"""What the client says of itself, on loads written down by hand."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from sage.benchmark.exchange import Exchange, Failure
from sage.benchmark.load import LoadResult
from sage.benchmark.verdict import judge
from tests.benchmark.exchanges import exchange


def _load(exchanges: list[Exchange], **options: Any) -> LoadResult:
    values = {"cpu_s": 1.0, "wall_s": 10.0, "beats": [0.0], **options}
    return LoadResult(exchanges, 0, 0.0, **values)


def test_a_client_that_sends_in_time_is_not_the_bottleneck() -> None:
    """Though the server is slow and its last answer comes a minute after the others."""
    exchanges = [exchange(index, index / 100, e2e=0.5) for index in range(400)]
    exchanges[-1].ended = 60.0
    found = judge(_load(exchanges))
    assert (found.valid, found.reason) == (True, "")
    assert (found.asked_rate, found.held_rate) == pytest.approx((100, 100))


def test_requests_that_were_given_up_excuse_no_lag() -> None:
    """Most end by the limit of 120 s, of which 5% were 6 s; the answers took 100 ms."""
    exchanges = [exchange(index, index / 100, lag=0.05, e2e=0.1) for index in range(400)]
    for one in exchanges[100:]:
        one.fail(Failure.TIMEOUT, "no whole answer in 120 s", one.sent + 120)
    found = judge(_load(exchanges))
    assert not found.valid
    assert "requests left up to 50.0 ms late (P99; 10.0 ms is tolerated)" in found.reason


def test_a_lag_that_is_little_beside_the_latency_is_tolerated() -> None:
    """50 ms matter nothing to answers of two seconds."""
    exchanges = [exchange(index, index / 100, lag=0.05, e2e=2.0) for index in range(400)]
    assert judge(_load(exchanges)).valid


def test_waiting_for_a_slot_is_not_the_clients_fault() -> None:
    """It is a limit that the client was given."""
    exchanges = [exchange(index, index / 100, slot=1.0, e2e=1.1) for index in range(400)]
    found = judge(_load(exchanges))
    assert found.valid
    assert found.send_lag_p99_ms == pytest.approx(0.0)


def test_a_core_that_is_used_up_makes_a_run_invalid() -> None:
    """While requests left, though later the client waited for a long answer and did nothing."""
    exchanges = [exchange(index, index / 100, e2e=0.1) for index in range(400)]
    busy = {"cpu_s": 3.9, "wall_s": 60.0, "sending_s": 4.0}
    found = judge(_load(exchanges, **busy, sending_cpu_s=3.6))
    assert (found.valid, found.cpu_share) == (False, pytest.approx(0.9))
    assert found.reason == (
        "the client was the bottleneck: it used 90% of its core (under 90% is tolerated); "
        "it held 100 requests/s"
    )
    assert judge(_load(exchanges, **busy, sending_cpu_s=3.5)).valid
    short = {"cpu_s": 0.4, "wall_s": 0.4, "sending_cpu_s": 0.4, "sending_s": 0.4}
    assert judge(_load(exchanges, **short)).valid


def test_ports_and_files_that_ran_out_are_the_clients() -> None:
    """A server that refuses is the server's."""
    exchanges = [exchange(index, index / 100, e2e=0.1) for index in range(400)]
    exchanges[7].fail(Failure.CONNECT, f"127.0.0.1: {os.strerror(errno.ECONNREFUSED)}", 1.0)
    assert judge(_load(exchanges)).valid
    exchanges[8].fail(Failure.CONNECT, f"127.0.0.1: {os.strerror(errno.EADDRNOTAVAIL)}", 1.0)
    found = judge(_load(exchanges))
    assert (found.valid, found.refused_here) == (False, 1)
    assert "1 requests found no free port or file on this machine" in found.reason


def test_an_empty_load_has_a_verdict() -> None:
    """Ctrl-C before the first request leaves one."""
    found = judge(_load([], wall_s=0.0))
    assert (found.valid, found.asked_rate, found.held_rate) == (True, 0.0, 0.0)

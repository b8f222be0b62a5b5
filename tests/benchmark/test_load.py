"""What the load measures, against real servers with known faults."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest
import uvloop

from sage.benchmark.arrivals import ArrivalPattern
from sage.benchmark.classes import TrafficClass
from sage.benchmark.config import LLMBenchmarkConfig
from sage.benchmark.connection import LoadConnection
from sage.benchmark.exchange import Exchange, Failure
from sage.benchmark.load import Load
from sage.benchmark.prompts import built_in_text
from sage.benchmark.run import Bench, Run
from sage.benchmark.slo import LLMSLOConfig
from sage.benchmark.statistics import spread
from sage.benchmark.target import Found
from sage.benchmark.wire import Models, RequestWriter
from sage.benchmark.workload import PlannedRequest
from sage.inference.gateway.target import parse_target

from .server import Answer, Handler, TinyServer, encode_event, event, quick
from .virtual_time import VirtualTimeLoop, run_in_virtual_time


def _run(handler: Handler, **options: Any) -> Run:
    config = LLMBenchmarkConfig(
        **{"warmup_requests": 0, "arrival": ArrivalPattern.CONSTANT, **options}
    )
    config.validate()
    with TinyServer(handler) as server:
        return Bench(config, Found(server.url, Models("chat"))).run()


def test_a_stall_shows_in_the_latency_of_all_who_had_to_wait() -> None:
    """With at most 8 out at once, a stall of two seconds delays the hundred due meanwhile.

    Of 800 requests at 50/s the k-th due after the stall's begin waits 2000 - 20k ms, so the 99th
    percentile is 1,840 ms and 69 wait for longer than 630 ms. Measured from when they left, only
    the 8 that were out would have waited.
    """
    gate = {"until": 0.0}

    async def stalls(number: int, body: dict[str, Any], answer: Answer) -> None:
        loop = asyncio.get_running_loop()
        if number == 400:
            gate["until"] = loop.time() + 2
        await asyncio.sleep(max(0.0, gate["until"] - loop.time()))
        answer.quick()

    slo = LLMSLOConfig(ttft_ms=None, tpot_ms=None, e2e_ms=630)
    run = run_in_virtual_time(stalls, requests=800, rate=50, max_in_flight=8, slo=slo)
    overall = run.summary.overall
    assert overall.e2e_ms is not None
    assert overall.e2e_ms.p99 == pytest.approx(1840, abs=1)
    assert overall.slo_met == 800 - 69
    assert overall.delay_ms is not None
    # The first 8 of the hundred left at once.
    assert overall.delay_ms.p99 == pytest.approx(1680, abs=1)
    assert run.verdict.valid, run.verdict.reason


def test_a_freeze_of_all_streams_shows_in_the_gaps() -> None:
    """One gap of 300 ms in each stream of 20 tokens is beyond the 95th percentile of the gaps."""

    async def freezes(number: int, body: dict[str, Any], answer: Answer) -> None:
        answer.begin()
        for token in range(20):
            answer.tokens("x")
            await asyncio.sleep(0.3 if token == 9 else 0.005)
        answer.end(tokens=20)

    run = run_in_virtual_time(freezes, requests=20, rate=100)
    gaps = run.summary.overall.itl_ms
    assert gaps is not None
    assert gaps.count == 20 * 19
    assert gaps.p99 == pytest.approx(300)
    assert gaps.p50 == pytest.approx(5)
    tpot = run.summary.overall.tpot_ms
    assert tpot is not None
    assert tpot.p50 == pytest.approx((300 + 18 * 5) / 19)


def test_failures_are_misses() -> None:
    """A tenth of the requests fails, so attainment is 90% though all answers are good."""

    async def fails(number: int, body: dict[str, Any], answer: Answer) -> None:
        if number % 10 == 3:
            answer.json({"error": {"message": "no"}}, 500)
        else:
            answer.quick()

    run = run_in_virtual_time(fails, requests=100, rate=500)
    overall = run.summary.overall
    assert overall.failures == {"server_error": 10}
    assert (overall.issued, overall.answered, overall.slo_met) == (100, 90, 90)
    assert overall.attainment == pytest.approx(0.9)
    assert overall.e2e_ms is not None
    assert overall.e2e_ms.count == 90


@pytest.mark.parametrize("stream", [True, False])
def test_known_latencies_come_out(stream: bool) -> None:
    """Answers after 100, 110, … 290 ms give just those percentiles."""

    async def known(number: int, body: dict[str, Any], answer: Answer) -> None:
        await asyncio.sleep(0.1 + number % 20 * 0.01)
        await quick(number, body, answer)

    run = run_in_virtual_time(known, requests=60, rate=60, stream=stream)
    e2e = run.summary.overall.e2e_ms
    truth = spread([100.0 + number % 20 * 10 for number in range(60)])
    assert e2e is not None
    assert truth is not None
    for name in ("mean", "p50", "p90", "p95", "p99"):
        assert getattr(e2e, name) == pytest.approx(getattr(truth, name))


def test_no_latency_is_less_than_what_the_server_took() -> None:
    """By real clocks, that of the server and that of the client."""
    taken: list[float] = []

    async def known(number: int, body: dict[str, Any], answer: Answer) -> None:
        begin = time.perf_counter()
        await asyncio.sleep(number % 5 * 0.01)
        taken.append((time.perf_counter() - begin) * 1000)
        await quick(number, body, answer)

    run = _run(known, requests=40, rate=200)
    measured = [(item.ended - item.intended) * 1000 for item in run.load.exchanges]
    assert len(measured) == len(taken) == 40
    assert all(a >= b for a, b in zip(sorted(measured), sorted(taken), strict=True))


async def _empty_stream(number: int, body: dict[str, Any], answer: Answer) -> None:
    answer.begin()
    answer.end()


async def _no_choices(number: int, body: dict[str, Any], answer: Answer) -> None:
    answer.json({"choices": []})


async def _torn(number: int, body: dict[str, Any], answer: Answer) -> None:
    answer.begin()
    answer.tokens("a")
    answer.writer.write(b"0\r\n\r\n")


async def _leaves(number: int, body: dict[str, Any], answer: Answer) -> None:
    answer.begin()
    answer.tokens("a")
    answer.writer.close()


async def _error_in_stream(number: int, body: dict[str, Any], answer: Answer) -> None:
    answer.begin()
    answer.tokens("a")
    answer.writer.write(encode_event({"error": {"message": "out of memory"}}))
    answer.end()


async def _not_json(number: int, body: dict[str, Any], answer: Answer) -> None:
    answer.begin()
    answer.writer.write(encode_event(b"{nonsense"))
    answer.end()


async def _not_http(number: int, body: dict[str, Any], answer: Answer) -> None:
    answer.writer.write(b"hello\r\n\r\n")


async def _refuses(number: int, body: dict[str, Any], answer: Answer) -> None:
    answer.json({"error": {"message": "full"}}, 429)


async def _silent(number: int, body: dict[str, Any], answer: Answer) -> None:
    await asyncio.sleep(30)


@pytest.mark.parametrize(
    ("handler", "stream", "failure"),
    [
        (_empty_stream, True, Failure.EMPTY),
        (_no_choices, False, Failure.EMPTY),
        (_torn, True, Failure.TRUNCATED),
        (_leaves, True, Failure.DISCONNECTED),
        (_error_in_stream, True, Failure.STREAM_ERROR),
        (_not_json, True, Failure.MALFORMED),
        (_not_json, False, Failure.MALFORMED),
        (_not_http, True, Failure.MALFORMED),
        (_refuses, True, Failure.REJECTED),
        (_silent, True, Failure.TIMEOUT),
    ],
)
def test_what_is_no_good_answer_is_a_failure(
    handler: Handler, stream: bool, failure: Failure
) -> None:
    """Each way not to answer is counted by its kind, and none is in the latencies."""
    run = run_in_virtual_time(handler, requests=4, rate=100, stream=stream, timeout_s=0.3)
    assert run.summary.overall.failures == {failure.value: 4}
    assert run.summary.overall.e2e_ms is None
    assert run.summary.overall.attainment == 0


def test_nobody_there_is_a_failure_of_each_request() -> None:
    """A refused connection is counted; the run goes on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        config = LLMBenchmarkConfig(requests=5, rate=200, warmup_requests=0)
        run = Bench(config, Found(url, Models("chat"))).run()
    assert run.summary.overall.failures == {"connect": 5}


def test_an_embedding_answer_must_hold_a_vector_for_each_text() -> None:
    """Three texts and two vectors are a failure."""

    async def drops_one(number: int, body: dict[str, Any], answer: Answer) -> None:
        answer.json({"data": [{"embedding": [1.0]} for _ in body["input"][1:]]})

    options = {"requests": 5, "rate": 200, "llm_ratio": 0.0, "embedding_batch": "3"}
    good = run_in_virtual_time(quick, True, **options)
    assert (good.summary.overall.name, good.summary.overall.answered) == ("all", 5)
    assert [item.name for item in good.summary.classes] == ["embedding", "all"]
    bad = run_in_virtual_time(drops_one, True, **options)
    assert bad.summary.overall.failures == {"empty": 5}


def test_a_closed_loop_never_has_more_out_than_it_has_users() -> None:
    """Three users share thirty requests, and each is measured from when its user was free."""
    out = {"now": 0, "most": 0}

    async def counts(number: int, body: dict[str, Any], answer: Answer) -> None:
        out["now"] += 1
        out["most"] = max(out["most"], out["now"])
        await asyncio.sleep(0.01)
        out["now"] -= 1
        answer.quick()

    options = {"arrival": ArrivalPattern.CLOSED, "users": 3, "think_s": 0.002}
    run = run_in_virtual_time(counts, requests=30, **options)
    assert out["most"] == 3
    assert run.summary.counts.judged == run.summary.overall.answered == 30
    assert run.verdict.valid


def test_events_split_anywhere_are_read_whole() -> None:
    """Bytes of an event that come one by one make one token; two events in one packet make two."""

    async def dribbles(number: int, body: dict[str, Any], answer: Answer) -> None:
        answer.begin()
        for byte in event("a"):
            answer.writer.write(bytes((byte,)))
            await answer.writer.drain()
        answer.writer.write(event("b") + event("c"))
        answer.end()

    run = _run(dribbles, requests=2, rate=100)
    assert run.summary.overall.failures == {}
    assert run.summary.overall.output_tokens == 3
    assert {item.instance for item in run.load.exchanges} == {"llm-1"}


def test_seconds_cut_at_both_ends_are_issued_but_not_judged() -> None:
    """The sums agree: planned is judged, cut, interrupted and unsent together."""
    run = _run(quick, requests=100, rate=200, cut_start_s=0.1, cut_end_s=0.1)
    counts = run.summary.counts
    assert counts.planned == 100
    assert counts.cut == pytest.approx(40, abs=1)
    assert counts.judged + counts.cut == 100


def test_requests_of_one_run_reuse_their_connections() -> None:
    """Keep-alive connections serve many requests, or the measured latency would be connecting."""
    run = run_in_virtual_time(quick, requests=100, rate=200)
    assert run.load.connections < 20


def test_a_client_that_is_the_bottleneck_says_so() -> None:
    """With 20 ms of the client's own work an answer it holds 50/s, not 200."""

    def works(_: Exchange) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        loop.work(0.02)

    verdict = run_in_virtual_time(quick, on_answer=works, requests=60, rate=200).verdict
    assert not verdict.valid
    assert "the client was the bottleneck" in verdict.reason
    assert verdict.asked_rate == pytest.approx(200)
    assert verdict.held_rate == pytest.approx(50, abs=1)


def test_a_run_broken_off_while_a_connection_is_made_ends() -> None:
    """Ctrl-C may come between the connection and the dial that waits for it."""

    class Interrupted(Load):
        def opened(self, connection: LoadConnection) -> None:
            super().opened(connection)
            self.stop()

    request = PlannedRequest(0, 0.0, TrafficClass.CHAT, 10, 2)
    with TinyServer() as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        target = parse_target(server.url)
        load = Interrupted(target, RequestWriter(target, Models("chat"), built_in_text()))
        result = runner.run(asyncio.wait_for(load.run([request]), timeout=10))
    assert [item.interrupted for item in result.exchanges] == [True]

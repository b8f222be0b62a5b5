"""The figures say what happened."""

from __future__ import annotations

import pytest

from sage.inference.scheduling.instance import InstanceSpec
from sage.inference.scheduling.request import Kind, Request
from sage.inference.scheduling.scheduler import Scheduler
from sage.inference.scheduling.slo import SLO


def core(**options: object) -> Scheduler:
    scheduler = Scheduler("slo_aware", slo_classes={"chat": SLO(1.0, 0.1, 5.0)}, **options)  # type: ignore[arg-type]
    scheduler.instance_up(InstanceSpec("a", Kind.LLM, ("m",), 1), 0.0)
    return scheduler


def chat(number: int, now: float = 0.0) -> Request:
    return Request(number, Kind.LLM, "m", now, 10, cls="chat")


def test_times_and_attainment_by_class_and_instance() -> None:
    """Queue time, TTFT, TPOT and E2E are those of the events; each SLO part can miss alone."""
    scheduler = core()
    now = 0.0
    for number, (first, step, tokens) in enumerate(
        [(0.5, 0.05, 11), (2.0, 0.05, 11), (0.5, 0.2, 11), (0.5, 0.09, 101)]
    ):
        scheduler.submit(chat(number, now), now)
        scheduler.first_token(number, now + first)
        scheduler.usage(number, 12, tokens, now)
        scheduler.finished(number, now + first + step * (tokens - 1))
        now += 10.0
    scheduler.submit(chat(8, now), now)
    scheduler.submit(chat(9, now), now)
    scheduler.failed(8, now + 0.3)
    figures = scheduler.stats(now + 0.4)
    mine = figures["classes"]["chat"]
    assert mine["slo"] == {
        "met": 1,
        "missed": 3,
        "failed": 1,
        "rejected": 0,
        "attainment": pytest.approx(0.2),
    }
    assert mine["ttft_s"]["p50"] == pytest.approx(0.5, rel=0.02)
    assert mine["ttft_s"]["p99"] == pytest.approx(2.0, rel=0.02)
    assert mine["tpot_s"]["p99"] == pytest.approx(0.2, rel=0.02)
    assert mine["e2e_s"]["p99"] == pytest.approx(9.5, rel=0.02)
    assert mine["queue_time_s"]["p50"] == 0.0
    assert (mine["in_flight"], mine["queued"]) == (1, 0)
    instance = figures["instances"]["a"]
    assert instance["done"] == 4
    assert instance["ttft_s"] == mine["ttft_s"]
    assert figures["requests"]["submitted"] == 6
    assert figures["models"] == [{"model": "m", "kind": "llm", "queued": 0, "instances": ["a"]}]


def test_whole_answers_are_judged_by_their_end() -> None:
    """Without a stream, the whole answer must come within the TTFT target."""
    scheduler = core()
    for number, seconds in enumerate((0.9, 1.1)):
        now = 10.0 * number
        scheduler.submit(chat(number, now), now)
        scheduler.finished(number, now + seconds)
    slo = scheduler.stats(12.0)["classes"]["chat"]["slo"]
    assert (slo["met"], slo["missed"]) == (1, 1)
    assert scheduler.stats(12.0)["classes"]["chat"]["ttft_s"]["p50"] is None


def test_usage_corrects_later_estimates() -> None:
    """What engines count decides what the next request is charged."""
    scheduler = core()
    for number in range(50):
        scheduler.submit(Request(number, Kind.LLM, "m", 0.0, 1000), 0.0)
        scheduler.usage(number, 250, 40, 0.0)
        scheduler.finished(number, 0.0)
    scheduler.submit(Request(50, Kind.LLM, "m", 0.0, 1000), 0.0)
    assert scheduler.instance("a").tokens == 250 + 40


def test_classes_are_bounded() -> None:
    """Clients cannot grow the figures without end by naming classes."""
    scheduler = core()
    for number in range(1000):
        scheduler.submit(Request(number, Kind.LLM, "m", 0.0, cls=f"c{number}"), 0.0)
        scheduler.finished(number, 0.0)
    classes = scheduler.stats(0.0)["classes"]
    assert len(classes) == 257
    assert classes["other"]["done"] == 1000 - 256

"""What a run amounts to, from exchanges written down by hand."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.benchmark.classes import TrafficClass
from sage.benchmark.config import HybridBenchmarkConfig, LLMBenchmarkConfig
from sage.benchmark.exchange import Exchange, Failure
from sage.benchmark.fairness import jain
from sage.benchmark.load import LoadResult
from sage.benchmark.summary import NO_INSTANCE, Summary, summarise
from sage.benchmark.wire import Models
from sage.inference.scheduling.slo import SLO
from tests.benchmark.exchanges import exchange


def _load(exchanges: list[Exchange]) -> LoadResult:
    return LoadResult(exchanges, 0, 0.0, 0.1, 10.0, [])


def _mixed() -> list[Exchange]:
    """Two models on two instances for two tenants; every tenth request is refused."""
    found = []
    for index in range(200):
        traffic = TrafficClass.CHAT if index % 4 else TrafficClass.EMBEDDING
        one = exchange(
            index,
            index / 10,
            e2e=0.1 + index % 7 / 100,
            instance="a" if index % 3 else "b",
            tenant=f"tenant-{1 + index % 2}",
            traffic=traffic,
        )
        one.request.cls = traffic.value
        one.queue_ms = float(index % 5)
        if index % 10 == 9:
            one.instance = ""
            one.fail(Failure.REJECTED, "status 429", one.ended)
        found.append(one)
    return found


def test_the_parts_of_a_run_add_up_by_whatever_they_are_told_apart() -> None:
    """Requests that no instance answered are in none's row, not left out."""
    found = summarise(_load(_mixed()), HybridBenchmarkConfig(), Models("chat-model", "embedder"))
    overall = found.overall
    assert [one.name for one in found.models] == ["chat-model", "embedder"]
    assert [one.name for one in found.instances] == ["a", "b", NO_INSTANCE]
    assert [one.name for one in found.tenants] == ["tenant-1", "tenant-2"]
    assert found.instances[-1].failures == {"rejected": 20}
    for parts in (found.classes[:-1], found.models, found.instances, found.tenants):
        assert sum(one.issued for one in parts) == overall.issued == 200
        assert sum(one.answered for one in parts) == overall.answered == 180
        assert sum(one.goodput for one in parts) == pytest.approx(overall.goodput)
    assert overall.queue_ms is not None
    assert (overall.queue_ms.count, overall.queue_ms.max) == (180, 4.0)


def test_what_nobody_said_has_no_rows() -> None:
    """An engine asked by itself names no instance, and one tenant is nobody's rival."""
    exchanges = [exchange(index, index / 10, e2e=0.1) for index in range(20)]
    found = summarise(_load(exchanges), LLMBenchmarkConfig())
    assert (found.models, found.instances, found.tenants, found.fairness) == ([], [], [], None)
    assert found.overall.queue_ms is None


def test_tenants_that_are_refused_alike_are_treated_fairly() -> None:
    """All of the second tenant's refused: two tenants, one served, so Jain's index is a half."""
    exchanges = _mixed()
    fair = summarise(_load(exchanges), HybridBenchmarkConfig()).fairness
    for one in exchanges:
        if one.request.tenant == "tenant-2" and one.failure is None:
            one.fail(Failure.REJECTED, "status 429", one.ended)
    unfair = summarise(_load(exchanges), HybridBenchmarkConfig()).fairness
    assert fair is not None
    assert unfair is not None
    assert fair.tenants == 2
    assert fair.attainment > 0.98
    assert (unfair.goodput, unfair.attainment) == pytest.approx((0.5, 0.5))


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=9))
def test_jains_index_is_what_its_formula_says(values: list[int]) -> None:
    """Between 1/n and 1, and the same for twice as much."""
    found = jain(values)
    if any(values):
        exact = Fraction(sum(values) ** 2, len(values) * sum(v * v for v in values))
        assert found == pytest.approx(float(exact))
    assert 1 / len(values) <= found + 1e-12 <= 1 + 1e-9
    assert jain([2 * v for v in values]) == pytest.approx(found)
    assert jain([1e-300, 1e-300]) == 1.0


def test_intervals_are_around_their_figures() -> None:
    """Of 2,000 requests, 70% within their SLO."""
    rng = random.Random(3)
    exchanges = [
        exchange(index, index / 10, e2e=rng.expovariate(1.0), ttft=0.0) for index in range(2000)
    ]
    for one in exchanges:
        one.request.slo = SLO(deadline_s=1.204)
    overall = summarise(_load(exchanges), LLMBenchmarkConfig()).overall
    assert {"attainment", "goodput", "ttft_ms.p99", "tpot_ms.p50", "e2e_ms.p90"} <= set(
        overall.intervals
    )
    e2e = overall.e2e_ms
    assert e2e is not None
    figures = {"attainment": overall.attainment, "goodput": overall.goodput, "e2e_ms.p50": e2e.p50}
    for name, figure in figures.items():
        found = overall.intervals[name]
        assert found.high is not None
        assert found.low < figure < found.high
        assert found.high - found.low < 0.25 * figure
    assert overall.intervals["attainment"].low < 0.7 < (overall.intervals["attainment"].high or 0)


def test_details_change_no_figure() -> None:
    """Without them a sweep is faster; what it has is the same."""
    load, config = _load(_mixed()), HybridBenchmarkConfig()
    whole, short = summarise(load, config), summarise(load, config, details=False)
    assert [replace(one, intervals={}) for one in whole.classes] == short.classes
    assert whole.counts == short.counts


def test_a_summary_survives_json() -> None:
    """One of an older file, without what came later, too."""
    found = summarise(_load(_mixed()), HybridBenchmarkConfig(), Models("m", "e"))
    data = msgspec.to_builtins(found)
    assert msgspec.convert(data, Summary) == found
    for name in ("models", "instances", "tenants", "fairness"):
        del data[name]
    for one in data["classes"]:
        del one["queue_ms"], one["intervals"]
    old = msgspec.convert(data, Summary)
    assert old.overall == replace(found.overall, queue_ms=None, intervals={})

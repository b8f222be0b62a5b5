"""Each policy does what its description says."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from sage.inference.scheduling.decision import Dispatch
from sage.inference.scheduling.instance import InstanceSpec
from sage.inference.scheduling.policy_types import SchedulingPolicyType
from sage.inference.scheduling.request import Kind, Request
from sage.inference.scheduling.scheduler import Scheduler
from sage.inference.scheduling.slo import SLO
from sage.inference.scheduling.strategies import StrategyAdapter

FAST, SLOW = 0.1, 1.0


def spec(name: str, slots: int = 1, cost: float = 1.0, kind: Kind = Kind.LLM) -> InstanceSpec:
    return InstanceSpec(name, kind, ("m",), slots, cost=cost)


def request(number: int, now: float = 0.0, tokens: int = 100, **more: object) -> Request:
    return Request(number, Kind.LLM, "m", now, tokens, 1, **more)  # type: ignore[arg-type]


def core(policy: str, *specs: InstanceSpec, **options: object) -> Scheduler:
    scheduler = Scheduler(policy, **options)  # type: ignore[arg-type]
    for item in specs:
        scheduler.instance_up(item, 0.0)
    return scheduler


def where(scheduler: Scheduler, item: Request, now: float = 0.0) -> str:
    (decision,) = scheduler.submit(item, now)
    assert isinstance(decision, Dispatch)
    return decision.instance_id


def order(scheduler: Scheduler, running: int, now: float) -> list[int]:
    """Finish one after another; return who followed."""
    served = []
    while decisions := scheduler.finished(running, now):
        (decision,) = decisions
        running = decision.request_id
        served.append(running)
    return served


def teach(scheduler: Scheduler, seconds: dict[str, float], n: int = 40) -> float:
    """Let each instance show how long a prompt of 100 tokens takes it; return the time after."""
    now = 0.0
    for number in range(-n, 0):
        name = where(scheduler, request(number, now), now)
        scheduler.first_token(number, now + seconds[name])
        scheduler.tokens(number, 2, now + seconds[name])
        scheduler.finished(number, now + 1.1 * seconds[name])
        now += 0.2
    return now


def test_every_policy_is_listed_with_a_sentence() -> None:
    """SAGE's own come first; each has one line, and can be made by its name."""
    listed = StrategyAdapter.list()
    names = [strategy.name for strategy in listed]
    assert names[:7] == sorted(item.value for item in SchedulingPolicyType)
    assert len(names) == len(set(names)) == 16
    for strategy in listed:
        assert StrategyAdapter.create(strategy.name).name == strategy.name
        assert 10 < len(strategy.description) < 100
        assert "\n" not in strategy.description


def test_priority_goes_first_and_ties_go_by_arrival() -> None:
    """The higher number first; NORMAL is 0."""
    scheduler = core("priority", spec("a"))
    scheduler.submit(request(0), 0.0)
    for number, priority in ((1, -10), (2, 0), (3, 10), (4, 0), (5, 7)):
        scheduler.submit(request(number, priority=priority), 0.0)
    assert order(scheduler, 0, 1.0) == [3, 5, 2, 4, 1]


def test_slack_decides_and_the_hopeless_go_last() -> None:
    """The tightest target that can still be met first, then those without, then the lost."""
    scheduler = core("slo_aware", spec("a"))
    scheduler.submit(request(0), 0.0)
    targets = {1: 9.0, 2: None, 3: 5.0, 4: 0.5, 5: 7.0}
    for number, ttft in targets.items():
        slo = None if ttft is None else SLO(ttft_s=ttft)
        scheduler.submit(request(number, slo=slo), 0.0)
    assert order(scheduler, 0, 1.0) == [3, 5, 1, 2, 4]


def test_slack_counts_the_prompts_own_time() -> None:
    """Of equal targets, the longer prompt must start earlier, once speeds are learned."""
    scheduler = core("slo_aware", spec("a"))
    now = 0.0
    for number in range(-60, 0):
        tokens = 100 if number % 2 else 1000
        scheduler.submit(request(number, now, tokens), now)
        scheduler.first_token(number, now + tokens / 1000)
        scheduler.finished(number, now + tokens / 1000)
        now += 2.0
    scheduler.submit(request(0, now), now)
    scheduler.submit(request(1, now, 100, slo=SLO(ttft_s=5.0)), now)
    scheduler.submit(request(2, now, 2000, slo=SLO(ttft_s=5.0)), now)
    assert order(scheduler, 0, now + 0.1) == [2, 1]


@pytest.mark.parametrize("policy", ["slo_aware", "hybrid_slo"])
def test_slack_gives_up_only_what_usually_fails(policy: str) -> None:
    """One that the slowest of 20 would make late, but not the others, goes before what can wait.

    Where an engine's times vary, the P95 alone may exceed a target that most requests meet.
    """
    scheduler = core(policy, spec("a"))
    now = 0.0
    for number in range(-160, 0):
        scheduler.submit(request(number, now), now)
        seconds = 3.0 if number % 10 == 0 else 1.0
        scheduler.first_token(number, now + seconds)
        scheduler.finished(number, now + seconds)
        now += 4.0
    assert scheduler.instance("a").latency.margin > 1.5
    scheduler.submit(request(0, now), now)
    targets = {1: None, 2: SLO(deadline_s=60.0), 3: SLO(ttft_s=1.7), 4: SLO(ttft_s=0.8)}
    for number, slo in targets.items():
        scheduler.submit(request(number, now, slo=slo), now)
    assert order(scheduler, 0, now + 0.1) == [3, 2, 1, 4]


def test_slo_comes_from_the_request_its_class_or_its_tenant() -> None:
    """In that order."""
    from sage.inference.scheduling.tenants import Tenant

    scheduler = core(
        "slo_aware",
        spec("a"),
        slo_classes={"chat": SLO(ttft_s=3.0)},
        tenants={"t": Tenant(slo=SLO(ttft_s=2.0))},
    )
    scheduler.submit(request(0, tenant="t"), 0.0)
    scheduler.submit(request(1, tenant="t"), 0.0)
    scheduler.submit(request(2, tenant="t", cls="chat"), 0.0)
    scheduler.submit(request(3, tenant="t", cls="chat", slo=SLO(ttft_s=1.0)), 0.0)
    assert order(scheduler, 0, 0.1) == [3, 1, 2]


def test_slo_aware_prefers_the_fast_instance_until_it_is_busy() -> None:
    """Placement weighs learned seconds by batch: the slow one gets the overflow."""
    scheduler = core("slo_aware", spec("fast", 20), spec("slow", 20))
    now = teach(scheduler, {"fast": FAST, "slow": SLOW}, 200)
    places = [where(scheduler, request(n, now), now) for n in range(10)]
    assert places[:2] == ["fast", "fast"]
    assert "slow" in places
    assert places.count("fast") > 6


def test_cost_optimized_takes_the_cheapest_that_meets_the_slo() -> None:
    """A tight target goes to the dear fast one, a loose one or none to the cheap slow one."""
    scheduler = core("fifo", spec("dear", 20, 10.0), spec("cheap", 20, 1.0))
    now = teach(scheduler, {"dear": FAST, "cheap": SLOW}, 80)
    scheduler.set_policy("cost_optimized", now)
    assert where(scheduler, request(1, now, slo=SLO(ttft_s=0.5)), now) == "dear"
    assert where(scheduler, request(2, now, slo=SLO(ttft_s=30.0)), now) == "cheap"
    assert where(scheduler, request(3, now), now) == "cheap"


def test_tpot_target_keeps_off_instances_with_slow_steps() -> None:
    """An instance whose learned decode step is above the target comes last."""
    scheduler = core("fifo", spec("fast", 20), spec("slow", 20))
    now = 0.0
    for number in range(-80, 0):
        name = where(scheduler, request(number, now), now)
        step = {"fast": 0.01, "slow": 0.2}[name]
        scheduler.first_token(number, now + 0.1)
        scheduler.usage(number, 100, 51, now)
        scheduler.finished(number, now + 0.1 + 50 * step)
        now += 0.2
    scheduler.set_policy("slo_aware", now)
    assert {where(scheduler, request(n, now, slo=SLO(tpot_s=0.05)), now) for n in range(3)} == {
        "fast"
    }


def test_hybrid_keeps_slots_from_bulk() -> None:
    """Bulk leaves a quarter of the slots; what someone waits for passes it in the queue."""
    for policy in ("hybrid", "hybrid_slo"):
        scheduler = core(policy, spec("a", 4))
        for number in range(3):
            assert scheduler.submit(request(number, cls="bulk"), 0.0)
        assert scheduler.submit(request(3, cls="bulk"), 0.0) == []
        assert scheduler.submit(request(4), 0.0) == [Dispatch(4, "a")]
        assert scheduler.submit(request(5), 0.0) == []
        assert scheduler.finished(0, 1.0) == [Dispatch(5, "a")]
        assert scheduler.finished(1, 1.0) == []
        assert scheduler.finished(4, 1.0) == [Dispatch(3, "a")]


def test_hybrid_serves_both_kinds() -> None:
    """A large embedding call is bulk, a small one is not; each kind has its instances."""
    scheduler = core("hybrid", spec("a", 1), spec("e", 1, kind=Kind.EMBEDDING))
    for number, tokens in ((1, 50), (2, 50_000), (3, 60)):
        scheduler.submit(Request(number, Kind.EMBEDDING, "m", 0.0, tokens), 0.0)
    assert scheduler.submit(request(4), 0.0) == [Dispatch(4, "a")]
    assert order(scheduler, 1, 1.0) == [3, 2]


def test_adaptive_changes_sides_with_hysteresis() -> None:
    """Fifo until load rises; slack until it has been calm for 10 s; back then."""
    scheduler = core("adaptive", spec("a", 2))
    scheduler.submit(request(0), 0.0)
    scheduler.submit(request(-1), 0.0)
    scheduler.submit(request(1, slo=SLO(ttft_s=90.0)), 0.0)
    scheduler.submit(request(2, slo=SLO(ttft_s=40.0)), 0.0)
    side = scheduler.policy.ordering
    assert not side.by_slack  # type: ignore[attr-defined]
    scheduler.tick(1.0)
    assert side.by_slack  # type: ignore[attr-defined]
    assert order(scheduler, 0, 2.0) == [2, 1]
    for now in (3.0, 8.0, 12.0):
        scheduler.tick(now)
        assert side.by_slack  # type: ignore[attr-defined]
    scheduler.tick(13.1)
    assert not side.by_slack  # type: ignore[attr-defined]


def test_adaptive_reacts_to_missed_slos() -> None:
    """Without any queue, attainment below 95% is reason enough."""
    scheduler = core("adaptive", spec("a", 2))
    for number in range(5):
        scheduler.submit(request(number, slo=SLO(ttft_s=0.1)), 0.0)
        scheduler.first_token(number, 1.0)
        scheduler.finished(number, 1.0)
    scheduler.tick(1.0)
    assert scheduler.policy.ordering.by_slack  # type: ignore[attr-defined]


@pytest.mark.parametrize("policy", ["slo_aware", "lmetric", "prefix_cache_aware", "hybrid_slo"])
def test_prefixes_are_followed(policy: str) -> None:
    """Requests of one conversation return to the instance that has its beginning."""
    scheduler = core(policy, spec("a", 50), spec("b", 50))
    prefixes = {n: tuple(range(1000 * n, 1000 * n + 16)) for n in range(6)}
    homes = {}
    for n, prefix in prefixes.items():
        homes[n] = where(scheduler, request(n, 0.0, 1600, prefix=prefix))
        scheduler.first_token(n, 0.1)
        scheduler.finished(n, 0.1)
    assert set(homes.values()) == {"a", "b"}
    for n, prefix in prefixes.items():
        item = request(100 + n, 1.0, 1700, prefix=(*prefix, -n - 1))
        assert where(scheduler, item, 1.0) == homes[n]
        scheduler.first_token(100 + n, 1.1)
        scheduler.finished(100 + n, 1.1)


@pytest.mark.parametrize("policy", ["slo_aware", "lmetric"])
def test_shared_prefix_makes_no_hot_spot(policy: str) -> None:
    """When everyone has one beginning, load still spreads over all instances."""
    scheduler = core(policy, *(spec(name, 100) for name in "abcd"))
    prefix = tuple(range(10))
    places = Counter(
        where(scheduler, request(n, 0.0, 1000, prefix=(*prefix, 100 + n))) for n in range(12)
    )
    assert len(places) == 4


def test_restarted_instance_has_nothing_cached() -> None:
    """After an instance was down, its prefixes are forgotten."""
    scheduler = core("lmetric", spec("a", 9), spec("b", 9))
    home = where(scheduler, request(1, 0.0, 1000, prefix=(1, 2, 3)))
    scheduler.finished(1, 0.1)
    assert len(scheduler.instance(home).prefixes) == 3
    scheduler.instance_down(home, 0.2, "killed")
    scheduler.instance_up(spec(home, 9), 0.3)
    assert len(scheduler.instance(home).prefixes) == 0


def test_round_robin_takes_turns_whatever_runs() -> None:
    """Each instance in turn, though one is busier."""
    scheduler = core("round_robin", *(spec(name, 50) for name in "abc"))
    places = [where(scheduler, request(n)) for n in range(9)]
    assert places == list("abcabcabc")


def test_random_is_decided_by_the_seed() -> None:
    """One seed gives one sequence, another another; all instances get their share."""

    def places(seed: int) -> str:
        scheduler = core("random", *(spec(name, 500) for name in "abc"), seed=seed)
        return "".join(where(scheduler, request(n)) for n in range(300))

    assert places(1) == places(1) != places(2)
    assert all(70 < count < 130 for count in Counter(places(3)).values())


def test_power_of_two_is_balanced_and_never_takes_the_worst() -> None:
    """It keeps the gap small, and of two instances always takes the less busy one."""
    scheduler = core("power_of_two", *(spec(name, 500) for name in "abcd"), seed=1)
    for n in range(200):
        where(scheduler, request(n))
    loads = [len(state.running) for state in scheduler.instances()]
    assert max(loads) - min(loads) < 8
    pair = core("power_of_two", spec("a", 50), spec("b", 50))
    places = [where(pair, request(n)) for n in range(20)]
    assert all({x, y} == {"a", "b"} for x, y in list(pairwise(places))[::2])


def test_cache_aware_gives_up_affinity_when_out_of_balance() -> None:
    """The instance with the prefix is taken until it runs 65 more and 1.5 times the least."""
    scheduler = core("prefix_cache_aware", spec("a", 500), spec("b", 500))
    places = [where(scheduler, request(n, prefix=(1, 2, 3, 4))) for n in range(67)]
    assert len(set(places[:65])) == 1
    assert places[65] != places[0]
    assert places[66] == places[0]


def test_least_busy_takes_the_first_of_equals() -> None:
    """LiteLLM's does not rotate."""
    scheduler = core("least_busy", spec("a", 5), spec("b", 5))
    places = []
    for number in range(3):
        places.append(where(scheduler, request(number)))
        scheduler.finished(number, 1.0)
    assert places == ["a", "a", "a"]


def test_latency_based_takes_the_quickest_so_far() -> None:
    """Each is tried once; then the lowest mean of its last ten."""
    scheduler = core("latency_based", spec("fast", 50), spec("slow", 50))
    now = teach(scheduler, {"fast": FAST, "slow": SLOW}, 10)
    places = [where(scheduler, request(n, now), now) for n in range(10)]
    assert set(places) == {"fast"}


def test_latency_based_compares_streams_by_their_first_token() -> None:
    """An instance quick to start but slow a token gets the streams, the other one the rest."""
    scheduler = core("latency_based", spec("prompt", 50), spec("steady", 50))
    times = {"prompt": (0.1, 9.0), "steady": (1.0, 3.0)}
    now = 0.0
    for number in range(100, 140):
        place = where(scheduler, request(number, now), now)
        first, whole = times[place]
        scheduler.first_token(number, now + first)
        scheduler.usage(number, 100, 10, now + whole)
        scheduler.finished(number, now + whole)
        now += 10.0
    assert where(scheduler, request(1, now, streamed=True), now) == "prompt"
    assert where(scheduler, request(2, now), now) == "steady"


def test_edf_ttl_goes_by_priority_then_expiry() -> None:
    """Priority is strict; within one, the earliest to expire, 60 s when it has no target."""
    scheduler = core("edf_ttl", spec("a"))
    scheduler.submit(request(0), 0.0)
    scheduler.submit(request(1), 0.0)
    scheduler.submit(request(2, slo=SLO(ttft_s=9.0)), 0.0)
    scheduler.submit(request(3, slo=SLO(deadline_s=5.0)), 0.0)
    scheduler.submit(request(4, priority=-10, slo=SLO(deadline_s=4.0)), 0.0)
    assert order(scheduler, 0, 1.0) == [3, 2, 1, 4]

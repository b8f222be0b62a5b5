"""Sessions: turns that repeat what was said before, due when their users have thought."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sage.benchmark.agenda import NEVER, Agenda
from sage.benchmark.arrivals import ArrivalPattern
from sage.benchmark.classes import TrafficClass
from sage.benchmark.config import HybridBenchmarkConfig, LLMBenchmarkConfig
from sage.benchmark.exchange import Exchange
from sage.benchmark.load import Load
from sage.benchmark.planned_request import PlannedRequest
from sage.benchmark.prompts import built_in_text
from sage.benchmark.run import Bench
from sage.benchmark.simulate.bench import simulate
from sage.benchmark.simulate.config import SimulationConfig
from sage.benchmark.sweep.axis import AXES
from sage.benchmark.target import Found
from sage.benchmark.wire import Models, RequestWriter
from sage.benchmark.workload import plan_requests
from sage.errors import ConfigError
from sage.inference.gateway.target import parse_target

from .server import Answer, TinyServer, quick

_TEXT = built_in_text()
_CHATS = LLMBenchmarkConfig(
    requests=60,
    rate=50,
    turns="uniform:1:5",
    think="uniform:0.01:0.03",
    system_tokens="700",
    prompt_tokens="uniform:100:400",
    output_tokens="uniform:10:90",
    tenants=2,
    priorities=(0, 1, 2),
    warmup_requests=0,
)


def _sessions(requests: list[PlannedRequest]) -> list[list[PlannedRequest]]:
    found: list[list[PlannedRequest]] = []
    for request in requests:
        if request.follows is None:
            found.append([])
        else:
            assert request.follows == request.index - 1
        found[-1].append(request)
    return found


def _content(request: PlannedRequest) -> list[dict[str, str]]:
    target = parse_target("http://127.0.0.1:8000")
    data = RequestWriter(target, Models("c"), _TEXT).write(request)
    messages: list[dict[str, str]] = json.loads(data.split(b"\r\n\r\n", 1)[1])["messages"]
    return messages


def test_a_turn_repeats_all_that_its_session_said() -> None:
    """System prompt, questions and answers come again, word for word, then the new question."""
    sessions = _sessions(plan_requests(_CHATS))
    assert {len(session) for session in sessions} == {1, 2, 3, 4, 5}
    for session in sessions:
        said: list[dict[str, str]] = []
        for request in session:
            messages = _content(request)
            assert messages[: len(said)] == said
            roles = [message["role"] for message in messages[len(said) :]]
            assert roles == (["assistant", "user"] if said else ["system", "user"])
            words = sum(len(message["content"].split()) for message in messages)
            assert words == request.prompt_tokens
            said = messages
        assert len({(one.tenant, one.priority) for one in session}) == 1


def test_a_tenants_sessions_share_its_system_prompt_and_nothing_else() -> None:
    """One prompt a tenant; no two questions are the same."""
    firsts = [session[0] for session in _sessions(plan_requests(_CHATS))]
    prompts = {(one.tenant, _content(one)[0]["content"]) for one in firsts}
    assert len(prompts) == 2
    questions = [_content(one)[1]["content"] for one in firsts]
    assert len(set(questions)) == len(questions)


@given(
    turns=st.integers(1, 6),
    system=st.one_of(st.none(), st.integers(1, 2000)),
    prompt=st.integers(1, 900),
    seed=st.integers(0, 99),
)
def test_equal_block_ids_are_equal_beginnings(
    turns: int, system: int | None, prompt: int, seed: int
) -> None:
    """Two prompts have a block's id in common just when they agree up to that block's end."""
    assume(turns > 1 or system is not None)  # else there are no sessions
    config = replace(
        _CHATS,
        requests=3 * turns,
        turns=str(turns),
        think="0",
        system_tokens=None if system is None else str(system),
        prompt_tokens=str(prompt),
        seed=seed,
    )
    sessions = _sessions(plan_requests(config))
    for session in sessions:
        for one in session:
            assert len(one.blocks) == one.prompt_tokens // 512
        for before, after in pairwise(session):
            assert after.blocks[: len(before.blocks)] == before.blocks
    shared = (system or 0) // 512
    last = [session[-1] for session in sessions]
    for number, one in enumerate(last):
        for other in last[:number]:
            common = shared if one.tenant == other.tenant else 0
            assert one.blocks[:common] == other.blocks[:common]
            assert not set(one.blocks[common:]) & set(other.blocks)


def test_sessions_change_nothing_of_what_is_drawn_for_single_chats() -> None:
    """The first turns are the chats that there would be without the others."""
    plain = plan_requests(replace(_CHATS, turns="1", think="0", system_tokens=None, requests=20))
    firsts = [session[0] for session in _sessions(plan_requests(replace(_CHATS, requests=200)))]
    assert [one.at for one in firsts[:20]] == [one.at for one in plain]
    embedding = HybridBenchmarkConfig(turns="3", requests=90, llm_ratio=0.5)
    for request in plan_requests(embedding):
        if request.traffic is TrafficClass.EMBEDDING:
            assert not request.messages
            assert request.follows is None


def test_a_sweep_issues_sessions_for_as_long_as_it_says() -> None:
    """Sixty seconds of sessions are as many requests as these have turns."""
    chats = replace(_CHATS, turns="uniform:2:6")
    made = AXES["rate"].at(chats, 20, seconds=60)
    assert made.requests == 20 * 60 * 4
    assert plan_requests(made)[-1].at == pytest.approx(60, rel=0.15)
    mixed = HybridBenchmarkConfig(turns="3", llm_ratio=0.25)
    assert AXES["rate"].at(mixed, 10, seconds=4).requests == 10 * 4 * 1.5


_delays = st.floats(0, 5)


@given(
    starts=st.lists(_delays, min_size=1, max_size=5),
    turns=st.lists(st.lists(st.tuples(_delays, _delays), max_size=3), min_size=5, max_size=5),
)
def test_an_agenda_yields_each_request_once_and_in_time(
    starts: list[float], turns: list[list[tuple[float, float]]]
) -> None:
    """Turns come at the end of the one before and their think time; none is lost or early."""
    requests: list[PlannedRequest] = []
    takes: dict[int, float] = {}
    for start, further in zip(sorted(starts), turns, strict=False):
        requests.append(PlannedRequest(len(requests), start, TrafficClass.CHAT, 1, 1))
        for think, seconds in further:
            takes[len(requests) - 1] = seconds
            turn = PlannedRequest(len(requests), start, TrafficClass.CHAT, 1, 1, think_s=think)
            turn.follows = turn.index - 1
            requests.append(turn)
    agenda = Agenda(requests)
    due: dict[int, float] = {}
    ends: list[tuple[float, PlannedRequest]] = []
    while agenda.left or ends:
        ends.sort(key=lambda item: item[0])
        if ends and ends[0][0] <= agenda.next_at:
            at, request = ends.pop(0)
            agenda.ended(request, at)
            continue
        at = agenda.next_at
        request = agenda.take()
        due[request.index] = at
        ends.append((at + takes.get(request.index, 0.0), request))
    assert sorted(due) == [request.index for request in requests]
    assert list(due.values()) == sorted(due.values())
    for request in requests:
        if request.follows is None:
            assert due[request.index] == request.at
        else:
            before = request.follows
            assert due[request.index] == due[before] + takes[before] + request.think_s
    assert agenda.next_at == NEVER


def _check_times(exchanges: list[Exchange], began: float) -> None:
    ended = {one.request.index: one.ended for one in exchanges}
    for one in exchanges:
        request = one.request
        if request.follows is None:
            due = began + request.at
        else:
            due = ended[request.follows] + request.think_s
        assert one.intended == pytest.approx(due, abs=1e-6)
        assert one.sent >= one.intended


async def _fails_often(number: int, body: dict[str, Any], answer: Answer) -> None:
    await asyncio.sleep(0.004)
    if number % 3:
        await quick(number, body, answer)
    else:
        answer.json({"error": {"message": "no"}}, 500)


@pytest.mark.parametrize("slots", [None, 2])
def test_a_live_turn_is_due_when_its_user_has_thought(slots: int | None) -> None:
    """Failures too are followed by the next turn, and a slot's wait is not left out."""
    with TinyServer(_fails_often) as server:
        config = replace(_CHATS, max_in_flight=slots)
        run = Bench(config, Found(server.url, Models("chat"))).run()
        sent = [body["messages"][-1]["content"] for body in server.bodies]
    assert len(set(sent)) == 60
    assert run.summary.counts.judged == 60
    assert run.summary.overall.failures == {"server_error": 20}
    _check_times(run.load.exchanges, run.load.began)


def test_turns_that_were_not_reached_are_counted() -> None:
    """Broken off at the fifth answer, the run's sums still agree."""
    requests = plan_requests(replace(_CHATS, turns="20", requests=60))

    async def broken_off(url: str) -> tuple[int, int]:
        target = parse_target(url)
        seen: Counter[str] = Counter()

        def count(_: Exchange) -> None:
            seen["answers"] += 1
            if seen["answers"] == 5:
                load.stop()

        writer = RequestWriter(target, Models("chat"), _TEXT)
        load = Load(target, writer, on_answer=count)
        result = await load.run(requests)
        return len(result.exchanges), result.unsent

    with TinyServer() as server:
        issued, unsent = asyncio.run(broken_off(server.url))
    assert issued < 10
    assert issued + unsent == 60


@pytest.mark.parametrize("slots", [None, 2])
def test_a_simulated_turn_is_due_when_its_user_has_thought(slots: int | None) -> None:
    """As in a live run; and the same seed gives the same to the bit."""
    config = replace(_CHATS, max_in_flight=slots, requests=200)
    simulation = SimulationConfig(engines=2)
    result = simulate(plan_requests(config), config, simulation)
    assert len(result.exchanges) == 200
    assert not result.unsent
    assert not any(one.failure for one in result.exchanges)
    _check_times(result.exchanges, 0.0)
    again = simulate(plan_requests(config), config, simulation)
    assert [(e.sent, e.ended) for e in again.exchanges] == [
        (e.sent, e.ended) for e in result.exchanges
    ]


def test_a_simulated_engine_has_earlier_turns_cached() -> None:
    """A tenth turn of 500 tokens each is answered sooner than a first one of as many at once."""
    chat = replace(_CHATS, tenants=1, priorities=(0,), system_tokens=None, rate=0.05)
    chat = replace(chat, turns="10", think="1", prompt_tokens="990", output_tokens="10")
    one = SimulationConfig(engines=1, policy="fifo")

    def last_ttft(config: LLMBenchmarkConfig) -> float:
        result = simulate(plan_requests(config), config, one)
        return result.exchanges[-1].token_times[0] - result.exchanges[-1].intended

    in_turns = last_ttft(replace(chat, requests=10))
    at_once = last_ttft(replace(chat, turns="1", think="0", prompt_tokens="9990", requests=1))
    assert in_turns < at_once / 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"turns": "0"}, "turns: '0' would give lengths below 1"),
        ({"turns": "2", "think": "-1"}, "think: '-1' is no distribution of times"),
        ({"turns": "2", "think": "lognormal:0:1"}, "think: .* is no distribution of times"),
        ({"think": "3"}, "think is the time between a session's turns; set turns too"),
        ({"turns": "2", "arrival": ArrivalPattern.CLOSED}, "turns has no meaning in a closed loop"),
        ({"turns": "2", "trace": "t.csv"}, "a trace says what is asked"),
        ({"system_tokens": "9", "trace": "t.csv"}, "a trace says what is asked"),
        ({"system_tokens": "few"}, "system_tokens: 'few' is not one of"),
        ({"trace_start_s": 5.0}, "trace_start_s is for a trace"),
    ],
)
def test_what_no_session_can_be_is_refused(options: dict[str, Any], says: str) -> None:
    """Numbers out of range, a closed loop and a trace."""
    with pytest.raises(ConfigError, match=says):
        LLMBenchmarkConfig(**options).validate()

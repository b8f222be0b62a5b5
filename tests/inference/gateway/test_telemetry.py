"""What engines tell of themselves."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httpx2
import pytest

from sage.errors import ConfigError
from sage.inference.gateway.instances import CareRules
from sage.inference.gateway.telemetry import EngineReport, TelemetryRule, parse_report

VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a b"} 3.0
vllm:num_requests_waiting{engine="0",model_name="a b"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="a b"} 0.96
vllm:num_requests_running_total 99
"""
LLAMA_CPP = """\
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 4
llamacpp:requests_deferred 1
"""
CHAT = {"model": "m", "messages": []}


@pytest.mark.parametrize(
    ("page", "report"),
    [
        (VLLM, EngineReport(3, 2, 0.96)),
        (VLLM.replace("kv_cache", "gpu_cache"), EngineReport(3, 2, 0.96)),
        (LLAMA_CPP, EngineReport(4, 1, 0.0)),
        (LLAMA_CPP + "llamacpp:kv_cache_usage_ratio 0.5\n", EngineReport(4, 1, 0.5)),
        (VLLM + VLLM.replace('"0"', '"1"').replace("0.96", "0.5"), EngineReport(6, 4, 0.73)),
        (VLLM.replace("0.96", "1.5"), EngineReport(3, 2, 1.0)),
        (VLLM.replace("3.0", "NaN"), None),
        (VLLM.replace("2.0", "+Inf"), None),
        ("sage_embedding_waiting_texts 3\n", None),
        ("<html>vllm:num_requests_running</html>", None),
        ("", None),
    ],
)
def test_pages_of_both_engines_are_read(page: str, report: EngineReport | None) -> None:
    """By the names they have; a page of anything else says nothing."""
    found = parse_report(page)
    if report is None or found is None:
        assert found is report
    else:
        assert (found.running, found.waiting) == (report.running, report.waiting)
        assert found.kv_used == pytest.approx(report.kv_used)


class Telling:
    """An engine with a metrics page, whose answers to chats wait for the gate."""

    def __init__(self, kit: Any, page: bytes = VLLM.encode(), status: str = "200 OK") -> None:
        self.kit = kit
        self.page = page
        self.status = status
        self.gate = asyncio.Event()
        self.asked = 0

    async def __call__(self, request: Any, writer: asyncio.StreamWriter) -> None:
        if request.line.startswith("GET /metrics"):
            self.asked += 1
            writer.write(self.kit.response(self.page, self.status))
        else:
            await self.gate.wait()
            writer.write(self.kit.response(self.kit.ANSWER))


async def chat(url: str) -> int:
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        return (await client.post(f"{url}/v1/chat/completions", json=CHAT)).status_code


def care(interval: float = 0.01) -> CareRules:
    return CareRules(telemetry=TelemetryRule(interval=interval))


@pytest.mark.anyio
async def test_an_engine_is_asked_while_it_works_and_the_scheduler_is_told(kit: Any) -> None:
    """Again and again, and no more once it is idle; what it holds of others is counted."""
    telling = Telling(kit)
    served = await kit.gateway(care=care())
    served.add(await kit.engine(telling))
    working = asyncio.ensure_future(chat(served.url))
    await kit.eventually(lambda: telling.asked >= 3)
    state = served.gateway._scheduler.instance("a")
    assert (state.telemetry.foreign, state.telemetry.waiting) == (4, 2)
    assert state.telemetry.kv_used == 0.96
    assert state.batch(served.gateway._clock()) == 5
    telling.gate.set()
    assert await working == 200
    asked = telling.asked
    await asyncio.sleep(0.6)  # two ticks: nothing happens, which no event can tell
    assert telling.asked == asked


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("page", "status", "says"),
    [
        (b"nothing", "404 Not Found", "answers 404"),
        (b"up 1\n", "200 OK", "has none of the figures we know"),
    ],
)
async def test_an_engine_that_does_not_tell_is_asked_once(
    kit: Any, caplog: pytest.LogCaptureFixture, page: bytes, status: str, says: str
) -> None:
    """And it is said once, at debug; requests do not notice."""
    caplog.set_level(logging.DEBUG, logger="sage.gateway")
    telling = Telling(kit, page, status)
    served = await kit.gateway(care=care())
    served.add(await kit.engine(telling))
    working = asyncio.ensure_future(chat(served.url))
    await kit.eventually(lambda: telling.asked == 1)
    await asyncio.sleep(0.6)  # two ticks: nothing happens, which no event can tell
    assert telling.asked == 1
    telling.gate.set()
    assert await working == 200
    (line,) = [one.message for one in caplog.records if "/metrics" in one.message]
    assert says in line
    assert served.gateway._scheduler.instance("a").telemetry is None


@pytest.mark.anyio
async def test_without_a_rule_nobody_is_asked(kit: Any) -> None:
    """A gateway put together by hand asks nothing that it was not told to."""
    telling = Telling(kit)
    served = await kit.gateway()
    served.add(await kit.engine(telling))
    telling.gate.set()
    assert await chat(served.url) == 200
    assert served.gateway._instances._telemetry is None


@pytest.mark.anyio
async def test_an_engine_may_leave_while_it_is_asked(kit: Any) -> None:
    """What it says then is dropped."""
    telling = Telling(kit)
    hold = asyncio.Event()

    async def slow(request: Any, writer: asyncio.StreamWriter) -> None:
        if request.line.startswith("GET /metrics"):
            telling.asked += 1
            await hold.wait()
        await telling(request, writer)

    served = await kit.gateway(care=care())
    served.add(await kit.engine(slow))
    working = asyncio.ensure_future(chat(served.url))
    await kit.eventually(lambda: telling.asked == 1)
    telling.gate.set()
    assert await working == 200
    await served.gateway.remove_instance("a")
    hold.set()
    await kit.eventually(lambda: not served.gateway._instances._telemetry._tasks)


@pytest.mark.parametrize("name", ["interval", "timeout"])
def test_times_must_be_above_zero(name: str) -> None:
    """Zero would be a busy loop, or no answer at all."""
    with pytest.raises(ConfigError, match=f"telemetry {name} is 0"):
        TelemetryRule(**{name: 0})

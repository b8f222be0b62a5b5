"""What Prometheus pages say of a run."""

from __future__ import annotations

import asyncio
from typing import Any

from sage.benchmark.config import LLMBenchmarkConfig
from sage.benchmark.exposition import change, read_page
from sage.benchmark.run import Bench
from sage.benchmark.server_pages import ServerPages
from sage.benchmark.target import Found
from sage.benchmark.wire import Models
from tests.benchmark.server import Answer, TinyServer, quick

_BEFORE = """\
# HELP vllm:prompt_tokens_total Tokens of prompts.
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{model_name="m"} 100.0
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="m"} 3.0
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{le="0.1",model_name="m"} 4
vllm:time_to_first_token_seconds_sum{model_name="m"} 2.0
vllm:time_to_first_token_seconds_count{model_name="m"} 4
# TYPE idle_total counter
idle_total 7
untyped_figure 8
# TYPE broken gauge
broken NaN
"""


def test_counters_rise_histograms_have_means_and_gauges_stay_as_they_are() -> None:
    """Of ten first tokens in 7 s meanwhile, the mean is 0.7 s."""
    text = (
        _BEFORE.replace("} 100.0", "} 350.0")
        .replace("} 3.0", "} 1.0")
        .replace("} 2.0", "} 9.0")
        .replace('_count{model_name="m"} 4', '_count{model_name="m"} 14')
    )
    found = change(read_page(_BEFORE), read_page(text))
    assert found.counters == {'vllm:prompt_tokens_total{model_name="m"}': 250.0}
    assert found.means == {'vllm:time_to_first_token_seconds{model_name="m"}': 0.7}
    assert found.gauges == {'vllm:num_requests_running{model_name="m"}': 1.0}
    assert not found.restarted


def test_a_server_that_began_anew_is_not_counted_backwards() -> None:
    """Its counters say nothing of the run."""
    found = change(read_page(_BEFORE), read_page(_BEFORE.replace("} 100.0", "} 5.0")))
    assert found.restarted
    assert (found.counters, found.means) == ({}, {})


def test_a_series_that_is_new_began_at_zero() -> None:
    """A model's first request makes its counters."""
    found = change(read_page(""), read_page('# TYPE a counter\na_total{x="1"} 3\n'))
    assert found.counters == {'a_total{x="1"}': 3.0}


def test_no_page_is_no_figures() -> None:
    """A text that is something else has none."""
    page = read_page("<html>welcome 1</html>\nhello\n")
    assert page == read_page("")
    assert change(page, page) == change(read_page(""), read_page(""))


def test_gateway_and_engines_are_looked_at_before_and_after() -> None:
    """One that does not answer has a problem, not figures; of the others each has its own."""
    with TinyServer() as engine, TinyServer() as gateway:
        gateway.instances = [
            {"id": "llm-1", "url": engine.url},
            {"id": "gone", "url": "http://127.0.0.1:9"},
        ]
        gateway.pages["/metrics"] = "# TYPE sage_requests_total counter\nsage_requests_total 5\n"
        engine.pages["/metrics"] = _BEFORE
        pages = ServerPages(Found(gateway.url, Models("chat")))
        pages.begin()
        gateway.pages["/metrics"] = gateway.pages["/metrics"].replace(" 5", " 9")
        found = {one.name: one for one in pages.end()}
    assert list(found) == ["target", "llm-1", "gone"]
    assert found["target"].change is not None
    assert found["target"].change.counters == {"sage_requests_total": 4.0}
    assert found["llm-1"].change is not None
    assert found["llm-1"].change.counters == {}
    assert found["gone"].change is None
    assert "does not answer" in found["gone"].problem


def test_a_run_has_what_its_servers_say() -> None:
    """What the server counted while the requests were out, and not before."""
    served = {"count": 100}

    async def counts(number: int, body: dict[str, Any], answer: Answer) -> None:
        await asyncio.sleep(0)
        served["count"] += 1
        server.pages["/metrics"] = f"# TYPE served_total counter\nserved_total {served['count']}\n"
        await quick(number, body, answer)

    with TinyServer(counts) as server:
        server.pages["/metrics"] = "# TYPE served_total counter\nserved_total 100\n"
        config = LLMBenchmarkConfig(requests=10, rate=200, warmup_requests=3)
        run = Bench(config, Found(server.url, Models("chat"))).run()
    assert [one.name for one in run.servers] == ["target"]
    assert run.servers[0].change is not None
    assert run.servers[0].change.counters == {"served_total": 10.0}

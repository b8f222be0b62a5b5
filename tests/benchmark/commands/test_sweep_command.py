"""``sage-cp-bench sweep``, simulated and against a tiny real server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmark.server import TinyServer, ctrl_c_at, slow_after

# A busy machine may make the client late, which it then says; what is tested here holds anyway.
_MEASURED = (0, 7)


def test_the_knee_of_simulated_engines(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """At the knee the target is kept and just beyond it lost; the files say the same."""
    line = ("sweep", "--simulate", "--policies", "fifo,round_robin", "--rate", "20")
    sizes = ("--seconds", "5", "--prompt-tokens", "3000", "--resolution", "0.1", "--rounds", "2")
    files = ("--output", "a.json", "--report", "a.csv", "--report", "a.md")
    assert bench(*line, *sizes, *files) == 0
    said = capsys.readouterr()
    assert "fifo at 20 requests/s, seed 0: 100.0% in SLO" in said.err
    result = json.loads(Path("a.json").read_text())
    found = result["sweep"]
    assert (found["axis"], found["target"], found["complete"]) == ("rate", 0.9, True)
    assert [knee["policy"] for knee in found["knees"]] == ["fifo", "round_robin"]
    attained = {
        (point["policy"], point["value"], point["seed"]): point["classes"]["all"]["attainment"]
        for point in found["points"]
    }
    for knee in found["knees"]:
        for seed in knee["by_seed"]:
            assert attained[knee["policy"], seed["value"], seed["seed"]] >= 0.9
            assert attained[knee["policy"], seed["beyond"], seed["seed"]] < 0.9
            assert seed["beyond"] <= 1.1 * seed["value"] * 1.001
    assert f"fifo: 90% in SLO up to {found['knees'][0]['knee']['mean']:.4g} [" in said.out
    assert result["config"]["policies"] == ["fifo", "round_robin"]
    assert len(Path("a.csv").read_text().splitlines()) == 1 + 2 * len(found["points"])
    assert "| round\\_robin | 90% in SLO up to" in Path("a.md").read_text()


def test_policies_meet_the_same_requests(bench: Any) -> None:
    """At each value and seed; a mixed load over its ratio has no knee."""
    line = ("sweep", "--simulate", "--mode", "hybrid", "--policies", "fifo,hybrid_slo")
    over = ("--over", "llm_ratio", "--values", "0,0.5,1", "--requests", "40", "--rounds", "1")
    assert bench(*line, *over, "--output", "a.json") == 0
    found = json.loads(Path("a.json").read_text())["sweep"]
    assert found["knees"] == []
    assert [(p["policy"], p["value"]) for p in found["points"]] == [
        (policy, value) for value in (0, 0.5, 1) for policy in ("fifo", "hybrid_slo")
    ]
    issued = [{n: c["issued"] for n, c in p["classes"].items()} for p in found["points"]]
    assert issued[::2] == issued[1::2]
    assert [sorted(one) for one in issued[::2]] == [
        *(["all", "embedding"], ["all", "chat", "embedding"], ["all", "chat"])
    ]


def test_a_live_sweep_sets_each_policy_and_repeats_no_prompts(bench: Any) -> None:
    """An engine that caches prefixes gains nothing from the runs before."""
    with TinyServer(policy="priority") as server:
        line = ("sweep", "--url", server.url, "--policies", "fifo,hybrid_slo", "--rounds", "1")
        load = ("--rates", "100,200", "--requests", "20", "--warmup-requests", "0")
        assert bench(*line, *load, "--output", "a.json") in _MEASURED
        assert server.policy == "priority"
        assert server.set_policies[::2] == ["fifo", "hybrid_slo", "fifo", "hybrid_slo"]
    prompts = [body["messages"][0]["content"] for body in server.bodies]
    # Of the text's 100,000 beginnings two requests may happen to draw the same.
    assert len(set(prompts)) >= 78
    sizes = [body["max_tokens"] for body in server.bodies]
    # A busy machine may take those that leave together in another order.
    runs = [sorted(sizes[begin : begin + 20]) for begin in (0, 20, 40, 60)]
    assert runs[0] == runs[1] == runs[2] == runs[3]


def test_ctrl_c_keeps_the_runs_that_were_done(bench: Any) -> None:
    """Exit code 130; the run that was broken off is left out, and the policy put back."""
    with TinyServer(slow_after(30), policy="fifo") as server, ctrl_c_at(server, 35):
        line = ("sweep", "--url", server.url, "--policies", "priority", "--warmup-requests", "0")
        load = ("--rates", "50,100", "--requests", "20", "--output", "a.json")
        assert bench(*line, *load) == 130
        assert server.policy == "fifo"
    found = json.loads(Path("a.json").read_text())["sweep"]
    assert not found["complete"]
    assert [(point["value"], point["classes"]["all"]["issued"]) for point in found["points"]] == [
        (50, 20)
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--values", "1,x"), "--values 1,x: write auto, or numbers such as 2,4,8"),
        (("--over", "prompt_tokens"), "prompt_tokens has no knee to look for"),
        (("--attainment", "2"), "attainment is 2.0; it must be above 0"),
        (("--output", "no/a.json"), "there is no folder"),
        (("--rates", "1,0"), "rate is 0"),
        (("--over", "users", "--seconds", "5"), "--seconds is for open arrivals"),
        (("--policies", "fifo,fifo"), "policies names one twice"),
    ],
)
def test_a_wrong_flag_is_one_clear_line(
    bench: Any, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    """Before anything runs."""
    assert bench("sweep", "--simulate", *arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error

"""The command line against tiny real servers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from .server import Answer, TinyServer, ctrl_c_at, quick, slow_after

# A busy machine may make the client late, which it then says; what is tested here holds anyway.
_MEASURED = (0, 7)
_QUICK = ("--rate", "500", "--warmup-requests", "1")


@pytest.mark.timeout(180)
def test_the_tutorials_lines(
    bench: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As written they measure the gateway on this machine, and its policy is then as before."""
    with TinyServer(policy="priority") as server:
        monkeypatch.setenv("SAGE_GATEWAY_PORT", server.url.rsplit(":", 1)[1])
        # The rate of the tutorial's run is real time; the flag only makes it shorter.
        fast = ("--rate", "1000")
        assert (
            bench("run", "--mode", "llm", "--policy", "fifo", "--requests", "100", *fast)
            in _MEASURED
        )
        assert server.set_policies == ["fifo", "priority"]
        assert len(server.bodies) == 103
        line = ("run", "--mode", "hybrid", "--policy", "hybrid_slo", "--llm-ratio", "0.7")
        assert bench(*line, *fast) in _MEASURED
        server.set_policies.clear()
        line = ("compare", "--mode", "llm", "--policies", "fifo,priority,slo_aware")
        assert bench(*line, *fast) in _MEASURED
        assert server.policy == "priority"
    assert server.set_policies[:6] == [
        *("fifo", "priority", "slo_aware"),
        *("priority", "slo_aware", "fifo"),
    ]
    assert len(server.set_policies) == 16
    out = capsys.readouterr().out
    assert "100 requests: 100 judged (100 answered, 0 failed)" in out
    assert "5 paired rounds" in out


def test_no_target_names_the_ways(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and one line."""
    assert bench("run", "--url", "http://127.0.0.1:9") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for way in ("sage llm serve", "--url", "--embedded", "--simulate"):
        assert way in error


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_policy_that_cannot_be_set_stops_the_run(
    bench: Any, capsys: pytest.CaptureFixture[str], stubborn: bool
) -> None:
    """Without the route, or when another policy is read back: one line, and nothing is sent."""
    with TinyServer(policy="priority" if stubborn else None) as server:
        server.stubborn = stubborn
        assert bench("run", "--url", server.url, "--policy", "fifo", *_QUICK) != 0
        assert server.bodies == []
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert ("'priority' is in force" if stubborn else "management/policy") in error


def test_a_policy_the_gateway_lacks(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The gateway's own list decides."""
    with TinyServer(policy="fifo") as server:
        assert bench("run", "--url", server.url, "--policy", "adaptive", *_QUICK) == 2
    assert "'adaptive'" in capsys.readouterr().err


def test_results_as_json(bench: Any, tmp_path: Path) -> None:
    """Configuration, command, machine, versions, figures and each request; no key in it."""
    output = tmp_path / "r.json"
    arguments = ("run", "--requests", "20", "--api-key", "s3cret", "--output", str(output))
    with TinyServer() as server:
        assert bench(*arguments, "--url", server.url, *_QUICK) in _MEASURED
    text = output.read_text()
    assert "s3cret" not in text
    result = json.loads(text)
    assert result["command"].startswith("sage-cp-bench run --requests 20")
    assert result["config"]["rate"] == 500
    assert result["target"]["models"]["chat"] == "chat"
    assert result["machine"]["cores"] >= 1
    assert "msgspec" in result["versions"]
    (run,) = result["runs"]
    counts = run["summary"]["counts"]
    assert counts["planned"] == counts["judged"] == counts["answered"] == 20
    requests = run["requests"]
    assert len(requests["rows"]) == 20
    row = dict(zip(requests["columns"], requests["rows"][5], strict=True))
    assert row["intended_s"] <= row["sent_s"] <= row["first_token_s"] <= row["ended_s"]
    assert row["output_tokens"] == 2


def test_a_comparison_shows_what_is_real(
    bench: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A policy that answers 300 ms later is worse in latency, whatever the noise."""
    output = tmp_path / "c.json"
    with TinyServer(policy="fifo") as server:

        async def slower(number: int, body: dict[str, Any], answer: Answer) -> None:
            await asyncio.sleep(0.3 if server.policy == "priority" else 0)
            await quick(number, body, answer)

        server.handler = slower
        arguments = ("--requests", "30", "--rounds", "4", "--output", str(output), "--no-raw")
        line = ("compare", "--policies", "fifo,priority", "--url", server.url)
        kept_up = bench(*line, *arguments, *_QUICK) == 0
    # On a machine too busy for the client itself nothing is concluded.
    assert ("worse" in capsys.readouterr().out) is kept_up
    result = json.loads(output.read_text())
    assert [run["seed"] for run in result["runs"]] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert "requests" not in result["runs"][0]
    rows = {(row["metric"], row["policy"]): row for row in result["comparison"]["rows"]}
    row = rows["E2E P50, ms", "priority"]
    assert row["verdict"] == ("worse" if kept_up else "not concluded")
    assert row["difference"]["low"] > 0
    assert row["difference"]["mean"] == pytest.approx(300, abs=100)
    assert rows["SLO attainment, %", "priority"]["verdict"] in (
        "no difference shown",
        "not concluded",
    )


def test_ctrl_c_writes_what_was_measured(bench: Any, tmp_path: Path) -> None:
    """Exit code 130, and the counts of answered, interrupted and unsent requests agree."""
    output = tmp_path / "r.json"
    with TinyServer(slow_after(10), policy="fifo") as server, ctrl_c_at(server, 15):
        arguments = ("--requests", "200", "--rate", "100", "--warmup-requests", "0")
        line = ("run", "--policy", "priority", "--url", server.url, "--output", str(output))
        assert bench(*line, *arguments) == 130
        assert server.policy == "fifo"
    counts = json.loads(output.read_text())["runs"][0]["summary"]["counts"]
    assert counts["answered"] == counts["judged"] == 10
    assert counts["interrupted"] >= 5
    assert counts["unsent"] > 0
    assert counts["judged"] + counts["interrupted"] + counts["unsent"] == 200


@pytest.mark.parametrize("command", ["run", "compare", "sweep"])
def test_a_server_that_dies_leaves_what_it_answered(
    bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """The error comes after the results: what was answered is written, what was not is a miss."""
    output = tmp_path / "r.json"

    async def dies(number: int, body: dict[str, Any], answer: Answer) -> None:
        if number == 70:
            server.die()
        await quick(number, body, answer)

    with TinyServer(dies, policy="fifo") as server:
        flags = {
            "run": ("--policy", "priority", "--requests", "100"),
            "compare": ("--policies", "fifo,priority", "--requests", "60", "--rounds", "1"),
            "sweep": ("--policies", "fifo,priority", "--requests", "60", "--rates", "500"),
        }
        line = (command, "--url", server.url, *flags[command], "--warmup-requests", "0")
        assert bench(*line, "--rate", "500", "--output", str(output)) == 5
    said = capsys.readouterr()
    assert said.err.splitlines()[-1].startswith(f"error: GET {server.url}/v1/management/policy")
    result = json.loads(output.read_text())
    if command == "run":
        counts = result["runs"][0]["summary"]["counts"]
        assert counts["judged"] == counts["answered"] + counts["failed"] == 100
        assert 60 <= counts["answered"] < 100
    elif command == "compare":
        assert [run["policy"] for run in result["runs"]] == ["fifo", "priority"]
    else:
        assert not result["sweep"]["complete"]


def test_replay_of_a_trace(bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each line's lengths are asked for, at its time."""
    trace = tmp_path / "t.csv"
    trace.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.68,12,4\n2023-11-16 18:15:48.68,9,7"
    )
    with TinyServer() as server:
        arguments = ("--url", server.url, "--time-scale", "50", "--warmup-requests", "0")
        assert bench("replay", str(trace), *arguments) in _MEASURED
    assert [body["max_tokens"] for body in server.bodies] == [4, 7]
    assert [len(b["messages"][0]["content"].split()) for b in server.bodies] == [12, 9]
    assert "2 requests: 2 judged" in capsys.readouterr().out


def test_validate(bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A printed template is valid; a misspelt key is not."""
    assert bench("config", "--mode", "hybrid", "--format", "json") == 0
    text = capsys.readouterr().out
    path = tmp_path / "c.json"
    path.write_text(text)
    assert bench("validate", str(path)) == 0
    assert capsys.readouterr().out == "Configuration is valid.\n"
    path.write_text(text.replace("llm_ratio", "llm_ration"))
    assert bench("validate", str(path)) == 2
    assert "did you mean 'llm_ratio'?" in capsys.readouterr().err


def test_a_file_and_flags_that_win_over_it(bench: Any, tmp_path: Path) -> None:
    """The file's values hold where no flag is given."""
    path, output = tmp_path / "c.json", tmp_path / "r.json"
    path.write_text(json.dumps({"mode": "hybrid", "requests": 9, "rate": 400, "seed": 5}))
    with TinyServer() as server:
        line = ("run", "--config", str(path), "--seed", "6", "--slo-embedding-ms", "0")
        assert bench(*line, "--url", server.url, "--output", str(output)) in _MEASURED
    config = json.loads(output.read_text())["config"]
    assert (config["mode"], config["requests"], config["seed"]) == ("hybrid", 9, 6)
    assert config["slo"] == {
        "llm": {"ttft_ms": 1000, "tpot_ms": 100, "e2e_ms": None},
        "embedding_ms": None,
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "--llm-ratio", "0.5"), "add --mode hybrid"),
        (("run", "--arrival", "poison"), "did you mean 'poisson'?"),
        (("run", "--policy", "fifoo"), "did you mean 'fifo'?"),
        (("run", "--embedded", "--url", "http://127.0.0.1:1"), "leave --url out"),
        (("run", "--output", "/nowhere/at/all.json"), "there is no folder /nowhere/at"),
        (("compare", "--policies", "fifo"), "at least two policies"),
        (("run", "--reqests", "3"), "--requests"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    bench: Any, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    """Each names what to do."""
    assert bench(*arguments) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", ["run", "compare", "replay"])
def test_every_flag_has_its_default_in_the_help(
    bench: Any, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """As many defaults as flags, but for --help itself."""
    assert bench(command, "--help") == 0
    text = capsys.readouterr().out
    flags = [line for line in text.splitlines() if line.startswith("  -")]
    assert text.count("[default:") + text.replace("\n", " ").count("[default:") >= len(flags) - 1
    assert " ".join(text.split()).count("[default:") == len(flags) - 1


def test_policies_known_here_and_at_a_gateway(
    bench: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A gateway marks the one in force."""
    assert bench("policies") == 0
    assert "hybrid_slo" in capsys.readouterr().out
    with TinyServer(policy="slo_aware") as server:
        assert bench("policies", "--url", server.url) == 0
    assert "* slo_aware" in capsys.readouterr().out


@pytest.mark.engines
def test_embedded_measures_the_packaged_engines(bench: Any, tmp_path: Path) -> None:
    """Chat and embeddings in one run, on ports of its own, leaving nothing behind."""
    output = tmp_path / "r.json"
    line = ("run", "--embedded", "--mode", "hybrid", "--llm-ratio", "0.5", "--requests", "8")
    sizes = ("--output-tokens", "4", "--prompt-tokens", "20", "--rate", "20")
    assert bench(*line, *sizes, "--warmup-requests", "1", "--output", str(output)) in _MEASURED
    summary = json.loads(output.read_text())["runs"][0]["summary"]
    assert summary["counts"]["answered"] == 8
    assert [item["name"] for item in summary["classes"]] == ["chat", "embedding", "all"]
    assert summary["classes"][0]["prompt_tokens"] > 20

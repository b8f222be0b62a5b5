"""What `sage llm status` prints."""

from __future__ import annotations

import pytest

from sage.cli.status import InstanceReport, StackReport, print_table


def test_long_names_take_nothing_from_the_figures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On 80 columns a long model name or node goes on in the next line; all else stays whole."""
    monkeypatch.setenv("COLUMNS", "80")
    instance = InstanceReport(
        instance="embedding-1",
        kind="embedding",
        model="all-minilm-l6-v2-of-a-very-long-name-indeed",
        engine="sentence-transformers",
        port=46323,
        pid=1234567,
        health="healthy",
        uptime_s=3700.0,
        deaths=0,
        requests={"in_flight": 1, "done": 20, "failed": 0, "cancelled": 0},
        url="http://192.168.100.200:46323",
        node="gpu-node-12.cluster.example",
        note="",
    )
    report = StackReport(True, 99, "http://127.0.0.1:8000/v1", "ok", [instance])
    print_table(report)
    printed = capsys.readouterr().out
    for whole in ("embedding-1", "46323", "1234567", "healthy", "1h 01m", "20 done", "1 open"):
        assert whole in printed
    rows = [line[13:43].split("  ")[0].strip() for line in printed.splitlines()[2:]]
    told = "".join(rows).replace(" ", "")
    assert "all-minilm-l6-v2-of-a-very-long-name-indeed" in told
    assert "ongpu-node-12.cluster.example(192.168.100.200)" in told

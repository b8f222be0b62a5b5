"""The page on scheduling says what was simulated."""

from __future__ import annotations

import importlib
import json

import pytest

from tests.documents import ROOT


def test_the_table_is_of_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever simulates anew changes the table, and what it says of the worst load and seed."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    table = importlib.import_module("_policy_table")
    figures = json.loads((ROOT / "benchmarks" / "results" / "policies.json").read_text())["figures"]
    page = (ROOT / "docs" / "scheduling.md").read_text()
    rows = table.rows(figures)
    assert len(rows) == 24
    assert "\n".join(rows) in page
    assert f"at most {-table.behind(figures):.2%} behind" in page

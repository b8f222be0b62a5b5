"""The page on scheduling says what was simulated."""

from __future__ import annotations

import importlib
import json
from typing import Any

import pytest

from tests.documents import ROOT

PAGE = ROOT / "docs" / "scheduling.md"


def _figures(name: str) -> Any:
    path = ROOT / "benchmarks" / "results" / f"{name}.json"
    return json.loads(path.read_text())["figures"]


def test_the_table_is_of_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever simulates anew changes the table, and what it says of the worst load and seed."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    table = importlib.import_module("_policy_table")
    figures = _figures("policies")
    page = PAGE.read_text()
    rows = table.rows(figures)
    assert len(rows) == 24
    assert "\n".join(rows) in page
    assert f"at most {-table.behind(figures, 4):.2%} behind" in page


def test_the_tables_of_sixteen_engines_are_of_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for what is sustained, for overload, and for the worst load and seed."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    table = importlib.import_module("_policy_table")
    page = PAGE.read_text()
    sustained = table.sustained_rows(_figures("policies_sustained_16"), 16)
    overload = table.overload_rows(_figures("policies_overload_16"), 16)
    assert (len(sustained), len(overload)) == (5, 6)
    assert "\n".join(sustained) in page
    assert "\n".join(overload) in page
    loads = _figures("policies_16") | _figures("policies_16_prefixes")
    assert f"at most {-table.behind(loads, 16):.2%} behind" in page

"""The page on calibration says what was measured against live engines."""

from __future__ import annotations

import importlib
import json

import pytest

from tests.documents import ROOT


def test_the_table_is_of_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever measures anew changes the table."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    table = importlib.import_module("_validation_table")
    data = json.loads((ROOT / "benchmarks" / "results" / "validation.json").read_text())
    rows = table.rows(data["figures"])
    page = (ROOT / "docs" / "calibrate.md").read_text()
    assert rows == [line for line in page.splitlines() if line.startswith(("| llama", "| vllm"))]
    assert len(rows) >= 4

"""docs/metrics.md names what results hold."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest

from sage.benchmark.comparison import Comparison, Row
from sage.benchmark.exchange import Failure
from sage.benchmark.exposition import Change
from sage.benchmark.fairness import Fairness
from sage.benchmark.intervals import Interval
from sage.benchmark.server_pages import ServerReport
from sage.benchmark.statistics import Difference, Spread
from sage.benchmark.summary import ClassSummary, Counts, Summary
from sage.benchmark.verdict import Verdict
from sage.dataflow.gpu import GpuReading
from tests.documents import ROOT

_NAMED = set(re.findall(r"`(\w+)`", (ROOT / "docs/metrics.md").read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "kind",
    [
        *(Counts, ClassSummary, Summary, Spread, Interval, Fairness, Verdict),
        *(Difference, Row, ServerReport, Change, GpuReading),
    ],
)
def test_every_field_of_the_results_is_explained(kind: Any) -> None:
    """A figure that nobody can look up is not one to go by."""
    missing = {item.name for item in fields(kind)} - _NAMED
    assert not missing, f"docs/metrics.md does not explain {kind.__name__}'s {sorted(missing)}"


def test_every_failure_and_the_comparison_are_explained() -> None:
    """Rows are what `compare` shows of a comparison."""
    assert {failure.value for failure in Failure} <= _NAMED
    assert {item.name for item in fields(Comparison)} - {"rows"} <= _NAMED

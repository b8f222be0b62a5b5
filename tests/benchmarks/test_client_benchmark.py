"""The client benchmark's page says what was measured, and its bars are those asked for."""

from __future__ import annotations

import importlib
import json
from typing import Any

import pytest

from tests.documents import ROOT


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("_client_page")


def test_the_page_is_written_from_the_figures(page: Any) -> None:
    """Whoever measures anew writes the page anew."""
    data = json.loads(page.JSON.read_text())
    assert page.PAGE.read_text() == page.markdown(data)
    assert data["figures"]["bars"] == page.bars(data["figures"])


def test_a_bar_is_met_by_the_median_alone(page: Any) -> None:
    """A rate just below what was asked for is missed; one good round does not save it."""

    def figure(median: float) -> dict[str, float]:
        return {"median": median, "lowest": 0.0, "highest": 1e9}

    def met(rate: float, cost: float, event: float) -> list[bool]:
        opened = {"requests_per_s": figure(rate), "request_us": figure(cost)}
        figures = {"open_8200": opened, "streams": {"event_us": figure(event)}}
        return [bar["met"] for bar in page.bars(figures)]

    assert met(8_010, 99, 14) == [True, True, True]
    assert met(7_990, 101, 16) == [False, False, False]

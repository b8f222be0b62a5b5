"""What charts are drawn from, and the SVG they come as."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from sage.benchmark.visualize.cdf import latency_cdf
from sage.benchmark.visualize.differences import differences
from sage.benchmark.visualize.figure import Chart, draw
from sage.benchmark.visualize.loads import attainment_by_load, latency_by_throughput
from sage.benchmark.visualize.points import Curves, curves_of
from sage.benchmark.visualize.recorded import Recorded, RecordedRequest, read_results
from sage.benchmark.visualize.timeline import counts, in_flight, timeline, waiting

from .support import compared, edited, swept

_MOMENTS = st.integers(0, 20).map(float)
_SPANS = st.lists(st.tuples(_MOMENTS, _MOMENTS).map(lambda pair: (min(pair), max(pair))))


def _result(rate: float = 40.0) -> Recorded:
    return read_results(compared(rate), f"r{rate:g}.json")


@given(_SPANS, st.lists(_MOMENTS))
def test_counts_are_of_the_spans_around_a_moment(
    spans: list[tuple[float, float]], moments: list[float]
) -> None:
    """A span begins with its start and is over at its end."""
    expected = [sum(start <= moment < end for start, end in spans) for moment in moments]
    assert counts(spans, moments) == expected


def test_waiting_ends_with_the_first_token() -> None:
    """Or with the end, where there was no token; in flight counts from leaving."""
    answered = RecordedRequest("a", 1.0, 2.0, 3.0, 5.0, failed=False)
    assert waiting(answered) == (1.0, 3.0)
    assert in_flight(answered) == (2.0, 5.0)
    assert waiting(RecordedRequest("a", 1.0, 2.0, None, 5.0, failed=True)) == (1.0, 5.0)


def test_failures_hold_a_distribution_down() -> None:
    """The words say how many were answered of how many."""
    result = _result()
    chart = latency_cdf("cdf", result.runs, "interactive", result.limits("interactive"))
    assert chart is not None
    mine = [item for run in result.runs if run.policy == "fifo" for item in run.requests]
    mine = [item for item in mine if item.name == "interactive"]
    good = sum(not item.failed for item in mine)
    assert 0 < good < len(mine)
    assert f"E2E of fifo: {good} of {len(mine)} answered" in chart.description


def test_files_that_differ_in_rate_lie_on_one_curve() -> None:
    """A point for each run, and a mean line, since all seeds were tried at each rate."""
    (curves,) = curves_of([_result(40.0), _result(20.0)])
    series = curves.by_series()
    assert {label: list(levels) for label, levels in series.items()} == {
        "fifo": [20.0, 40.0],
        "hybrid_slo": [20.0, 40.0],
    }
    assert all(len(points) == 2 for levels in series.values() for points in levels.values())
    assert {label: len(lines) for label, lines in curves.paths().items()} == {
        "fifo": 1,
        "hybrid_slo": 1,
    }


def test_files_of_other_workloads_get_other_curves() -> None:
    """Their names tell them apart."""
    other = edited(compared(20.0), "config", "prompt_tokens", value="fixed:9")
    (curves,) = curves_of([_result(), read_results(other, "x.json")])
    assert set(curves.by_series()) == {
        *("fifo (r40)", "hybrid_slo (r40)"),
        *("fifo (x)", "hybrid_slo (x)"),
    }


def test_a_run_broken_off_is_no_point() -> None:
    """Its rate was not held to the end."""
    data = edited(compared(), "runs", 0, "summary", "counts", "unsent", value=3)
    (curves,) = curves_of([read_results(data, "c.json"), _result(20.0)])
    assert len(curves.points) == 3 + 4


def test_one_rate_is_no_curve() -> None:
    """Nor are a closed loop or a trace."""
    assert curves_of([_result()]) == []


def _search() -> Curves:
    (curves,) = curves_of([read_results(swept(), "s.json")])
    return curves


def test_a_search_is_a_line_for_each_seed() -> None:
    """It tries other values with each; every run is on one of them."""
    curves = _search()
    paths = curves.paths()
    assert any(len(lines) == 2 for lines in paths.values())
    drawn = sum(len(points) for lines in paths.values() for one in lines for points in one.values())
    assert drawn == len(curves.points)
    for lines in paths.values():
        for line in lines:
            assert list(line) == sorted(line)


@cache
def _charts() -> list[Chart]:
    result = _result()
    (curves,) = curves_of([result, _result(20.0)])
    assert result.comparison is not None
    charts = [
        differences("d", result.comparison, "all"),
        latency_cdf("c", result.runs, "bulk", {}),
        timeline("t", result.runs),
        attainment_by_load("a", curves),
        latency_by_throughput("l", curves),
        attainment_by_load("s", _search()),
    ]
    assert all(charts)
    return [chart for chart in charts if chart]


def test_charts_are_svg_that_is_read_aloud_and_takes_the_pages_colours() -> None:
    """Well-formed; title and description; text as text; no id that another chart could have."""
    for chart in _charts():
        root = ET.fromstring(chart.svg.replace("xlink:href", "href"))
        assert root.get("role") == "img"
        texts = {node.get("id"): node.text for node in root if node.tag in ("title", "desc")}
        assert root.get("aria-labelledby") == " ".join(str(key) for key in texts)
        assert list(texts.values()) == [chart.title, chart.description]
        assert any(node.tag == "text" for node in root.iter())
        ids = [found for node in root.iter() if (found := node.get("id"))]
        assert len(ids) == len(set(ids))
        assert all(found.startswith(f"{chart.name}-") for found in ids)
        used = re.findall(r'(?:href="#|url\(#)([^")]+)', chart.svg)
        assert set(used) <= set(ids)
        assert set(re.findall(r"#[0-9a-f]{6}\b", chart.svg)) <= {"#ffffff"}
        assert "http" not in chart.svg


def test_the_same_results_give_the_same_charts() -> None:
    """To the byte."""
    assert _charts.__wrapped__() == _charts()


def test_knees_are_marked() -> None:
    """With their value, in the picture and in words."""
    curves = _search()
    chart = next(chart for chart in _charts() if chart.name == "s")
    means = [found.knee.mean for found in curves.knees.values() if found.knee is not None]
    assert means
    for mean in means:
        assert f"{mean:.3g}</text>" in chart.svg
        assert f"knee at {mean:.3g}" in chart.description


def test_nothing_is_drawn_of_nothing() -> None:
    """A file without requests has no distribution and no timeline."""
    bare = read_results(compared(raw=False), "c.json")
    assert timeline("t", bare.runs) is None
    assert latency_cdf("c", bare.runs, "bulk", {}) is None


def test_differences_are_of_one_class() -> None:
    """Its name stands above; of a class that is not there, there is nothing."""
    comparison = _result().comparison
    assert comparison is not None
    chart = differences("d", comparison, "bulk")
    assert chart is not None
    assert chart.title == "Differences to fifo, bulk requests, 2 paired rounds"
    shown = [row for row in comparison.rows if row.cls == "bulk" and row.verdict == "better"]
    for row in shown:
        assert f"{row.policy}, {row.metric.split(',')[0]}: " in chart.description
    assert differences("d", comparison, "nobody") is None


def test_titles_are_escaped() -> None:
    """What a file says may hold marks of HTML."""
    chart = draw("x", "<b>&", '"<i>"', (1, 1), lambda figure: None)
    assert ET.fromstring(chart.svg)[0].text == "<b>&"


def test_a_users_matplotlibrc_changes_nothing() -> None:
    """Reports look the same on every machine."""
    import matplotlib as mpl

    result = _result()
    before = timeline("t", result.runs)
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "red"}):
        assert timeline("t", result.runs) == before

"""Results as CSV and Markdown."""

from __future__ import annotations

import csv
import io

from sage.benchmark.visualize.recorded import read_results
from sage.benchmark.visualize.tables import tables_of
from sage.benchmark.visualize.text import as_csv, as_markdown

from .support import compared, edited, swept


def test_csv_has_every_figure_of_every_class() -> None:
    """A line for each run and class; numbers are those of the JSON."""
    result = read_results(compared(), "c.json")
    rows = list(csv.DictReader(io.StringIO(as_csv([result]))))
    rows = [row for row in rows if row["by"] == "class"]
    assert [row["name"] for row in rows] == ["interactive", "bulk", "all"] * 4
    for run, start in zip(result.runs, range(0, 12, 3), strict=True):
        whole = run.summary.overall
        parts, total = rows[start : start + 2], rows[start + 2]
        assert total["policy"] == run.policy
        assert total["rate"] == "40.0"
        assert sum(int(row["slo_met"]) for row in parts) == int(total["slo_met"]) == whole.slo_met
        assert whole.e2e_ms is not None
        assert float(total["e2e_ms.p99"]) == whole.e2e_ms.p99
        assert int(total["failures.timeout"] or 0) == whole.failures.get("timeout", 0)
    assert any(row["failures.timeout"] for row in rows), "no request ran into its time limit"


def test_figures_by_instance_and_tenant_add_up() -> None:
    """In each run to those of all requests; fairness stands beside."""
    result = read_results(compared(), "c.json")
    rows = list(csv.DictReader(io.StringIO(as_csv([result]))))
    for run in result.runs:
        mine = [row for row in rows if (row["policy"], row["seed"]) == (run.policy, str(run.seed))]
        for by in ("instance", "tenant"):
            parts = [row for row in mine if row["by"] == by]
            assert len(parts) >= 2
            assert sum(int(row["issued"]) for row in parts) == run.summary.overall.issued
    captions = [table.caption for table in tables_of(result)]
    assert {"Figures by instance", "Figures by tenant"} < set(captions)
    assert any("Fairness" in caption for caption in captions)


def test_csv_of_a_sweep_has_every_run() -> None:
    """With its place on the axis; beside those of a comparison when both are given."""
    results = [read_results(swept(), "s.json"), read_results(compared(), "c.json")]
    rows = list(csv.DictReader(io.StringIO(as_csv(results))))
    sweep = results[0].sweep
    assert sweep is not None
    mine = [row for row in rows if row["file"] == "s.json" and row["name"] == "all"]
    assert [float(row["rate"]) for row in mine] == [point.value for point in sweep.points]
    assert [float(row["goodput"]) for row in mine] == [one.overall.goodput for one in sweep.points]
    assert len([row for row in rows if row["file"] == "c.json" and row["by"] == "class"]) == 12


def test_markdown_tables_are_whole() -> None:
    """Each line of a table has as many cells as its head, whatever a name holds."""
    data = edited(compared(), "runs", 0, "policy", value="a|b*c\\")
    text = as_markdown([read_results(data, "c_1.json")])
    assert text.startswith("## c\\_1.json\n")
    assert "| a\\|b\\*c\\\\ |" in text
    widths = []
    for block in text.split("\n\n"):
        lines = block.strip().splitlines()
        if lines[0].startswith("|"):
            widths += [{line.replace("\\|", "").count("|") for line in lines}]
    assert len(widths) == 7
    assert all(len(width) == 1 for width in widths)


def test_every_table_is_rectangular() -> None:
    """Cells are as many as columns."""
    for data in (compared(), swept()):
        tables = list(tables_of(read_results(data, "c.json")))
        assert len(tables) >= 3
        for table in tables:
            assert table.rows
            assert {len(row) for row in table.rows} == {len(table.head)}


def test_one_rounds_interval_is_not_known() -> None:
    """Rather than infinite."""
    text = as_markdown([read_results(compared(rounds=1), "c.json")])
    assert "not known" in text
    assert "inf" not in text.replace("interactive", "")

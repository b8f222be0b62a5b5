"""Reports as files, each in the form that its name ends in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sage.benchmark.visualize.figure import check_charts
from sage.benchmark.visualize.page import as_page
from sage.benchmark.visualize.recorded import Recorded
from sage.benchmark.visualize.text import as_csv, as_markdown
from sage.errors import ConfigError

_FORMS: dict[str, Callable[[Sequence[Recorded]], str]] = {
    ".html": as_page,
    ".md": as_markdown,
    ".csv": as_csv,
}


def check_report(path: Path) -> None:
    """Raise ConfigError, before anything is measured, when no report could be written there."""
    if path.suffix not in _FORMS:
        raise ConfigError(
            f"{path}: a report's name ends in {', '.join(_FORMS)}; "
            "results as JSON are written by --output"
        )
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.absolute().parent}")
    if path.suffix == ".html":
        check_charts()


def write_report(path: Path, results: Sequence[Recorded]) -> None:
    """Write the results as HTML, Markdown or CSV, as the name ends.

    Raises:
        ConfigError: another ending, a folder that is not there, or matplotlib is missing.
    """
    check_report(path)
    path.write_text(_FORMS[path.suffix](results), encoding="utf-8", newline="\n")

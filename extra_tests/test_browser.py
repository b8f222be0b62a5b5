"""What a real browser makes of a report's page."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.benchmark.visualize.support import compared

from sage.benchmark.visualize.page import as_page
from sage.benchmark.visualize.recorded import read_results

_BROWSERS = ("chromium", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def browser() -> str:
    """Return the path of a browser; without one these tests fail, they are run to use it."""
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if found is None:
        pytest.fail(f"none of {', '.join(_BROWSERS)} is on PATH: apt-get install chromium")
    return found


def _console(browser: str, page: Path, home: Path) -> list[str]:
    """Return what a browser writes to its console, opening the page."""
    done = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--enable-logging=stderr", f"--user-data-dir={home}", "--no-first-run"),
            *("--window-size=900,1200", f"--screenshot={home / 'page.png'}", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=80,
        check=True,
    )
    assert (home / "page.png").stat().st_size > 1000
    return [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


@pytest.mark.timeout(180)  # a browser starts slowly on a busy machine
def test_a_browser_has_nothing_to_say(browser: str, tmp_path: Path) -> None:
    """No error, and nothing from outside: the page's own policy would have it complain.

    It does complain of a page with the same head and a picture from elsewhere.
    """
    page = tmp_path / "page.html"
    text = as_page([read_results(compared(), "c.json")])
    page.write_text(text, encoding="utf-8")
    assert _console(browser, page, tmp_path / "a") == []
    outside = text[: text.index("<body>")] + '<img src="http://127.0.0.1:9/x.png" alt="">'
    page.write_text(outside, encoding="utf-8")
    assert "127.0.0.1:9" in "".join(_console(browser, page, tmp_path / "b"))

"""The page: what it says, that it needs nothing else, and what a browser makes of it."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sage.benchmark.visualize.page import as_page
from sage.benchmark.visualize.recorded import read_results

from .support import compared, edited, swept

_BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
_VOID = {"meta", "link", "br", "hr", "img", "input"}


class _Outline(HTMLParser):
    """Ids, addresses and headings, and whether every tag is closed in its turn."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in _VOID:
            self.open.append(tag)
        for key, value in attrs:
            if key == "id":
                self.ids.append(value or "")
            if key in ("href", "src", "xlink:href"):
                self.addresses.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@cache
def _page() -> str:
    results = [read_results(compared(rate), f"r{rate:g}.json") for rate in (40.0, 20.0)]
    return as_page([*results, read_results(swept(), "s.json")])


def test_the_page_is_whole_and_stands_alone() -> None:
    """Tags close in turn, ids are unique over all charts, and no address leads out of it."""
    outline = _Outline(_page())
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert outline.tags.count("svg") == 2 + 2 * 6
    assert outline.tags.count("figure") == outline.tags.count("figcaption") == 14
    assert all(address.startswith("#") or address == "data:," for address in outline.addresses)
    assert "script" not in outline.tags
    assert "url(" not in _page().replace("url(#", "")


def test_what_is_invalid_or_broken_off_is_said_first() -> None:
    """Before any figure."""
    data = edited(compared(raw=False), "runs", 1, "verdict", "valid", value=False)
    data = edited(data, "runs", 1, "verdict", "reason", value="the client was the bottleneck")
    data = edited(data, "runs", 2, "summary", "counts", "unsent", value=5)
    sweep = edited(swept(), "sweep", "complete", value=False)
    page = as_page([read_results(data, "c.json"), read_results(sweep, "s.json")])
    warnings = page[: page.index("<h2>")]
    assert "c.json, hybrid_slo, seed 0: INVALID: the client was the bottleneck" in warnings
    assert "c.json, hybrid_slo, seed 1: broken off" in warnings
    assert "s.json: broken off before its end" in warnings
    assert "--no-raw" in page


def test_names_in_a_file_are_text_not_markup() -> None:
    """Whoever wrote the file."""
    data = edited(compared(raw=False), "runs", 0, "policy", value="<script>alert(1)</script>")
    page = as_page([read_results(data, "<img src=x>.json")])
    assert "<script" not in page
    assert "<img" not in page
    assert "<script>alert(1)</script>" in _Outline(page).text


def _console(page: Path, home: Path) -> list[str]:
    """Return what a browser writes to its console, opening the page."""
    assert _BROWSER is not None
    done = subprocess.run(
        [
            *(_BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
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
@pytest.mark.skipif(_BROWSER is None, reason="no chromium: apt-get install chromium")
def test_a_browser_has_nothing_to_say(tmp_path: Path) -> None:
    """No error, and nothing from outside: the page's own policy would have it complain.

    It does complain of a page with the same head and a picture from elsewhere.
    """
    page = tmp_path / "page.html"
    text = as_page([read_results(compared(), "c.json")])
    page.write_text(text, encoding="utf-8")
    assert _console(page, tmp_path / "a") == []
    outside = text[: text.index("<body>")] + '<img src="http://127.0.0.1:9/x.png" alt="">'
    page.write_text(outside, encoding="utf-8")
    assert "127.0.0.1:9" in "".join(_console(page, tmp_path / "b"))

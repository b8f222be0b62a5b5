"""The page: what it says, and that it needs nothing else."""

from __future__ import annotations

from functools import cache
from html.parser import HTMLParser

from sage.benchmark.visualize.page import as_page
from sage.benchmark.visualize.recorded import read_results

from .support import compared, edited, swept

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

"""Prometheus pages: what they say, and what changed between two of them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_TYPE = re.compile(r"^# TYPE (\S+) (\S+)", re.MULTILINE)
_SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*)(\{[^\n]*\})?[ \t]+(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Page:
    """One page at one moment; values by series, written ``name{labels}`` as on the page.

    Attributes:
        counters: that only ever rise.
        gauges: that go up and down.
        sums: of histograms and summaries, all they observed.
        counts: of the same, how often they did.
    """

    counters: dict[str, float] = field(default_factory=dict)
    gauges: dict[str, float] = field(default_factory=dict)
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """What a page says of the time between two looks at it.

    Attributes:
        counters: by how much each rose; those that did not are left out.
        means: mean of what each histogram observed meanwhile; those that observed nothing are left
            out.
        gauges: as they are at the end.
        restarted: whether a counter fell, as it does when the server starts anew; counters and
            means then say nothing and are empty.
    """

    counters: dict[str, float] = field(default_factory=dict)
    means: dict[str, float] = field(default_factory=dict)
    gauges: dict[str, float] = field(default_factory=dict)
    restarted: bool = False


def read_page(text: str) -> Page:
    """Read a page in Prometheus' text format; what is of no type, or no number, is left out."""
    kinds = dict(_TYPE.findall(text))
    page = Page()
    for name, labels, number in _SAMPLE.findall(text):
        try:
            value = float(number)
        except ValueError:
            continue
        if not math.isfinite(value):
            continue
        base, _, part = name.rpartition("_")
        if kinds.get(base) in ("histogram", "summary"):
            if part in ("sum", "count"):
                (page.sums if part == "sum" else page.counts)[base + labels] = value
        elif kinds.get(name) == "gauge":
            page.gauges[name + labels] = value
        elif "counter" in (kinds.get(name), kinds.get(name.removesuffix("_total"))):
            page.counters[name + labels] = value
    return page


def change(before: Page, after: Page) -> Change:
    """Return what happened between two looks at a page; a series that is new began at 0."""
    rises = _rises(before.counters, after.counters)
    counts = _rises(before.counts, after.counts)
    if any(rise < 0 for rise in (*rises.values(), *counts.values())):
        return Change(gauges=after.gauges, restarted=True)
    sums = _rises(before.sums, after.sums)
    seen = {name: count for name, count in counts.items() if count and name in sums}
    return Change(
        counters={name: rise for name, rise in rises.items() if rise},
        means={name: sums[name] / count for name, count in seen.items()},
        gauges=after.gauges,
    )


def _rises(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: value - before.get(name, 0.0) for name, value in after.items()}

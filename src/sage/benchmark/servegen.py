"""Workloads of ServeGen (Alibaba): rates and lengths of many clients, of which requests are drawn.

A folder holds two files a client. ``chunk-N-trace.csv`` has no header and a line for each ten
minutes: their start in seconds, requests per second, coefficient of variation, the gaps' form
(Gamma, Weibull, or empty when there are no requests), its shape and its scale.
``chunk-N-dataset.json`` gives for each six hours the shares of prompt and answer lengths.
"""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from sage.benchmark.trace_record import TraceRecord, trace_text
from sage.errors import ConfigError

_WINDOW_S = 600
_LENGTHS_S = 21_600
_COLUMNS = ("window start", "rate", "CV", "form", "shape", "scale")
_NUMBERS = (0, 1, 2, 4, 5)
_GAPS: dict[str, Callable[[random.Random, float], float]] = {
    "Gamma": lambda rng, shape: rng.gammavariate(shape, 1.0),
    "Weibull": lambda rng, shape: rng.weibullvariate(1.0, shape),
}


class _Window(NamedTuple):
    """Ten minutes of a client: requests, and form and shape of the gaps between them."""

    requests: int
    form: str
    shape: float


@dataclass(frozen=True, slots=True)
class _Shares:
    """A distribution of lengths: those there are, and the sums of their shares up to each."""

    lengths: list[int]
    sums: list[float]

    def draw(self, rng: random.Random, count: int) -> list[int]:
        return rng.choices(self.lengths, cum_weights=self.sums, k=count)


def read_servegen(
    folder: Path, *, seed: int, start_s: float = 0.0, limit: int | None = None
) -> list[TraceRecord]:
    """Draw the requests of all clients of a folder, in the order of their times.

    Each client has as many requests in a window as the data says. The gaps between them are
    drawn from the window's form and shape and fill the window; prompt and answer lengths are
    drawn independently from the shares of those six hours.

    Args:
        folder: with the files of the clients.
        seed: of all that is drawn.
        start_s: seconds of the data that are passed over; many hours of it have few requests.
        limit: most requests; None is all to the end of the data.

    Raises:
        ConfigError: a file is missing or wrong; names the line and the column.
    """
    paths = sorted(folder.glob("chunk-*-trace.csv"))
    if not paths:
        raise ConfigError(f"trace {folder} has no chunk-N-trace.csv, as a folder of ServeGen has")
    clients = [_Client(path) for path in paths]
    records: list[TraceRecord] = []
    for number in range(int(start_s // _WINDOW_S), max(len(one.windows) for one in clients)):
        drawn = [record for client in clients for record in client.draw(number, seed)]
        records += sorted((r for r in drawn if r.at >= start_s), key=lambda record: record.at)
        if limit is not None and len(records) >= limit:
            return records[:limit]
    return records


class _Client:
    """One client's windows and lengths; the latter are read when they are first needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.windows = list(_windows(path))
        self._dataset: dict[str, dict[str, Any]] | None = None
        self._shares: dict[tuple[int, str], _Shares] = {}

    def draw(self, number: int, seed: int) -> list[TraceRecord]:
        """Return the requests of one window; times count from the beginning of the data."""
        if number >= len(self.windows) or not self.windows[number].requests:
            return []
        count, form, shape = self.windows[number]
        rng = random.Random(f"{seed}/{self._path.name}/{number}")  # noqa: S311 - no secrets
        gap = _GAPS[form]
        sums = list(accumulate(gap(rng, shape) for _ in range(count + 1)))
        # A shape near 0 can make all gaps too small to tell from 0.
        unit = _WINDOW_S / sums[-1] if sums[-1] > 0 else 0.0
        start = number * _WINDOW_S
        times = [start + unit * passed for passed in sums[:-1]]
        prompts = self._lengths(start, "input_tokens").draw(rng, count)
        answers = self._lengths(start, "output_tokens").draw(rng, count)
        return [TraceRecord(*one) for one in zip(times, prompts, answers, strict=True)]

    def _lengths(self, start: int, name: str) -> _Shares:
        key = (start // _LENGTHS_S * _LENGTHS_S, name)
        found = self._shares.get(key)
        if found is None:
            found = self._shares[key] = self._read_lengths(*key)
        return found

    def _read_lengths(self, start: int, name: str) -> _Shares:
        path = self._path.with_name(self._path.name.replace("-trace.csv", "-dataset.json"))
        if self._dataset is None:
            self._dataset = _dataset(path)
        where = f"trace {path}, window {start}, column {name}"
        text = self._dataset.get(str(start), {}).get(name)
        if text is None:
            raise ConfigError(f"{where} is missing, though requests of it are needed")
        return _shares(str(text), where)


def _windows(path: Path) -> Iterator[_Window]:
    lines = trace_text(path).split("\n")
    for number, row in enumerate(csv.reader(lines)):
        if not row:
            continue
        where = f"trace {path}, line {number + 1}"
        if len(row) != len(_COLUMNS):
            raise ConfigError(f"{where} has {len(row)} columns, not {len(_COLUMNS)}; is it torn?")
        start, rate, _, shape, _ = (
            _number(row[column], f"{where}, column {_COLUMNS[column]}") for column in _NUMBERS
        )
        if start != number * _WINDOW_S:
            raise ConfigError(
                f"{where}, column window start: {row[0]} is not {number * _WINDOW_S}; "
                f"windows are {_WINDOW_S} s apart"
            )
        requests = round(rate * _WINDOW_S)
        if requests and row[3] not in _GAPS:
            raise ConfigError(f"{where}, column form: {row[3]!r} is not {' or '.join(_GAPS)}")
        if requests and shape <= 0:
            raise ConfigError(f"{where}, column shape: {row[4]} is not above 0")
        yield _Window(requests, row[3], shape)


def _number(text: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ConfigError(f"{where}: {text!r} is not a number") from None
    if not math.isfinite(number) or number < 0:
        raise ConfigError(f"{where}: {text.strip()} is not a number of at least 0")
    return number


def _dataset(path: Path) -> dict[str, dict[str, Any]]:
    try:
        return msgspec.json.decode(trace_text(path), type=dict[str, dict[str, Any]])
    except msgspec.DecodeError as error:
        raise ConfigError(f"trace {path}: {error}") from None


def _shares(text: str, where: str) -> _Shares:
    """Read ``{LENGTH: SHARE, …}``, a Python literal inside a JSON string."""
    body = text.strip()
    if not (body.startswith("{") and body.endswith("}")):
        raise ConfigError(f"{where}: {text[:40]!r} is not of the form {{LENGTH: SHARE, …}}")
    lengths: list[int] = []
    shares: list[float] = []
    for part in filter(None, (part.strip() for part in body[1:-1].split(","))):
        length, _, share = part.partition(":")
        try:
            lengths.append(max(1, int(length)))
        except ValueError:
            raise ConfigError(f"{where}: {part!r} is not LENGTH: SHARE") from None
        shares.append(_number(share, f"{where}, length {length}"))
    if not sum(shares) > 0:
        raise ConfigError(f"{where} has no lengths, though requests of it are needed")
    return _Shares(lengths, list(accumulate(shares)))

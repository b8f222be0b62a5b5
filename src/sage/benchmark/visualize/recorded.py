"""Results as they were written to files, read back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from sage.benchmark.comparison import Comparison
from sage.benchmark.report import FORMAT
from sage.benchmark.summary import Summary
from sage.benchmark.sweep.outcome import Outcome
from sage.benchmark.verdict import Verdict
from sage.errors import ConfigError

_FIGURES = ("runs", "comparison", "sweep")
_T = TypeVar("_T")
_NEEDED = frozenset({"class", "intended_s", "sent_s", "first_token_s", "ended_s", "failure"})


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request of a run; moments are seconds from the run's start.

    Attributes:
        name: of its class.
        intended_s: when it should have left.
        sent_s: when it left.
        first_token_s: None when no token came, as for every embedding.
        ended_s: when the answer was complete, or the failure known.
        failed: whether it has no good answer.
    """

    name: str
    intended_s: float
    sent_s: float
    first_token_s: float | None
    ended_s: float
    failed: bool


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """One run.

    Attributes:
        policy: in force while it ran; ``as set`` when the server did not say.
        seed: of its requests.
        round: which round of a comparison, from 1; 0 outside one.
        summary: the figures.
        verdict: the client's on itself.
        simulated: whether its time was, so that no client had a part in it.
        requests: each of them that was not broken off; empty when the file does not list them.
    """

    policy: str
    seed: int
    round: int
    summary: Summary
    verdict: Verdict
    simulated: bool
    requests: Sequence[RecordedRequest] = field(repr=False)

    @property
    def complete(self) -> bool:
        """Whether it was not broken off."""
        counts = self.summary.counts
        return not (counts.unsent or counts.interrupted)


@dataclass(frozen=True, slots=True)
class Recorded:
    """The results in one file.

    Attributes:
        name: the file's, without its folder.
        about: what the file says beside the figures: command, target, configuration, machine.
        runs: in the order they ran.
        comparison: of the runs, when they were one.
        sweep: the runs over an axis, when they were a sweep's; ``runs`` is empty then.
    """

    name: str
    about: Mapping[str, Any]
    runs: Sequence[RecordedRun]
    comparison: Comparison | None
    sweep: Outcome | None = None

    @property
    def rate(self) -> float | None:
        """Requests per second that were asked for; None for a closed loop or a trace."""
        config = self.about["config"]
        if config.get("trace") or config.get("arrival") == "closed":
            return None
        rate = config.get("rate")
        return float(rate) if isinstance(rate, int | float) else None

    def limits(self, cls: str) -> dict[str, float]:
        """The SLO of a class in milliseconds, by the names that its figures have."""
        for one in self.about.get("classes", ()):
            if one.get("name") == cls:
                keys = ("ttft_ms", "tpot_ms", "e2e_ms")
                return {key: float(one[key]) for key in keys if one.get(key) is not None}
        return {}


def read_file(path: Path) -> Recorded:
    """Read one file of results.

    Raises:
        ConfigError: it cannot be read, is damaged, or is not a file of results of this version.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    return read_results(data, path.name)


def read_results(data: bytes, name: str) -> Recorded:
    """Read results from the bytes of a file.

    Args:
        data: JSON, as `sage.benchmark.report.encode` writes it.
        name: of the file, for messages and headings.

    Raises:
        ConfigError: as `read_file`.
    """
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{name}: damaged, or no JSON at all: {error}; was its writing broken off?"
        ) from error
    _check_format(value, name)
    return Recorded(
        name=name,
        about={key: item for key, item in value.items() if key not in _FIGURES},
        runs=[_run(run, name) for run in _field(value, "runs", list, name)],
        comparison=_comparison(value.get("comparison"), name),
        sweep=_as(Outcome, value["sweep"], name) if "sweep" in value else None,
    )


def _check_format(value: Any, name: str) -> None:
    if not isinstance(value, dict) or not ("format" in value or "runs" in value):
        raise ConfigError(
            f"{name}: no results of sage-cp-bench; give a file that --output of run, compare, "
            "replay, simulate or sweep has written"
        )
    found = value.get("format", 0)
    if found != FORMAT:
        age = "an older" if isinstance(found, int) and found < FORMAT else "a newer"
        raise ConfigError(
            f"{name}: results in format {found} of {age} sage-cp-bench; this one reads format "
            f"{FORMAT}: measure again with it"
        )
    _field(value, "config", dict, name)


def _field(value: Any, key: str, kind: type[_T], name: str) -> _T:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, kind):
        raise ConfigError(f"{name}: damaged: {key!r} is missing or of a wrong kind")
    return found


def _run(value: Any, name: str) -> RecordedRun:
    return RecordedRun(
        policy=str(value.get("policy") or "as set") if isinstance(value, dict) else "",
        seed=_field(value, "seed", int, name),
        round=_field(value, "round", int, name),
        summary=_as(Summary, _field(value, "summary", dict, name), name),
        verdict=_as(Verdict, _field(value, "verdict", dict, name), name),
        simulated=bool(value.get("simulated")),
        requests=_requests(value["requests"], name) if "requests" in value else (),
    )


def _as(kind: type[_T], value: Any, name: str) -> _T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{name}: damaged in the {kind.__name__.lower()}: {error}") from error


def _requests(value: Any, name: str) -> list[RecordedRequest]:
    columns = _field(value, "columns", list, name)
    rows = _field(value, "rows", list, name)
    if missing := _NEEDED - set(columns):
        raise ConfigError(f"{name}: damaged: requests lack the column {min(missing)!r}")
    at = {column: number for number, column in enumerate(columns)}
    broken_off = at.get("interrupted")
    try:
        return [
            RecordedRequest(
                name=str(row[at["class"]]),
                intended_s=float(row[at["intended_s"]]),
                sent_s=float(row[at["sent_s"]]),
                first_token_s=row[at["first_token_s"]],
                ended_s=float(row[at["ended_s"]]),
                failed=row[at["failure"]] is not None,
            )
            for row in rows
            if broken_off is None or not row[broken_off]
        ]
    except (TypeError, ValueError, IndexError) as error:
        raise ConfigError(f"{name}: damaged: a request's row is not as its columns say") from error


def _comparison(value: Any, name: str) -> Comparison | None:
    if value is None:
        return None
    for row in _field(value, "rows", list, name):
        difference = row.get("difference") if isinstance(row, dict) else None
        if isinstance(difference, dict):
            # JSON has no infinity; a single pair's interval has no end on either side.
            for key, end in (("low", -math.inf), ("high", math.inf)):
                if difference.get(key) is None:
                    difference[key] = end
    return _as(Comparison, value, name)

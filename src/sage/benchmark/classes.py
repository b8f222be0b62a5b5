"""The classes that the requests of a run come in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from sage.benchmark.lengths import parse_lengths
from sage.errors import ConfigError, UnknownKeyError
from sage.inference.scheduling.slo import SLO

ALL = "all"
"""What reports call all classes together."""


class TrafficClass(StrEnum):
    """What a request asks for."""

    CHAT = "chat"
    EMBEDDING = "embedding"


_NOT_OF = {
    TrafficClass.CHAT: ("batch",),
    TrafficClass.EMBEDDING: ("ttft_ms", "tpot_ms", "stream", "output_tokens"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestClass:
    """Requests that are alike: how many there are, how large, and what a good answer keeps to.

    Attributes:
        name: as results name it.
        share: of all requests, relative to the sum of all shares.
        traffic: what they ask for.
        ttft_ms: SLO, milliseconds from when a request should have left to its first token.
        tpot_ms: SLO, mean milliseconds a token after the first one.
        e2e_ms: SLO, milliseconds from when it should have left to the answer's end.
        priority: larger is more urgent; added to what ``priorities`` draws.
        stream: whether chat answers are streamed; None is what the configuration says.
        prompt_tokens: distribution of the tokens of a prompt or a text; None likewise.
        output_tokens: distribution of the most tokens asked for; None likewise.
        batch: distribution of the texts of one embedding request; None likewise.
    """

    name: str
    share: float = 1.0
    traffic: TrafficClass = TrafficClass.CHAT
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    e2e_ms: float | None = None
    priority: int = 0
    stream: bool | None = None
    prompt_tokens: str | None = None
    output_tokens: str | None = None
    batch: str | None = None

    @property
    def slo(self) -> SLO | None:
        """Its limits as the scheduler has them, in seconds; None where it asks for nothing."""
        limits = (self.ttft_ms, self.tpot_ms, self.e2e_ms)
        if all(limit is None for limit in limits):
            return None
        return SLO(*(None if limit is None else limit / 1000 for limit in limits))

    def validate(self) -> None:
        """Raise ConfigError, saying which value is wrong and what it may be."""
        if not self.name or self.name == ALL:
            raise ConfigError(f"a class is named {self.name!r}; give it a name other than {ALL!r}")
        where = f"class {self.name}"
        if not (math.isfinite(self.share) and self.share >= 0):
            raise ConfigError(f"{where}: share is {self.share}; it must be at least 0")
        for key in ("ttft_ms", "tpot_ms", "e2e_ms"):
            limit = getattr(self, key)
            if limit is not None and not (math.isfinite(limit) and limit > 0):
                raise ConfigError(f"{where}: {key} is {limit}; it must be a positive number")
        for key in ("prompt_tokens", "output_tokens", "batch"):
            if (text := getattr(self, key)) is not None:
                parse_lengths(text, f"{where}, {key}")
        self._check_traffic(where)

    def _check_traffic(self, where: str) -> None:
        for key in _NOT_OF[self.traffic]:
            if getattr(self, key) is not None:
                raise ConfigError(f"{where}: {key} has no meaning for {self.traffic} requests")


INTERACTIVE_AND_BULK = (
    RequestClass(name="interactive", share=0.7, ttft_ms=1000.0, tpot_ms=50.0),
    RequestClass(name="bulk", share=0.3, ttft_ms=20_000.0, tpot_ms=200.0),
)
"""Chat that someone waits for and chat that nobody does, as the policies here are judged by."""


def check_classes(classes: Sequence[RequestClass]) -> None:
    """Raise ConfigError for a wrong class, a name that two have, or shares that are all 0."""
    for one in classes:
        one.validate()
    names = [one.name for one in classes]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"two classes are named {twice!r}; each needs a name of its own")
    if classes and not any(one.share for one in classes):
        raise ConfigError("the classes' shares are all 0; give at least one of them more")


def parse_class(text: str) -> RequestClass:
    """Read ``NAME:KEY=VALUE,…``, such as ``chat:share=0.7,ttft_ms=1000``.

    Raises:
        ConfigError: not of that form, or a value that cannot be read.
        UnknownKeyError: a key that a class does not have.
    """
    name, _, rest = text.partition(":")
    where = f"class {name}"
    readers = {item.name: _READERS.get(item.name, _number) for item in fields(RequestClass)}
    del readers["name"]
    values: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in rest.split(","))):
        key, equals, value = part.partition("=")
        if not equals:
            raise ConfigError(f"{where}: {part!r} is not KEY=VALUE, such as share=0.7")
        if key not in readers:
            raise UnknownKeyError(key, readers, where=where)
        try:
            values[key] = readers[key](value)
        except ValueError:
            raise ConfigError(f"{where}: {key} cannot be {value!r}") from None
    found = RequestClass(name=name.strip(), **values)
    found.validate()
    return found


def _number(text: str) -> float:
    return float(text)


def _switch(text: str) -> bool:
    try:
        return {"true": True, "false": False}[text.lower()]
    except KeyError:
        raise ValueError(text) from None


_READERS: dict[str, Any] = {
    "traffic": TrafficClass,
    "priority": int,
    "stream": _switch,
    "prompt_tokens": str,
    "output_tokens": str,
    "batch": str,
}

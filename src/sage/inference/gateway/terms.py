"""What a client asks of its request's service: how urgent it is, and by when."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from sage.inference.gateway.errors import ApiError
from sage.inference.scheduling.request import Priority
from sage.inference.scheduling.slo import SLO

CLASSES = ("high", "low", "llm", "embedding")
"""Request classes, which metrics are told apart by and which may have objectives."""

_MOST = 1000
_LONGEST_MS = 86_400_000.0
_FIELDS = {
    b"x-slo-ttft-ms": "ttft_s",
    b"x-slo-tpot-ms": "tpot_s",
    b"x-slo-deadline-ms": "deadline_s",
}

TERM_HEADERS = frozenset({*_FIELDS, b"x-request-priority"})
"""The headers that carry terms; they are meant for the gateway and go no further."""


@dataclass(frozen=True, slots=True)
class Terms:
    """A request's terms.

    Attributes:
        priority: greater is more urgent; 0 is normal.
        slo: its objectives, if it has any.
    """

    priority: int = 0
    slo: SLO | None = None

    @property
    def cls(self) -> str:
        """``high`` or ``low``; empty for normal, whose class is its kind."""
        if self.priority == 0:
            return ""
        return "high" if self.priority > 0 else "low"


NO_TERMS = Terms()


@functools.lru_cache(maxsize=256)
def read_terms(headers: tuple[tuple[bytes, bytes], ...]) -> Terms:
    """Read the headers of TERM_HEADERS that a client sent.

    Raises:
        ApiError: 400, naming the header whose value cannot be used.
    """
    priority = 0
    times: dict[str, float] = {}
    for name, value in headers:
        if name == b"x-request-priority":
            priority = _priority(value)
        else:
            times[_FIELDS[name]] = _seconds(name, value)
    return Terms(priority, SLO(**times) if times else None)


def _priority(value: bytes) -> int:
    text = value.decode("latin-1").strip().upper()
    if text in Priority.__members__:
        return Priority[text].value
    try:
        number = int(text)
    except ValueError:
        number = _MOST + 1
    if abs(number) > _MOST:
        raise _invalid(
            b"x-request-priority", f"HIGH, NORMAL, LOW or a whole number up to ±{_MOST}", value
        )
    return number


def _seconds(name: bytes, value: bytes) -> float:
    try:
        milliseconds = float(value)
    except ValueError:
        milliseconds = math.nan
    if not 0 < milliseconds <= _LONGEST_MS:
        raise _invalid(name, f"milliseconds, above 0 and at most {_LONGEST_MS:.0f}", value)
    return milliseconds / 1000


def _invalid(name: bytes, wanted: str, value: bytes) -> ApiError:
    shown = "-".join(
        part.upper() if part in ("slo", "ttft", "tpot") else part.title()
        for part in name.decode().split("-")
    ).replace("-MS", "-Ms")
    got = value.decode("latin-1")[:40]
    return ApiError(
        400, f"header {shown} must be {wanted}, not {got!r}", param=shown, code="invalid_header"
    )

"""Which requests kept to what their own class asks for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sage.benchmark.exchange import Exchange
from sage.benchmark.simulate.terms import TermsOf
from sage.benchmark.summary import e2e_ms, tpot_ms, ttft_ms
from sage.inference.scheduling.slo import SLO


@dataclass(slots=True)
class ClassAttainment:
    """How many of a class's requests there were, and how many were answered within their SLO."""

    issued: int = 0
    met: int = 0

    @property
    def share(self) -> float:
        """Those that met it, of all issued; failures, timeouts and rejections are misses."""
        return self.met / self.issued if self.issued else 0.0


def by_class(exchanges: Iterable[Exchange], terms: TermsOf) -> dict[str, ClassAttainment]:
    """Return attainment by class, each request judged by the SLO of its own terms.

    Args:
        exchanges: as `Simulation.run` gives them.
        terms: those the simulation had.

    Returns:
        By name, in order of first occurrence; classes without one go by their traffic.
    """
    found: dict[str, ClassAttainment] = {}
    for exchange in exchanges:
        own = terms(exchange.request)
        figures = found.setdefault(own.cls or exchange.request.traffic.value, ClassAttainment())
        figures.issued += 1
        figures.met += exchange.failure is None and keeps_to(exchange, own.slo)
    return found


def keeps_to(exchange: Exchange, slo: SLO | None) -> bool:
    """Whether a good answer came within the SLO, measured at the client."""
    if slo is None:
        return True
    e2e = e2e_ms(exchange) / 1000
    first = ttft_ms(exchange) / 1000 if exchange.token_times else e2e
    pace = tpot_ms(exchange)
    return not (
        (slo.ttft_s is not None and first > slo.ttft_s)
        or (slo.tpot_s is not None and pace is not None and pace / 1000 > slo.tpot_s)
        or (slo.deadline_s is not None and e2e > slo.deadline_s)
    )

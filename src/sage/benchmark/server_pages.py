"""What servers say of a run themselves, on their ``/metrics`` pages."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx2

from sage.benchmark.exposition import Change, Page, change, read_page
from sage.benchmark.target import Found

_TIMEOUT_S = 5.0
_MOST_AT_ONCE = 16
_TARGET = "target"


@dataclass(frozen=True, slots=True)
class ServerReport:
    """One server's own account of a run.

    Attributes:
        name: ``target`` for what was measured, else the id of an instance behind it.
        url: of the page.
        change: of its figures from the run's begin to its end; None where they are not known.
        problem: why not; empty when they are.
    """

    name: str
    url: str
    change: Change | None = None
    problem: str = ""


class ServerPages:
    """Looks at the pages of the target and of the engines it lists.

    Each engine is asked itself, without a key; one that cannot be reached from here, such as one
    behind a gateway on another machine, has a problem instead of figures.

    Args:
        found: the target.
    """

    def __init__(self, found: Found) -> None:
        self._found = found
        self._before: dict[tuple[str, str], Page | str] = {}

    def begin(self) -> None:
        """Look, before the run."""
        self._before = self._look()

    def end(self) -> list[ServerReport]:
        """Look again, after the run, and return what happened, the target first."""
        after = self._look()
        return [_report(at, self._before.get(at, Page()), page) for at, page in after.items()]

    def _look(self) -> dict[tuple[str, str], Page | str]:
        key = self._found.api_key
        headers = {"authorization": f"Bearer {key}"} if key else {}
        with (
            httpx2.Client(timeout=_TIMEOUT_S, trust_env=False) as client,
            ThreadPoolExecutor(_MOST_AT_ONCE) as pool,
        ):
            places = {(_TARGET, f"{self._found.url}/metrics"): headers}
            places |= {at: {} for at in _instances(client, self._found.url, headers)}
            pages = pool.map(lambda at: _page(client, at[1], places[at]), places)
            return dict(zip(places, pages, strict=True))


def _instances(
    client: httpx2.Client, url: str, headers: Mapping[str, str]
) -> list[tuple[str, str]]:
    """An engine that is asked by itself, or a gateway that shows nobody, lists none."""
    try:
        answer = client.get(f"{url}/v1/management/instances", headers=headers)
        listed = answer.json()["instances"] if answer.is_success else []
        return [(str(one["id"]), f"{str(one['url']).rstrip('/')}/metrics") for one in listed]
    except (httpx2.HTTPError, ValueError, KeyError, TypeError):
        return []


def _page(client: httpx2.Client, url: str, headers: Mapping[str, str]) -> Page | str:
    """Return the page, or why there is none."""
    try:
        answer = client.get(url, headers=headers)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        return f"does not answer: {type(error).__name__}: {error}"
    if not answer.is_success:
        return f"answers {answer.status_code}"
    return read_page(answer.text)


def _report(at: tuple[str, str], before: Page | str, after: Page | str) -> ServerReport:
    name, url = at
    for page in (after, before):
        if isinstance(page, str):
            return ServerReport(name, url, problem=page)
    assert isinstance(before, Page)
    assert isinstance(after, Page)
    return ServerReport(name, url, change(before, after))

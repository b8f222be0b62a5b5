"""Looking after the instances' health, by asking them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, fields

import msgspec

from sage.errors import ConfigError, UpstreamError
from sage.inference.gateway.backend import Backend
from sage.inference.gateway.errors import ConnectFailedError
from sage.inference.gateway.response import UpstreamResponse

logger = logging.getLogger("sage.gateway")

_MAX_ANSWER = 4 * 2**20


@dataclass(frozen=True, slots=True)
class ProbeRule:
    """How instances are probed; every value is above zero.

    Attributes:
        interval: seconds between two looks at an instance that is up.
        timeout: seconds an answer may take.
        misses: unanswered looks in a row after which an instance is down; one that cannot be
            connected to is down at the first.
        first_retry: seconds until the next look at an instance that has gone down.
        longest_retry: bound on that time, which grows by half with each look.
    """

    interval: float = 5.0
    timeout: float = 5.0
    misses: int = 3
    first_retry: float = 0.5
    longest_retry: float = 15.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not value > 0:
                raise ConfigError(f"probe {item.name} is {value}; it must be above 0")


class ProbeState:
    """What the looks at one instance add up to; pure, and seeded.

    Args:
        rule: how often and how patiently.
        seed: of the jitter, which keeps the looks at several instances apart.
    """

    def __init__(self, rule: ProbeRule, seed: int) -> None:
        self._rule = rule
        self._random = random.Random(seed)  # noqa: S311 - jitter, not a secret
        self._misses = 0
        self._retry = rule.first_retry
        self.up = False

    def answered(self) -> float:
        """The instance is well; return seconds until the next look."""
        self.up = True
        self._misses = 0
        self._retry = self._rule.first_retry
        return self._jittered(self._rule.interval)

    def missed(self, *, sure: bool) -> float:
        """It is not well; return seconds until the next look.

        Args:
            sure: it is not there or says so itself; otherwise it may only be busy.
        """
        self._misses += 1
        if self.up and not sure and self._misses < self._rule.misses:
            return self._jittered(self._rule.first_retry)
        self.up = False
        delay = self._retry
        self._retry = min(self._retry * 1.5, self._rule.longest_retry)
        return self._jittered(delay)

    def _jittered(self, seconds: float) -> float:
        return seconds * (0.9 + 0.2 * self._random.random())


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look showed: ``problem`` is empty when the instance is well."""

    problem: str = ""
    sure: bool = True


async def look(backend: Backend, seconds: float) -> Finding:
    """Ask an instance how it is.

    200 from ``/health`` is well, and 5xx is not. A server without that route (remote ones) is
    well when it lists its models.
    """
    try:
        async with asyncio.timeout(seconds):
            status, _ = await fetch(backend, b"/health")
            if status in (401, 403, 404, 405, 501):
                return _listed(backend, *await fetch(backend, b"/v1/models"))
    except TimeoutError:
        return Finding(f"it did not answer a health probe in {seconds:.3g} s", sure=False)
    except ConnectFailedError as error:
        return Finding(str(error))
    except UpstreamError as error:
        return Finding(f"it broke off a health probe: {error}")
    return Finding() if status == 200 else Finding(f"/health answers {status}")


def _listed(backend: Backend, status: int, body: bytes) -> Finding:
    if status in (401, 403):
        return Finding(f"it refuses the API key with {status}")
    if status != 200:
        return Finding(f"/health is not there and /v1/models answers {status}")
    names = _model_names(body)
    missing = [model for model in backend.spec.models if model not in names]
    if names and missing:
        known = ", ".join(sorted(names)[:8])
        return Finding(f"it does not serve {missing[0]!r}; it lists: {known}")
    return Finding()


def _model_names(body: bytes) -> set[str]:
    try:
        answer = msgspec.json.decode(body)
        return {item["id"] for item in answer["data"]}
    except (msgspec.DecodeError, KeyError, TypeError):
        return set()


async def fetch(backend: Backend, target: bytes) -> tuple[int, bytes]:
    """Return status and body of a page of an instance, up to 4 MiB.

    Raises:
        ConnectFailedError, UpstreamError: it cannot be reached, or breaks off.
    """
    response = await backend.upstream.request(backend.get_head(target))
    try:
        return response.status, await _body(response)
    finally:
        response.abort()


async def _body(response: UpstreamResponse) -> bytes:
    body = b""
    while data := await response.read():
        body += data
        if len(body) > _MAX_ANSWER:
            break
    return body


class Prober:
    """A task for each instance that looks at it again and again.

    Args:
        rule: how often and how patiently.
        on_up: called with the id when an instance is found well after it was not.
        on_down: called with the id and the reason when it is found unwell after it was well.
    """

    def __init__(
        self,
        rule: ProbeRule,
        *,
        on_up: Callable[[str], None],
        on_down: Callable[[str, str], None],
    ) -> None:
        self._rule = rule
        self._on_up = on_up
        self._on_down = on_down
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._states: dict[str, ProbeState] = {}
        self._first_looks: dict[str, asyncio.Event] = {}
        self._seed = 0

    def watch(self, backend: Backend) -> None:
        """Start looking at an instance, which counts as down until it is found well."""
        self._seed += 1
        self._first_looks[backend.id] = asyncio.Event()
        self._states[backend.id] = ProbeState(self._rule, self._seed)
        self._tasks[backend.id] = asyncio.create_task(self._watch(backend))

    def forget(self, instance_id: str) -> None:
        """Stop looking at it."""
        task = self._tasks.pop(instance_id, None)
        if task is not None:
            self._first_looks.pop(instance_id).set()
            del self._states[instance_id]
            task.cancel()

    async def looked(self, seconds: float) -> None:
        """Wait until every instance has been looked at once, or the seconds are over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for event in list(self._first_looks.values()):
                    await event.wait()

    async def aclose(self) -> None:
        """Stop all looks."""
        tasks = list(self._tasks.values())
        for instance_id in list(self._tasks):
            self.forget(instance_id)
        await asyncio.gather(*tasks, return_exceptions=True)

    def note(self, instance_id: str, finding: Finding) -> float:
        """Take in what a look showed; return seconds until the next."""
        state, first = self._states[instance_id], self._first_looks[instance_id]
        was_up = state.up
        well = not finding.problem
        delay = state.answered() if well else state.missed(sure=finding.sure)
        if state.up and not was_up:
            logger.info("instance %s is up", instance_id)
            self._on_up(instance_id)
        elif not state.up and (was_up or not first.is_set()):
            logger.warning("instance %s is down: %s", instance_id, finding.problem)
            self._on_down(instance_id, finding.problem)
        first.set()
        return delay

    async def _watch(self, backend: Backend) -> None:
        while True:
            finding = await look(backend, self._rule.timeout)
            await asyncio.sleep(self.note(backend.id, finding))

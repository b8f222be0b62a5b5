"""Finding servers: local, then what ``.env`` or the environment names, then the cloud.

``plan`` says where to look, ``judge`` says what a look means, ``detect`` joins them as a flow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sage.config.ports import SagePorts
from sage.errors import ConfigError
from sage.inference.client.calls import Endpoint, base_url, is_loopback
from sage.inference.client.config import ClientConfig
from sage.inference.client.flow import Flow, Gather
from sage.inference.client.health import Health, look, look_timeout_s
from sage.inference.client.target import Attempt, Target
from sage.inference.scheduling.request import Kind

if TYPE_CHECKING:
    from sage.config.settings import Settings

CLOUD_URL = "https://api.openai.com/v1"

_LLM_PORTS = (
    SagePorts.LLM_DEFAULT,
    SagePorts.LLM_SECONDARY,
    SagePorts.LLM_WSL_FALLBACK,
    SagePorts.LLM_WSL_SECONDARY,
)
_EMBEDDING_PORTS = (SagePorts.EMBEDDING_DEFAULT, SagePorts.EMBEDDING_SECONDARY)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A place where a server may be.

    Attributes:
        endpoint: the place; ``None`` when nothing names it, which ``note`` explains.
        kinds: what it may answer.
        source: what kind of place it is.
        model: the model that the same source names for it.
        note: why it is not even looked at, or what speaks for it.
        unmarked: the kinds for which a model without a kind mark counts.
        must_list: it is only taken when it lists the model asked for.
    """

    place: str
    endpoint: Endpoint | None
    kinds: tuple[Kind, ...]
    source: str
    model: str | None = None
    note: str = ""
    unmarked: tuple[Kind, ...] = ()
    must_list: bool = True


def plan(config: ClientConfig, settings: Settings) -> list[list[Candidate]]:
    """The places to look at, in tiers; a tier is looked at side by side, and in order judged.

    Later tiers are only looked at for what earlier ones did not give, so no key goes to a cloud
    that is not needed.
    """
    local = _local(config, settings)
    further = [_named(config, settings), _cloud(config, settings)]
    return [local, *further] if config.prefer_local else [*further, local]


def _local(config: ClientConfig, settings: Settings) -> list[Candidate]:
    def at(port: int, kinds: tuple[Kind, ...], unmarked: Kind, source: str) -> Candidate:
        # The literal address: "localhost" may be IPv6 first, where nothing listens.
        url = f"http://127.0.0.1:{port}/v1"
        return Candidate(url, Endpoint(url, config.api_key), kinds, source, unmarked=(unmarked,))

    gateway = settings.gateway_port or SagePorts.GATEWAY_DEFAULT
    llm = (settings.llm_port,) if settings.llm_port else _LLM_PORTS
    embedding = (settings.embedding_port,) if settings.embedding_port else _EMBEDDING_PORTS
    both = (Kind.LLM, Kind.EMBEDDING)
    return [
        at(gateway, both, Kind.LLM, "local gateway"),
        *(at(port, (Kind.LLM,), Kind.LLM, "local engine") for port in llm),
        *(at(port, (Kind.EMBEDDING,), Kind.EMBEDDING, "local engine") for port in embedding),
    ]


def _named(config: ClientConfig, settings: Settings) -> list[Candidate]:
    rows = (
        (
            Kind.LLM,
            "SAGE_CHAT_BASE_URL",
            settings.chat_base_url,
            settings.chat_model,
            settings.chat_api_key,
        ),
        (
            Kind.EMBEDDING,
            "SAGE_EMBEDDING_BASE_URL",
            settings.embedding_base_url,
            settings.embedding_model,
            settings.embedding_api_key,
        ),
    )
    found = []
    for kind, variable, url, model, key in rows:
        source = "environment or .env"
        if not url:
            found.append(Candidate(variable, None, (kind,), source, note="not set"))
            continue
        endpoint = Endpoint(_checked(variable, url), config.api_key or key or None)
        found.append(
            Candidate(
                endpoint.url,
                endpoint,
                (kind,),
                source,
                model=model or None,
                note=f"{variable} names it",
                unmarked=(kind,),
                must_list=False,
            )
        )
    return found


def _cloud(config: ClientConfig, settings: Settings) -> list[Candidate]:
    rows = (
        (Kind.LLM, settings.chat_base_url, settings.chat_model, "SAGE_CHAT_MODEL", None),
        (
            Kind.EMBEDDING,
            settings.embedding_base_url,
            settings.embedding_model,
            "SAGE_EMBEDDING_MODEL",
            settings.embedding_api_key,
        ),
    )
    found = []
    for kind, named_url, model, variable, own_key in rows:
        if named_url and not is_loopback(named_url):
            continue  # that is the cloud endpoint, and it was looked at under its own name
        key = config.api_key or own_key or settings.chat_api_key
        wanted = _wanted(config, kind) or model or None
        if not key:
            note = "SAGE_CHAT_API_KEY is not set"
        elif not wanted:
            note = f"no model is named; set {variable}"
        else:
            note = ""
        endpoint = None if note else Endpoint(CLOUD_URL, key)
        note = note or "SAGE_CHAT_API_KEY or api_key is set"
        found.append(
            Candidate(CLOUD_URL, endpoint, (kind,), "cloud", wanted, note, unmarked=(kind,))
        )
    return found


def _checked(variable: str, url: str) -> str:
    try:
        return base_url(url)
    except ConfigError as error:
        raise ConfigError(f"{variable}: {error}") from error


def _wanted(config: ClientConfig, kind: Kind) -> str | None:
    return config.default_llm_model if kind is Kind.LLM else config.default_embedding_model


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a place is taken for a kind, why, and the model it then is asked for."""

    taken: bool
    why: str
    model: str | None = None


def judge(candidate: Candidate, health: Health, kind: Kind, wanted: str | None) -> Verdict:
    """Decide on one place for one kind.

    Args:
        candidate: the place.
        health: what the look at it showed.
        kind: the kind that needs a server.
        wanted: the model the client was told to use by default, if any.
    """
    named = wanted or candidate.model
    if not candidate.must_list and named and health.status in (404, 405):
        return Verdict(True, f"{candidate.note}; it lists no models, the model is named", named)
    if health.problem is not None:
        return Verdict(False, health.problem)
    if health.up_kinds is not None and kind not in health.up_kinds:
        return Verdict(False, f"no {kind} instance is up behind it")
    offered = health.serves(kind, unmarked=kind in candidate.unmarked)
    if not offered:
        listed = ", ".join(model.id for model in health.models or ()) or "nothing"
        return Verdict(False, f"serves no {kind} model (it serves {listed})")
    if named and named not in offered and candidate.must_list:
        return Verdict(False, f"serves {', '.join(offered[:5])}, not {named}")
    note = f"{candidate.note}; " if candidate.note else ""
    return Verdict(True, f"{note}the first place that answered, {candidate.source}", named)


def detect(
    config: ClientConfig, settings: Settings, clock: Callable[[], float]
) -> Flow[dict[Kind, Target]]:
    """Look for a server for each kind; a kind without one gets a target without an endpoint."""
    found: dict[Kind, Target] = {}
    tried: dict[Kind, list[Attempt]] = {kind: [] for kind in Kind}
    for tier in plan(config, settings):
        needed = [place for place in tier if any(kind not in found for kind in place.kinds)]
        looks = yield from _look_at(needed, clock)
        for place, health in zip(needed, looks, strict=True):
            for kind in place.kinds:
                if kind not in found:
                    verdict = judge(place, health, kind, _wanted(config, kind))
                    tried[kind].append(Attempt(place.place, place.source, verdict.why))
                    if verdict.taken:
                        model = verdict.model or _named_model(place, kind, settings, health)
                        found[kind] = Target(
                            kind,
                            place.endpoint,
                            model,
                            place.source,
                            verdict.why,
                            tuple(tried[kind]),
                        )
    for kind in Kind:
        if kind not in found:
            found[kind] = Target(kind, None, None, "none", "nothing answered", tuple(tried[kind]))
    return found


def _look_at(places: Sequence[Candidate], clock: Callable[[], float]) -> Flow[list[Health]]:
    real = [place for place in places if place.endpoint is not None]
    outcomes = yield Gather(
        [
            look(place.endpoint, look_timeout_s(place.endpoint.url), clock)
            for place in real
            if place.endpoint
        ],
        limit=max(1, len(real)),
    )
    by_place = dict(zip(real, outcomes, strict=True))
    return [by_place.get(place) or Health(problem=place.note) for place in places]


def _named_model(place: Candidate, kind: Kind, settings: Settings, health: Health) -> str | None:
    # A server may serve several models; the one that the settings name is meant.
    named = settings.chat_model if kind is Kind.LLM else settings.embedding_model
    return named if named in health.serves(kind, unmarked=kind in place.unmarked) else None

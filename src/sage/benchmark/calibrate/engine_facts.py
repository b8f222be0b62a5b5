"""What an engine says of itself: which it is, and how much it holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import httpx2

from sage.benchmark.simulate.profile import Capacity
from sage.benchmark.target import Found

_TIMEOUT_S = 10.0
_CACHE = re.compile(r"^vllm:cache_config_info\{(.*)\}", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_VLLM = {"block_size": 16, "max_num_seqs": 256, "max_num_batched_tokens": 2048}
_LLAMA_CPP = {"block_size": 1, "max_num_batched_tokens": 2048}
_ANY = {**_VLLM, "max_model_len": 4096}


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """What is known of an engine before it is measured.

    Attributes:
        name: ``llama.cpp``, ``vllm`` or ``unknown``.
        version: as it says; empty when it does not.
        capacity: its limits.
        assumed: names of the limits that it does not tell and nobody gave.
    """

    name: str
    version: str
    capacity: Capacity
    assumed: tuple[str, ...]

    @property
    def preempts(self) -> bool:
        """Whether a request starts over when the KV cache is full."""
        return self.name != "llama.cpp"


def read_facts(found: Found, given: Mapping[str, int]) -> EngineFacts:
    """Ask an engine on its routes, which need not exist.

    Args:
        found: the engine.
        given: limits that the user knows better, by `Capacity`'s names; ``kv_tokens`` is what the
            cache holds.

    Raises:
        ConfigError: limits that contradict each other.
    """
    headers = {"authorization": f"Bearer {found.api_key}"} if found.api_key else {}
    with httpx2.Client(
        base_url=found.url, headers=headers, timeout=_TIMEOUT_S, trust_env=False
    ) as client:
        props = _json(client, "/props")
        cache = _CACHE.search(_text(client, "/metrics"))
        card = _card(client, found.models.chat)
        if "total_slots" in props:
            name, usual, told = "llama.cpp", _LLAMA_CPP, _of_llama_cpp(props)
            version = str(props.get("build_info", ""))
        elif cache is not None:
            name, usual, told = "vllm", _VLLM, _of_vllm(dict(_LABEL.findall(cache[1])))
            version = str(_json(client, "/version").get("version", ""))
        else:
            name, usual, told, version = "unknown", _ANY, {}, ""
    length = card.get("max_model_len")
    if isinstance(length, int):
        told["max_model_len"] = length
    capacity, assumed = _capacity(usual, told, given)
    return EngineFacts(name=name, version=version, capacity=capacity, assumed=assumed)


def _capacity(
    usual: Mapping[str, int], told: Mapping[str, int], given: Mapping[str, int]
) -> tuple[Capacity, tuple[str, ...]]:
    """Put together what is given, told and usual; the first that there is holds."""
    values = {**usual, **told, **given}
    assumed = {name for name in usual if name not in told and name not in given}
    tokens = values.pop("kv_tokens", None)
    if tokens is not None:
        values["num_gpu_blocks"] = max(1, tokens // values["block_size"])
    elif "num_gpu_blocks" not in values:
        # As if every request could be as long as the engine allows.
        whole = values["max_num_seqs"] * values["max_model_len"]
        values["num_gpu_blocks"] = max(1, whole // values["block_size"])
        assumed.add("num_gpu_blocks")
    known = {item.name for item in fields(Capacity)}
    capacity = Capacity(**{name: value for name, value in values.items() if name in known})
    return capacity, tuple(sorted(assumed))


def _of_llama_cpp(props: Mapping[str, Any]) -> dict[str, int]:
    told = {"max_num_seqs": int(props["total_slots"])}
    settings = props.get("default_generation_settings")
    length = settings.get("n_ctx") if isinstance(settings, dict) else None
    if isinstance(length, int) and length > 0:
        told["max_model_len"] = length
    return told


def _of_vllm(labels: Mapping[str, str]) -> dict[str, int]:
    names = ("num_gpu_blocks", "block_size")
    return {name: int(labels[name]) for name in names if labels.get(name, "").isdigit()}


def _card(client: httpx2.Client, model: str | None) -> Mapping[str, Any]:
    listed = _json(client, "/v1/models").get("data")
    for card in listed if isinstance(listed, list) else ():
        if isinstance(card, dict) and card.get("id") == model:
            return card
    return {}


def _json(client: httpx2.Client, path: str) -> dict[str, Any]:
    try:
        answer = client.get(path)
        data = answer.json() if answer.is_success else None
    except (httpx2.HTTPError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _text(client: httpx2.Client, path: str) -> str:
    try:
        answer = client.get(path)
    except httpx2.HTTPError:
        return ""
    return answer.text if answer.is_success else ""

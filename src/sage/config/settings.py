"""The one place that reads the process environment and `.env`.

The process environment wins over `.env`, also inside ``${…}``. An empty value is an unset one.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sage.config.dotenv import find_dotenv, read_dotenv
from sage.errors import ConfigError, nearest

logger = logging.getLogger("sage.config")

_warned: set[str] = set()


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65535:
        raise ValueError
    return port


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError
    return text.rstrip("/")


def _region(text: str) -> str:
    if text.lower() not in {"china", "global"}:
        raise ValueError
    return text.lower()


def _level(text: str) -> str:
    if text.upper() not in logging.getLevelNamesMapping():
        raise ValueError
    return text.upper()


def _setting(
    variable: str,
    doc: str,
    parse: Callable[[str], Any] = str,
    expected: str = "text",
    *,
    secret: bool = False,
) -> Any:
    """Declare one setting: the variable it comes from, what it means, how it is read."""
    meta = {
        "variable": variable,
        "doc": doc,
        "parse": parse,
        "expected": expected,
        "secret": secret,
    }
    return field(default=None, repr=not secret, metadata=meta)


def _port_setting(variable: str, doc: str) -> Any:
    return _setting(variable, doc, _port, "a port from 1 to 65535")


def _url_setting(variable: str, doc: str) -> Any:
    return _setting(variable, doc, _url, "a URL that begins with http:// or https://")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says; None is unset. Secrets stay out of the repr."""

    gateway_port: int | None = _port_setting("SAGE_GATEWAY_PORT", "the gateway's port")
    llm_port: int | None = _port_setting("SAGE_LLM_PORT", "the first LLM engine's port")
    embedding_port: int | None = _port_setting("SAGE_EMBEDDING_PORT", "the embedding engine's port")
    chat_base_url: str | None = _url_setting(
        "SAGE_CHAT_BASE_URL", "an OpenAI-compatible endpoint for chat, with its /v1"
    )
    chat_model: str | None = _setting("SAGE_CHAT_MODEL", "the chat model's name there")
    chat_api_key: str | None = _setting(
        "SAGE_CHAT_API_KEY",
        "its key; set, it allows the cloud as the last resort",
        secret=True,
    )
    embedding_base_url: str | None = _url_setting(
        "SAGE_EMBEDDING_BASE_URL", "an OpenAI-compatible endpoint for embeddings"
    )
    embedding_model: str | None = _setting(
        "SAGE_EMBEDDING_MODEL", "the embedding model's name there"
    )
    embedding_api_key: str | None = _setting("SAGE_EMBEDDING_API_KEY", "its key", secret=True)
    hf_token: str | None = _setting("HF_TOKEN", "token for the model hub", secret=True)
    hf_endpoint: str | None = _url_setting(
        "HF_ENDPOINT", "the model hub or a mirror of it; never changed when set"
    )
    network_region: str | None = _setting(
        "SAGE_NETWORK_REGION",
        "says where this machine is, instead of probing",
        _region,
        "china or global",
    )
    home: str | None = _setting(
        "SAGE_HOME", "folder for models, state, logs and cache", expected="a folder"
    )
    models_dir: str | None = _setting(
        "SAGE_MODELS_DIR", "folder for the models alone", expected="a folder"
    )
    vllm_python: str | None = _setting(
        "SAGE_VLLM_PYTHON",
        "the interpreter of an environment that has vLLM, when it is not this one",
        expected="a path",
    )
    log_level: str | None = _setting(
        "SAGE_LOG_LEVEL", "least level of log lines shown", _level, "DEBUG, INFO, WARNING or ERROR"
    )


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One line of the settings' documentation."""

    variable: str
    expected: str
    doc: str


def describe_settings() -> list[SettingRow]:
    """Return every variable that SAGE reads, for documentation."""
    return [
        SettingRow(
            item.metadata["variable"],
            "a secret" if item.metadata["secret"] else item.metadata["expected"],
            item.metadata["doc"],
        )
        for item in dataclasses.fields(Settings)
    ]


def load_settings(environ: Mapping[str, str] | None = None, dotenv: Path | None = None) -> Settings:
    """Read the settings.

    Args:
        environ: the environment; the process's own by default.
        dotenv: the `.env` file; by default the one in the current folder or in a parent up to
            the project's root. A file that is named must exist.

    Raises:
        ConfigError: a value of the wrong kind (with the variable, the value unless it is secret,
            and where it came from), or a line of `.env` that cannot be read.
    """
    environ = os.environ if environ is None else environ
    path = dotenv or find_dotenv(Path.cwd())
    from_file = read_dotenv(path, environ) if path else {}
    values = {**from_file, **environ}
    _warn_of_unknown(
        {name: str(path) for name in from_file} | dict.fromkeys(environ, "environment")
    )
    found = {}
    for item in dataclasses.fields(Settings):
        text = values.get(item.metadata["variable"], "").strip()
        if text:
            where = "the environment" if item.metadata["variable"] in environ else str(path)
            found[item.name] = _parse(item.metadata, text, where)
    return Settings(**found)


def _parse(meta: Mapping[str, Any], text: str, where: str) -> Any:
    try:
        return meta["parse"](text)
    except ValueError:
        shown = "the value" if meta["secret"] else repr(text)
        raise ConfigError(
            f"{meta['variable']} in {where}: {shown} is not {meta['expected']}"
        ) from None


def _variables() -> Iterator[str]:
    return (item.metadata["variable"] for item in dataclasses.fields(Settings))


def _warn_of_unknown(origins: Mapping[str, str]) -> None:
    """Warn once of each SAGE_ name that nothing reads; a typing error would else be silent."""
    known = set(_variables())
    for name, origin in origins.items():
        if name.startswith("SAGE_") and name not in known and name not in _warned:
            _warned.add(name)
            close = nearest(name, known)
            hint = f"did you mean {close}?" if close else "see docs/settings.md"
            logger.warning("%s sets %s, which SAGE does not read; %s", origin, name, hint)

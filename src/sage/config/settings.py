"""The one place that reads the process environment and `.env`.

The process environment wins over `.env`, also inside ``${…}``. An empty value is an unset one in
both, so an empty variable in the environment leaves the one in `.env` standing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sage.config.dotenv import find_dotenv, read_dotenv
from sage.errors import ConfigError, nearest

logger = logging.getLogger("sage.config")

CUDA_VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"

_warned: set[str] = set()


def _port(text: str) -> int:
    # int() alone would take "8_001", "+8001" and digits of other scripts.
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text[:6]) <= 65535:
        raise ValueError
    return int(text)


def _url(text: str) -> str:
    parts = urlsplit(text)
    whole = parts.scheme in {"http", "https"} and parts.hostname and not parts.netloc.endswith(":")
    if not whole or parts.port == 0 or not text.isprintable() or " " in text:
        raise ValueError
    return text.rstrip("/")


def _folder(text: str) -> str:
    if "\0" in text:
        raise ValueError
    return text


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
    default: str = "none",
    secret: bool = False,
) -> Any:
    """Declare one setting: the variable it comes from, what it means, how it is read.

    ``default`` says what holds when it is unset, for the documentation.
    """
    meta = {
        "variable": variable,
        "doc": doc,
        "parse": parse,
        "expected": expected,
        "default": default,
        "secret": secret,
    }
    return field(default=None, repr=not secret, metadata=meta)


def _port_setting(variable: str, doc: str, default: str) -> Any:
    return _setting(variable, doc, _port, "a port from 1 to 65535", default=default)


def _url_setting(variable: str, doc: str, default: str = "none") -> Any:
    expected = "a URL that begins with http:// or https:// and names a host"
    return _setting(variable, doc, _url, expected, default=default)


def _folder_setting(variable: str, doc: str, default: str) -> Any:
    return _setting(variable, doc, _folder, "a folder", default=default)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says; None is unset. Secrets stay out of the repr."""

    gateway_port: int | None = _port_setting("SAGE_GATEWAY_PORT", "the gateway's port", "8000")
    llm_port: int | None = _port_setting(
        "SAGE_LLM_PORT",
        "the first LLM engine's port",
        "8001; on WSL2 8901 or 8902 when that cannot be bound",
    )
    embedding_port: int | None = _port_setting(
        "SAGE_EMBEDDING_PORT", "the embedding engine's port", "8090"
    )
    chat_base_url: str | None = _url_setting(
        "SAGE_CHAT_BASE_URL", "an OpenAI-compatible endpoint for chat, with its /v1"
    )
    chat_model: str | None = _setting("SAGE_CHAT_MODEL", "the chat model's name there")
    chat_api_key: str | None = _setting(
        "SAGE_CHAT_API_KEY", "its key; set, it allows the cloud as the last resort", secret=True
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
        "HF_ENDPOINT",
        "the model hub or a mirror of it; never changed when set",
        "the mirror in mainland China, else the hub itself",
    )
    network_region: str | None = _setting(
        "SAGE_NETWORK_REGION",
        "says where this machine is, instead of finding out",
        _region,
        "china or global",
        default="found out by time zone and, where that leaves it open, a few connections",
    )
    home: str | None = _folder_setting(
        "SAGE_HOME",
        "folder for models, state, logs and cache",
        "the system's place for user data: ~/.local/share/sage on Linux",
    )
    models_dir: str | None = _folder_setting(
        "SAGE_MODELS_DIR", "folder for the models alone", "models in SAGE_HOME"
    )
    vllm_python: str | None = _setting(
        "SAGE_VLLM_PYTHON",
        "the interpreter of an environment that has vLLM, when it is not this one",
        expected="a path",
        default="this interpreter",
    )
    job_manager_token: str | None = _setting(
        "SAGE_JOB_MANAGER_TOKEN",
        "the token of the job manager that pipelines are submitted to",
        default="that of this user's own job manager, if there is one here",
        secret=True,
    )
    log_level: str | None = _setting(
        "SAGE_LOG_LEVEL",
        "least level of log lines shown",
        _level,
        "DEBUG, INFO, WARNING or ERROR",
        default="WARNING",
    )


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One line of the settings' documentation.

    Attributes:
        variable: the name in the environment or `.env`.
        expected: what a value must be.
        default: what holds when it is unset.
        doc: what it means.
    """

    variable: str
    expected: str
    default: str
    doc: str


def describe_settings() -> list[SettingRow]:
    """Return every variable that SAGE reads, for documentation."""
    return [
        SettingRow(
            item.metadata["variable"],
            "a secret" if item.metadata["secret"] else item.metadata["expected"],
            item.metadata["default"],
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
    environ = {name: value for name, value in environ.items() if value.strip()}
    path = dotenv or _dotenv_here()
    from_file = read_dotenv(path, environ) if path else {}
    values = {**from_file, **environ}
    _warn_of_unknown(
        dict.fromkeys(from_file, str(path)) | dict.fromkeys(environ, "the environment")
    )
    found = {}
    for item in dataclasses.fields(Settings):
        text = values.get(item.metadata["variable"], "").strip()
        if text:
            where = "the environment" if item.metadata["variable"] in environ else str(path)
            found[item.name] = _parse(item.metadata, text, where)
    return Settings(**found)


def export(variable: str, value: str) -> None:
    """Set a variable for libraries that read the environment themselves, unless it has a value."""
    if not os.environ.get(variable, "").strip():
        os.environ[variable] = value


@contextlib.contextmanager
def temporarily(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for a library that reads the environment, and put back what was there."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def visible_devices() -> tuple[str, ...] | None:
    """Return the GPUs that ``CUDA_VISIBLE_DEVICES`` names, or None when it is not set.

    As for CUDA, a negative number ends the list.
    """
    text = os.environ.get(CUDA_VISIBLE_DEVICES)
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    return tuple(itertools.takewhile(lambda name: bool(name) and not name.startswith("-"), names))


def set_visible_devices(text: str) -> None:
    """Set ``CUDA_VISIBLE_DEVICES`` for libraries that this process has not loaded yet."""
    os.environ[CUDA_VISIBLE_DEVICES] = text


def _dotenv_here() -> Path | None:
    try:
        return find_dotenv(Path.cwd())
    except OSError:  # the current folder was deleted
        return None


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
            hint = f"did you mean {close}?" if close else f"it reads {', '.join(sorted(known))}"
            logger.warning("%s sets %s, which SAGE does not read; %s", origin, name, hint)

"""A gateway's configuration in a TOML or YAML file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from sage.errors import ConfigError
from sage.inference.gateway.config import UnifiedServerConfig
from sage.inference.gateway.mapping import from_mapping


def load_config(path: Path) -> UnifiedServerConfig:
    """Read a server's configuration; the keys are the fields of UnifiedServerConfig.

    TOML is read by Python itself; YAML needs PyYAML.

    Raises:
        UnknownKeyError: a key that there is not; names the nearest.
        ConfigError: the file cannot be read or holds something else.
    """
    suffix = path.suffix.lower()
    if suffix not in (".toml", ".yaml", ".yml"):
        raise ConfigError(f"{path}: a configuration file ends in .toml, .yaml or .yml")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    values = _toml(text, path) if suffix == ".toml" else _yaml(text, path)
    return from_mapping(UnifiedServerConfig, values or {}, where=str(path))


def _toml(text: str, path: Path) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def _yaml(text: str, path: Path) -> Any:
    try:
        import yaml  # type: ignore[import-untyped] # its stubs are a package of their own
    except ImportError as error:
        raise ConfigError(
            f"{path}: reading YAML needs PyYAML; `pip install pyyaml`, or write TOML"
        ) from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error

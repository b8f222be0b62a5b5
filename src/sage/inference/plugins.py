"""Scheduling policies of other packages, found by their entry points."""

from __future__ import annotations

import logging
from importlib.metadata import entry_points

from sage.errors import ConfigError
from sage.inference.scheduling import policies as _registered  # noqa: F401 - ours come first
from sage.inference.scheduling.policy import policy_descriptions, register_policy

log = logging.getLogger("sage.scheduling")

GROUP = "sage.policies"

_loaded: dict[str, str] = {}


def load_policy_plugins() -> list[str]:
    """Register every policy that an installed package offers under ``sage.policies``.

    An entry point's name is the policy's, and its object a function without arguments that
    returns a ``SchedulingPolicy``; the first line of its docstring is the description. Calling
    this again registers nothing twice.

    Returns:
        The names registered by this call.

    Raises:
        ConfigError: a plug-in cannot be imported, is not callable, or takes a name that is taken.
    """
    loaded = []
    for entry in entry_points(group=GROUP):
        if _loaded.get(entry.name) == entry.value:
            continue
        try:
            factory = entry.load()
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"the scheduling policy {entry.name!r} ({entry.value}) cannot be loaded: {error}"
            ) from error
        if not callable(factory):
            raise ConfigError(
                f"the scheduling policy {entry.name!r} ({entry.value}) is no function that "
                "returns a SchedulingPolicy"
            )
        if entry.name in policy_descriptions():
            raise ConfigError(
                f"{entry.value} offers a scheduling policy {entry.name!r}; that name is taken"
            )
        lines = (factory.__doc__ or f"plug-in {entry.value}").strip().splitlines()
        register_policy(entry.name, factory, description=lines[0])
        _loaded[entry.name] = entry.value
        log.info("policy %s is provided by %s", entry.name, entry.value)
        loaded.append(entry.name)
    return loaded

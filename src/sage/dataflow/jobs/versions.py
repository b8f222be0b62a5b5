"""The versions that a pickled pipeline depends on."""

from __future__ import annotations

import importlib.metadata
import platform

from sage.dataflow.jobs.wire import Versions
from sage.errors import VersionMismatchError


def versions_here() -> Versions:
    """Return this process's versions; "none" for a package that is not installed."""
    return Versions(
        python=platform.python_version(),
        sage=_version("sage-stack"),
        cloudpickle=_version("cloudpickle"),
    )


def check_versions(client: Versions, here: Versions) -> None:
    """Raise `VersionMismatchError` unless a pickle of the client's can be run here.

    Python's code objects differ from one minor version to the next, and the pipeline's own
    classes from one version of the package to the next.
    """
    pairs = (
        ("Python", client.python, here.python, _minor(client.python) == _minor(here.python)),
        ("sage-stack", client.sage, here.sage, client.sage == here.sage),
    )
    for what, theirs, ours, fits in pairs:
        if not fits:
            raise VersionMismatchError(
                f"the pipeline was submitted with {what} {theirs}, and the job manager has {what} "
                f"{ours}; use the same version on both sides"
            )


def _minor(version: str) -> tuple[str, ...]:
    return tuple(version.split(".")[:2])


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"

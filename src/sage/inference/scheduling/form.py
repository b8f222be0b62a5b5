"""The form in which the core is installed."""

from __future__ import annotations

from typing import Literal

from sage.inference.scheduling import scheduler

CoreForm = Literal["compiled", "python"]


def core_form() -> CoreForm:
    """Return whether the core runs compiled by mypyc or as plain Python; it decides the same."""
    return "python" if (scheduler.__file__ or "").endswith(".py") else "compiled"

"""What must be made anew in a forked child: locks and connections."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any

_renewers: list[weakref.WeakMethod[Callable[[], Any]]] = []


def on_fork(renew: Callable[[], Any]) -> None:
    """Call the bound method ``renew`` in every child forked from now on, while its owner lives."""
    _renewers[:] = [known for known in _renewers if known() is not None]
    _renewers.append(weakref.WeakMethod(renew))


def _in_child() -> None:
    for known in _renewers:
        renew = known()
        if renew is not None:
            renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)

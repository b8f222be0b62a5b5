"""The tutorial's import paths lead to the package's own classes."""

from __future__ import annotations

import importlib

import pytest

import sage.common.core.functions as tutorial
import sage.dataflow
from sage.dataflow import functions


@pytest.mark.parametrize("name", tutorial.__all__)
def test_same_classes(name: str) -> None:
    """Each class is one and the same by either path, and in a module of its own."""
    module = importlib.import_module(
        f"sage.common.core.functions.{name.removesuffix('Function').lower()}_function"
    )
    assert getattr(module, name) is getattr(tutorial, name) is getattr(functions, name)


@pytest.mark.parametrize("name", sage.dataflow.__all__)
def test_lazy_names(name: str) -> None:
    """Every name the package lists is there."""
    assert getattr(sage.dataflow, name).__name__ == name


def test_unknown_name() -> None:
    """Any other name is an AttributeError, as in any module."""
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = sage.dataflow.Nothing

"""The package as users import it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import sage


@pytest.mark.parametrize("name", sage.__all__)
def test_every_public_name_loads(name: str) -> None:
    """What is listed is there."""
    assert getattr(sage, name).__name__ == name


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    """As with any module."""
    with pytest.raises(AttributeError, match="no attribute 'LocalEnviroment'"):
        sage.LocalEnviroment  # noqa: B018 - the access is what is tested


def test_importing_the_package_loads_nothing_heavy() -> None:
    """Neither the heavy libraries nor SAGE's own parts are imported before they are used."""
    code = (
        "import sys, sage\n"
        "heavy = {'numpy', 'httpx2', 'rich', 'uvicorn', 'click', 'msgspec', 'onnxruntime',\n"
        "         'sage.dataflow', 'sage.inference', 'sage.config'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"

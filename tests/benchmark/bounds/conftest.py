"""Profiles on disk for the tests of bounds."""

from __future__ import annotations

import pytest

from tests.benchmark.bounds.support import write_profiles


@pytest.fixture(scope="session")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Paths of the small profiles by name."""
    return write_profiles(tmp_path_factory.mktemp("profiles"))

"""A job manager for all tests that do not kill it, and test modules whose code travels."""

from __future__ import annotations

from collections.abc import Iterator

import cloudpickle
import pytest
from tests.job_manager import ManagerProcess


@pytest.fixture(scope="session")
def shared_manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManagerProcess]:
    """A manager that is started once."""
    with ManagerProcess(tmp_path_factory.mktemp("manager") / "home") as manager:
        yield manager


@pytest.fixture
def manager(shared_manager: ManagerProcess) -> Iterator[ManagerProcess]:
    """The same, after each use of which no job may be under way."""
    yield shared_manager
    client = shared_manager.client()
    under_way = [job.id for job in client.jobs() if not job.state.final]
    client.close()
    assert not under_way


@pytest.fixture(autouse=True)
def code_travels(request: pytest.FixtureRequest) -> Iterator[None]:
    """A driver cannot import a test's module, so what it defines is pickled whole."""
    cloudpickle.register_pickle_by_value(request.module)
    yield
    cloudpickle.unregister_pickle_by_value(request.module)

"""One client a name, shared by the process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import pytest

from sage.errors import ConfigError, NoBackendError
from sage.inference.client import UnifiedInferenceClient
from sage.inference.client.client import _shared


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name of the test's own: shared clients live as long as the process."""
    return str(request.node.nodeid)


def test_one_client_a_name(fake: Any, name: str) -> None:
    """Many threads that ask at once get the same client; another name is another client."""
    with ThreadPoolExecutor(16) as threads:
        clients = list(
            threads.map(
                lambda _: UnifiedInferenceClient.get_instance(name, control_plane_url=fake.url),
                range(64),
            )
        )
    assert len({id(client) for client in clients}) == 1
    other = UnifiedInferenceClient.get_instance(name + "2", control_plane_url=fake.url)
    assert other is not clients[0]
    assert UnifiedInferenceClient.get_instance(name) is clients[0]
    other.close()
    clients[0].close()


def test_a_closed_one_is_replaced(fake: Any, name: str) -> None:
    """After close the next get_instance makes a new client."""
    first = UnifiedInferenceClient.get_instance(name, control_plane_url=fake.url)
    first.close()
    with UnifiedInferenceClient.get_instance(name, control_plane_url=fake.url) as second:
        assert second is not first
        assert second.chat("a") == "echo: a"


def test_conflicting_options_are_an_error(fake: Any, name: str) -> None:
    """Options that differ from those it was made with are refused, equal ones are not."""
    make = UnifiedInferenceClient.get_instance
    with make(name, control_plane_url=fake.url, timeout=5, api_key="a") as client:
        assert make(name, control_plane_url=f"{fake.url}/", timeout=5) is client
        with pytest.raises(ConfigError, match=r"timeout=5, not 6"):
            make(name, timeout=6)
        with pytest.raises(ConfigError, match="api_key=another value"):
            make(name, api_key="b")


def test_a_failed_making_leaves_nothing(fake: Any, name: str, free_port: int) -> None:
    """When no server is found the error is raised, and the next call tries again."""
    ports = ("SAGE_GATEWAY_PORT", "SAGE_LLM_PORT", "SAGE_EMBEDDING_PORT")
    with pytest.MonkeyPatch.context() as patch:
        for variable in ports:
            patch.setenv(variable, str(free_port))
        with pytest.raises(NoBackendError):
            UnifiedInferenceClient.get_instance(name)
    with UnifiedInferenceClient.get_instance(name, control_plane_url=fake.url) as client:
        assert client.chat("a") == "echo: a"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(fake: Any, name: str) -> None:
    """A child forked while the parent holds its locks can use the same client."""
    client = UnifiedInferenceClient.get_instance(name, control_plane_url=fake.url)
    client.chat("parent")
    before = fake.connections
    with client._pools._lock, _shared._lock, _shared._slots[name].lock:
        child = os.fork()
        if child == 0:
            _end_in_child(lambda: UnifiedInferenceClient.get_instance(name).chat("child"))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert fake.connections == before + 1
    assert client.chat("parent") == "echo: parent"
    client.close()


def _end_in_child(ask: Callable[[], str]) -> NoReturn:
    """Ask and exit: nothing of the test runner may go on in the child."""
    # A child that waits for a lock that nobody holds any more must not outlive the test.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(10)
    code = 1
    try:
        code = 0 if ask() == "echo: child" else 2
    finally:
        os._exit(code)

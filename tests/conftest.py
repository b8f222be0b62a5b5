"""Fixtures every test shares: a home of its own, and the real packaged models."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import platformdirs
import pytest

from tests.ray_nodes import ray_folder, ray_nodes
from tests.spread import needs_ray
from tests.support import unused_port

# Read before any test moves HOME: the models are large, so all tests share the installed ones.
MODELS_DIR = Path(
    os.environ.get("SAGE_MODELS_DIR")
    or (Path(os.environ["SAGE_HOME"]) / "models" if os.environ.get("SAGE_HOME") else "")
    or platformdirs.user_data_path("sage") / "models"
).absolute()

# How long an example takes says how busy the machine is: the suite runs in several processes.
hypothesis.settings.register_profile(
    "sage", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("sage")

_LEAKY_PREFIXES = (
    "SAGE_",
    "HF_",
    "OPENAI_",
    "ANTHROPIC_",
    "OTEL_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "http_proxy",
    "https_proxy",
)


@pytest.hookimpl(optionalhook=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what needs a Ray cluster."""
    if needs_ray(item.nodeid):
        item.add_marker(pytest.mark.ray)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadgroup``, tests that share something dear run in one process."""
    from tests.spread import Spread

    return Spread(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.fixture(autouse=True, scope="module")
def settled_heap() -> None:
    """What earlier modules left alive is not looked through by each later collection again.

    The load generator collects before every run; late in a long session that took seconds.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def isolated_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test has an empty HOME and SAGE_HOME, no SAGE_ variables, and an empty directory."""
    for name in list(os.environ):
        if name.startswith(_LEAKY_PREFIXES):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    work = tmp_path / "work"
    home.mkdir()
    work.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SAGE_HOME", str(home / "sage"))
    monkeypatch.setenv("SAGE_MODELS_DIR", str(MODELS_DIR))
    # No test looks at the network to find out where it is.
    monkeypatch.setenv("SAGE_NETWORK_REGION", "global")
    monkeypatch.chdir(work)
    return home


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """A Ray cluster of two nodes of this machine, with one CPU and one GPU each."""
    with ray_nodes((1, 1), (1, 1), models=MODELS_DIR) as cluster:
        yield cluster


@pytest.fixture
def own_ray_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where Ray that a script of the test starts keeps its sockets and logs; gone at the end."""
    with ray_folder() as folder:
        monkeypatch.setenv("RAY_TMPDIR", str(folder))
        yield folder


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio, which is what SAGE uses."""
    return "asyncio"


@pytest.fixture
def free_port() -> int:
    """A port that was free a moment ago on the loopback address."""
    return unused_port()

"""Other dataflow libraries on the same work, in the environment of the benchmarks' peers.

Each is run as its documentation shows it. Starting it is left out of its figure.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _dataflow_rounds import Contestant, Figures, serve
from _dataflow_work import RECORDS, add_one, double, not_by_three, rate

ENVIRONMENT = Path(__file__).parents[1] / ".venv-peers"
REQUIREMENTS = ("bytewax", "streamz", "ray[data]")
PACKAGES = ("bytewax", "streamz", "ray")


def bytewax(batch: int) -> Figures:
    """One worker, a source whose batches are of ``batch`` records."""
    import bytewax.operators as op
    from bytewax.dataflow import Dataflow
    from bytewax.testing import TestingSink, TestingSource, run_main

    def run() -> int:
        out: list[int] = []
        flow = Dataflow("benchmark")
        stream = op.input("source", flow, TestingSource(range(RECORDS), batch))
        stream = op.map("add", stream, add_one)
        stream = op.map("double", stream, double)
        stream = op.filter("filter", stream, not_by_three)
        op.output("sink", stream, TestingSink(out))
        run_main(flow)
        return len(out)

    return rate(run)


def streamz() -> Figures:
    """Records emitted one by one, as its sources do."""
    from streamz import Stream

    def run() -> int:
        out: list[int] = []
        source = Stream()
        source.map(add_one).map(double).filter(not_by_three).sink(out.append)
        for x in range(RECORDS):
            source.emit(x)
        return len(out)

    return rate(run)


def ray() -> Figures:
    """Ray Data by rows, on a Ray of this machine that is started before and stopped after."""
    import ray as library

    # Workers find these functions in this module only if they are told where it is.
    environment = {"env_vars": {"PYTHONPATH": str(Path(__file__).parent)}}
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    library.init(
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        runtime_env=environment,
        _temp_dir=folder.name,
    )
    try:
        library.data.DataContext.get_current().enable_progress_bars = False
        library.data.range(8).map(_ray_add).take_all()  # its workers have started

        def run() -> int:
            found = library.data.range(RECORDS).map(_ray_add).map(_ray_double).filter(_ray_keeps)
            return sum(1 for _ in found.iter_rows())

        return rate(run)
    finally:
        library.shutdown()
        folder.cleanup()


def _ray_add(row: dict[str, Any]) -> dict[str, Any]:
    return {"id": add_one(row["id"])}


def _ray_double(row: dict[str, Any]) -> dict[str, Any]:
    return {"id": double(row["id"])}


def _ray_keeps(row: dict[str, Any]) -> bool:
    return not_by_three(row["id"])


_RUNS = {
    "bytewax 1000": lambda: bytewax(1000),
    "bytewax 1": lambda: bytewax(1),
    "streamz": streamz,
    "ray": ray,
}


def peers() -> dict[str, Contestant]:
    """Return the peers that are installed."""
    python = ENVIRONMENT / "bin" / "python"
    found = versions()
    names = [name for name in _RUNS if name.split()[0] in found]
    # Slow ones need no more to be told apart.
    slow = {name: None if name == "bytewax 1000" else 2 for name in _RUNS}
    return {name: Contestant("_dataflow_peers.py", name, python, slow[name]) for name in names}


def install() -> None:
    """Put the peers into their environment, made if need be, in their newest versions.

    Raises:
        CalledProcessError: pip failed.
    """
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--prefer-binary", "--upgrade", *REQUIREMENTS], check=True)


def versions() -> dict[str, str]:
    """Return the version of each peer that is installed."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        return {}
    script = (
        "import importlib.metadata as m, json\n"
        "print(json.dumps({d.metadata['name'].lower(): d.version for d in m.distributions()}))"
    )
    told = subprocess.run([str(python), "-c", script], capture_output=True, text=True, check=True)
    installed = json.loads(told.stdout)
    return {name: installed[name] for name in PACKAGES if name in installed}


if __name__ == "__main__":
    serve(_RUNS)

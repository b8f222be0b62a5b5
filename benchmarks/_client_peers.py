"""The other load clients: where each one is installed, in which version, and how it is started.

Each has an environment of its own in the user's cache, since they pin their dependencies against
one another. vLLM is too large to be installed twice: `make .venv-vllm/.done` makes its.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from _client_tools import TOOLS

ROOT = Path(__file__).parents[1]
CACHE = platformdirs.user_cache_path("sage-bench-peers")
SAGE = "sage-cp-bench"
VLLM = "vllm bench serve"
VLLM_PYTHON = ROOT / ".venv-vllm" / "bin" / "python"


@dataclass(frozen=True)
class Pin:
    """What is installed.

    Attributes:
        requirement: name and version on PyPI.
        python: lowest version of Python that it runs on.
    """

    requirement: str
    python: tuple[int, int] = (3, 11)

    @property
    def folder(self) -> Path:
        """Its environment."""
        return CACHE / self.requirement.partition("==")[0]

    @property
    def failure(self) -> Path:
        """Where it is said why it could not be installed."""
        return self.folder.with_suffix(".failed")


PINS = {
    "guidellm": Pin("guidellm==0.8.1"),
    "inference-perf": Pin("inference-perf==0.7.0", (3, 12)),
    "AIPerf": Pin("aiperf==0.13.0"),
}


def _python(lowest: tuple[int, int]) -> str | None:
    """Return a Python that is new enough, or None."""
    if sys.version_info >= lowest:
        return sys.executable
    for minor in range(lowest[1], lowest[1] + 3):
        name = f"python{lowest[0]}.{minor}"
        kept = sorted(Path.home().glob(f".pyenv/versions/{lowest[0]}.{minor}.*/bin/python"))
        for found in filter(None, (shutil.which(name), *map(str, kept))):
            # A shim may stand for a Python that is not there.
            told = subprocess.run([found, "-V"], capture_output=True, check=False)
            if not told.returncode:
                return found
    return None


def _install(pin: Pin) -> str | None:
    """Install one; return why it could not be, or None."""
    python = _python(pin.python)
    if python is None:
        lowest = ".".join(map(str, pin.python))
        return f"it needs Python {lowest} or newer, which was not found"
    if not (pin.folder / "bin" / "python").exists():
        subprocess.run([python, "-m", "venv", str(pin.folder)], check=True)
    pip = [str(pin.folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    pip += ["--disable-pip-version-check", "--prefer-binary", pin.requirement]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if not done.returncode:
        return None
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return f"pip could not install it: {lines[-1] if lines else done.stderr.strip()[-200:]}"


def install() -> None:
    """Make the environments. One that fails does not keep the others away; the results name it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    for pin in PINS.values():
        why = _install(pin)
        pin.failure.unlink(missing_ok=True)
        if why is not None:
            pin.failure.write_text(why, encoding="utf-8")
        print(f"{pin.requirement}: {why or 'installed'}", flush=True)


@dataclass(frozen=True)
class Client:
    """One that is installed: its program, and its version."""

    program: str
    version: str


def _client(folder: Path, script: str, package: str) -> Client:
    asked = f"import importlib.metadata as m; print(m.version({package!r}))"
    told = subprocess.run(
        [str(folder / "python"), "-c", asked], capture_output=True, text=True, check=False
    )
    if told.returncode or not (folder / script).exists():
        raise FileNotFoundError(f"{package} is not installed")
    return Client(str(folder / script), told.stdout.strip())


def clients(vllm_python: Path) -> tuple[dict[str, Client], dict[str, str]]:
    """Return the clients that are installed, ours first, and why each other one is not."""
    found: dict[str, Client] = {}
    missing: dict[str, str] = {}
    places = {name: pin.folder / "bin" for name, pin in PINS.items()}
    # Not resolved: the link's folder is the environment's.
    places |= {SAGE: Path(sys.executable).parent, VLLM: vllm_python.absolute().parent}
    for name, tool in TOOLS.items():
        try:
            found[name] = _client(places[name], tool.script, tool.package)
        except OSError as error:
            missing[name] = _why(name, error)
    return found, missing


def _why(name: str, error: OSError) -> str:
    if name == VLLM:
        return "not installed here; `make .venv-vllm/.done` installs it, --vllm-python names it"
    pin = PINS.get(name)
    if pin is not None and pin.failure.exists():
        return pin.failure.read_text(encoding="utf-8")
    return f"{error}; `make bench-peers` installs it"


def cost(path: Path) -> dict[str, float]:
    """Return what _client_cost.py wrote."""
    told: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    return told

"""The scheduling core compiled by mypyc: the same decisions as in plain Python."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import random
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import sage
from sage.inference.scheduling.form import core_form

ROOT = Path(__file__).parents[3]

# Run in both forms: prints the form, and a digest of every decision on the way.
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.inference.scheduling.test_compiled_core import decisions_digest
from sage.inference.scheduling.form import core_form
print(core_form(), decisions_digest(40))
"""


def decisions_digest(rounds: int) -> str:
    """Return a digest of what every policy decides on so many random sequences of events."""
    from tests.inference.scheduling.test_scheduler_properties import POLICIES, Driver, run

    digest = hashlib.sha256()

    class Recorder(Driver):
        def carry_out(self, decisions):  # type: ignore[no-untyped-def] # as the driver's
            digest.update(repr([tuple(item) for item in decisions]).encode())
            super().carry_out(decisions)

    for policy in POLICIES:
        for seed in range(rounds):
            rng = random.Random(f"{policy}{seed}")
            driver = Recorder(policy, tenants=bool(seed % 2))
            driver.up(0, 2)
            driver.up(1, 0)
            run(driver, rng.randbytes(rng.randrange(30, 300)))
            driver.run_dry()
            digest.update(repr(sorted(driver.core.stats(driver.now).items())).encode())
    return digest.hexdigest()


def fingerprint(package: Path) -> str:
    """Return a digest of all that the compiled modules are made from and by."""
    made_by = (sys.version, metadata.version("mypy"), metadata.version("setuptools"))
    digest = hashlib.sha256(repr((*made_by, os.environ.get("CC"))).encode())
    for path in (ROOT / "hatch_build.py", *sorted(package.rglob("*.py"))):
        digest.update(str(path).encode() + path.read_bytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package, its core compiled; kept in pytest's cache, as it takes long."""
    if shutil.which(os.environ.get("CC", "cc")) is None:
        pytest.skip("no C compiler here")
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    folder = tmp_path_factory.mktemp("compiled")
    package = Path(sage.__file__).parent
    # Not there with `-p no:cacheprovider`.
    cache: pytest.Cache | None = getattr(request.config, "cache", None)
    kept = cache and cache.mkdir("compiled-core") / fingerprint(package)
    if kept and kept.exists():
        shutil.copytree(kept, folder, dirs_exist_ok=True)
    else:
        assert hook.compile_core(package.parents[1], folder, level="0")
        if kept:
            for other in kept.parent.iterdir():
                shutil.rmtree(other)
            # Whole or not at all.
            shutil.copytree(folder, kept.with_suffix(".part"))
            kept.with_suffix(".part").rename(kept)
    shutil.copytree(package, folder / "sage", dirs_exist_ok=True)
    return folder


@pytest.mark.timeout(300)
@pytest.mark.skipif(core_form() == "compiled", reason="the core is compiled already")
def test_compiled_and_plain_decide_the_same(compiled: Path) -> None:
    """Over thousands of random events, every decision and figure is the same to the bit."""
    said = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(ROOT)],
        env={**os.environ, "PYTHONPATH": str(compiled)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.split() == ["compiled", decisions_digest(40)]

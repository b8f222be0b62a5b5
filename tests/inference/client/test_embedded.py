"""create(embedded=True): the real engines, scheduler and gateway inside this process."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psutil
import pytest

from sage.errors import ConfigError, ModelFileError, ModelNotFoundError, NoBackendError
from sage.inference.client import UnifiedInferenceClient
from tests.conftest import MODELS_DIR


@pytest.fixture(autouse=True)
def sockets(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the sockets' folders are made; the test looks whether any was left behind."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def left_behind(folder: Path) -> list[str]:
    """Folders and threads that an embedded client should have ended."""
    threads = [thread.name for thread in threading.enumerate() if thread.name == "sage-embedded"]
    return threads + [path.name for path in folder.iterdir()]


def _listening() -> set[int]:
    """Return the TCP ports that this process listens at."""
    every = psutil.Process().net_connections("inet")
    return {one.laddr.port for one in every if one.status == psutil.CONN_LISTEN}


@pytest.mark.engines
@pytest.mark.timeout(180)  # two real models on a machine that may be busy
def test_the_whole_stack_runs_in_this_process(sockets: Path) -> None:
    """Chat, streams, vectors, async calls and a copy in another process; no port, nothing left."""
    before = _listening()  # servers that tests of this process share
    client = UnifiedInferenceClient.create(embedded=True)
    status = client.get_status()
    assert status["llm"]["source"] == status["embedding"]["source"] == "embedded"
    assert status["llm"]["healthy"]
    assert status["embedding"]["healthy"]

    result = client.chat("Say hello.", max_tokens=4, temperature=0.0, return_result=True)
    assert result.text
    assert (result.model, result.instance) == ("smollm2-135m-instruct", "embedded-llm")
    assert result.completion_tokens is not None
    assert 0 < result.completion_tokens <= 4
    streamed = "".join(client.chat("Say hello.", max_tokens=4, temperature=0.0, stream=True))
    assert streamed == result.text
    again = asyncio.run(client.achat("Say hello.", max_tokens=4, temperature=0.0))
    assert again == result.text
    assert client.generate("One, two,", max_tokens=4)

    vectors = client.embed(["a cat", "a dog", "stock prices"] * 30)
    assert [len(vector) for vector in vectors] == [384] * 90
    alone = client.embed("a cat")
    assert max(abs(one - other) for one, other in zip(vectors[0], alone, strict=True)) < 1e-4

    assert _listening() == before
    copied = subprocess.run(
        [
            sys.executable,
            "-c",
            "import pickle, sys\n"
            "with pickle.load(sys.stdin.buffer) as copy: print(len(copy.embed('a cat')))",
        ],
        input=pickle.dumps(client),
        capture_output=True,
        check=True,
        timeout=30,
    )
    assert copied.stdout == b"384\n"

    client.close()
    assert left_behind(sockets) == []


@pytest.mark.engines
def test_a_kind_without_a_model_says_what_to_install(
    sockets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With only an embedding model installed, embedding works and chat names the install."""
    models = tmp_path / "models"
    models.mkdir()
    (models / "all-minilm-l6-v2").symlink_to(MODELS_DIR / "all-minilm-l6-v2")
    monkeypatch.setenv("SAGE_MODELS_DIR", str(models))
    with UnifiedInferenceClient.create(embedded=True) as client:
        assert len(client.embed("a")) == 384
        with pytest.raises(NoBackendError, match="sage models install smollm2-135m-instruct"):
            client.chat("a")
        assert client.get_status()["llm"]["healthy"] is False
    assert left_behind(sockets) == []


def test_missing_models_are_named(
    sockets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A named model that is not here, or no model at all, is an error, and nothing stays."""
    with pytest.raises(ModelNotFoundError, match="no-such-model"):
        UnifiedInferenceClient.create(embedded=True, default_llm_model="no-such-model")
    monkeypatch.setenv("SAGE_MODELS_DIR", str(tmp_path / "none"))
    with pytest.raises(ModelNotFoundError, match="sage models install"):
        UnifiedInferenceClient.create(embedded=True)
    assert left_behind(sockets) == []


def test_a_damaged_model_leaves_nothing(sockets: Path, tmp_path: Path) -> None:
    """A GGUF that is none is a ModelFileError before anything runs."""
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"not a model")
    with pytest.raises(ModelFileError, match=r"bad\.gguf"):
        UnifiedInferenceClient.create(embedded=True, default_llm_model=str(bad))
    assert left_behind(sockets) == []


@pytest.mark.engines
def test_a_temporary_folder_with_a_long_name(
    sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that does not fit a socket's address is said, with what to set."""
    deep = sockets / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(ConfigError, match="TMPDIR"):
        UnifiedInferenceClient.create(embedded=True)
    assert list(deep.iterdir()) == []


@pytest.mark.parametrize("options", [{"control_plane_url": "http://x"}, {"api_key": "k"}])
def test_options_that_exclude_each_other(options: dict[str, str]) -> None:
    """An embedded client has no URL and no key."""
    with pytest.raises(ConfigError, match="embedded"):
        UnifiedInferenceClient.create(embedded=True, **options)  # type: ignore[arg-type]

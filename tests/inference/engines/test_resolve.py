"""From ``--model`` to an engine and its files."""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sage.config.paths import user_paths
from sage.errors import ConfigError, ModelFileError, ModelNotFoundError, SageError
from sage.inference.engines import resolve as module
from sage.inference.engines.kinds import EngineKind
from sage.inference.engines.resolve import resolve_model
from sage.inference.scheduling.request import Kind

GGUF = struct.pack("<4sIQQ", b"GGUF", 3, 5, 7) + b"rest"
EVERY_ENGINE = frozenset(EngineKind)


def _gguf(path: Path, content: bytes = GGUF) -> Path:
    path.write_bytes(content)
    return path


def _transformers_folder(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architectures": ["X"]}), encoding="utf-8")
    (folder / "model.safetensors").touch()
    return folder


def test_no_name_is_the_packaged_default() -> None:
    """`sage llm serve` alone needs no decision of the user's."""
    llm = resolve_model(None, Kind.LLM)
    assert (llm.name, llm.engine) == ("smollm2-135m-instruct", EngineKind.LLAMA_CPP)
    assert llm.path is not None
    assert llm.path.name == "model.gguf"
    embedding = resolve_model(None, Kind.EMBEDDING)
    assert (embedding.name, embedding.engine) == ("all-minilm-l6-v2", EngineKind.ONNX)


def test_aliases_and_case_do_not_matter() -> None:
    """The names users know find the packaged model."""
    assert resolve_model("SmolLM2", Kind.LLM).name == "smollm2-135m-instruct"


def test_a_packaged_model_that_is_not_installed_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is the command to run."""
    monkeypatch.setenv("SAGE_MODELS_DIR", str(tmp_path))
    with pytest.raises(ModelNotFoundError, match="run `sage models install smollm2-135m-instruct`"):
        resolve_model(None, Kind.LLM)


def test_a_gguf_file_is_served_under_its_stem(tmp_path: Path) -> None:
    """A file needs no registration."""
    found = resolve_model(str(_gguf(tmp_path / "My-Model.Q4.gguf")), Kind.LLM)
    assert (found.name, found.engine) == ("My-Model.Q4", EngineKind.LLAMA_CPP)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html><body>404", "web page"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"GGUF\x03", "cut short"),
        (b"", "not a GGUF model"),
        (struct.pack("<4sIQQ", b"GGUF", 9, 5, 7), "version 9"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 7), "no tensors"),
    ],
)
def test_a_gguf_that_is_not_one_says_what_it_is(
    tmp_path: Path, content: bytes, message: str
) -> None:
    """The usual ways a download goes wrong are told apart before an engine starts."""
    with pytest.raises(ModelFileError, match=message):
        resolve_model(str(_gguf(tmp_path / "m.gguf", content)), Kind.LLM)


def test_a_missing_gguf_is_a_missing_file(tmp_path: Path) -> None:
    """A path that ends in .gguf is never taken for a hub id."""
    with pytest.raises(ModelNotFoundError, match=r"there is no file .*absent\.gguf"):
        resolve_model("models/absent.gguf", Kind.LLM)


def test_a_folder_with_one_gguf_is_that_model(tmp_path: Path) -> None:
    """Two would be a guess, so they are refused by name."""
    folder = tmp_path / "phi"
    folder.mkdir()
    _gguf(folder / "a.gguf")
    assert resolve_model(str(folder), Kind.LLM).name == "phi"
    _gguf(folder / "b.gguf")
    with pytest.raises(ConfigError, match=r"a\.gguf, b\.gguf"):
        resolve_model(str(folder), Kind.LLM)


def test_a_transformers_folder_is_vllms(tmp_path: Path) -> None:
    """Safetensors and a config are what vLLM loads."""
    folder = _transformers_folder(tmp_path / "qwen")
    found = resolve_model(str(folder), Kind.LLM, external=EVERY_ENGINE)
    assert (found.engine, found.path) == (EngineKind.VLLM, folder)


def test_a_folder_that_is_no_model_says_what_is_missing(tmp_path: Path) -> None:
    """An engine would take a minute to say less."""
    with pytest.raises(ModelFileError, match=r"no config\.json"):
        resolve_model(str(tmp_path), Kind.LLM)
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelFileError, match="not JSON"):
        resolve_model(str(tmp_path), Kind.LLM)
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelFileError, match="no weights"):
        resolve_model(str(tmp_path), Kind.LLM)


def test_an_onnx_folder_needs_its_tokenizer(tmp_path: Path) -> None:
    """Half a model is named as half a model."""
    (tmp_path / "model.onnx").touch()
    with pytest.raises(ModelFileError, match=r"no tokenizer\.json"):
        resolve_model(str(tmp_path), Kind.EMBEDDING)
    (tmp_path / "tokenizer.json").touch()
    assert resolve_model(str(tmp_path), Kind.EMBEDDING).engine is EngineKind.ONNX


def test_a_hub_id_without_its_engine_lists_what_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a closed network the next step is in the message."""
    monkeypatch.setattr(EngineKind, "available", property(lambda self: False))
    with pytest.raises(ModelNotFoundError) as caught:
        resolve_model("Qwen/Qwen2.5-7B-Instruct", Kind.LLM)
    message = str(caught.value)
    assert "pip install 'sage-stack[vllm]'" in message
    assert "installed: smollm2-135m-instruct, all-minilm-l6-v2" in message


def test_an_engine_in_another_interpreter_need_not_be_here() -> None:
    """vLLM usually lives in an environment of its own."""
    found = resolve_model(
        "Qwen/Qwen2.5-7B-Instruct", Kind.LLM, external=frozenset({EngineKind.VLLM})
    )
    assert (found.engine, found.hub_id) == (EngineKind.VLLM, "Qwen/Qwen2.5-7B-Instruct")


def test_an_engine_that_cannot_is_refused_by_name() -> None:
    """Nothing is silently run by another engine."""
    with pytest.raises(
        ConfigError, match=r"'onnx' does not serve llm models; use llama\.cpp, vllm"
    ):
        resolve_model(None, Kind.LLM, engine="onnx")
    with pytest.raises(ConfigError, match=r"did you mean 'llama\.cpp'"):
        resolve_model(None, Kind.LLM, engine="llama-cpp")
    with pytest.raises(ConfigError, match="'vllm' cannot run None"):
        resolve_model(None, Kind.LLM, engine="vllm")


def test_a_word_that_is_nothing_gets_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    """And where to look."""
    with pytest.raises(ModelNotFoundError, match="did you mean 'all-minilm-l6-v2'"):
        resolve_model("all-minilm-l6-v3", Kind.EMBEDDING)


def test_an_llm_is_not_an_embedding_model() -> None:
    """Asking the wrong kind names both."""
    with pytest.raises(ConfigError, match="smollm2-135m-instruct is an llm model"):
        resolve_model("smollm2", Kind.EMBEDDING)


@given(spec=st.text(), kind=st.sampled_from(Kind))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_raises_anything_but_our_own_error(spec: str, kind: Kind) -> None:
    """Whatever is typed, the answer is a model or one SageError."""
    with contextlib.suppress(SageError):
        module.resolve_model(spec, kind, paths=user_paths())

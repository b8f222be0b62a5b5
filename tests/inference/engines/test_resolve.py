"""From ``--model`` to an engine and its files."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sage.config.paths import user_paths
from sage.errors import ConfigError, ModelFileError, ModelNotFoundError, SageError
from sage.inference.engines.kinds import EngineKind
from sage.inference.engines.resolve import resolve_model
from sage.inference.scheduling.request import Kind

# The smallest whole model: no metadata, one tensor of one float, aligned to 32 bytes.
GGUF = (
    struct.pack("<4sIQQ", b"GGUF", 3, 1, 0) + struct.pack("<Q1sIQIQ", 1, b"t", 1, 1, 0, 0)
).ljust(64, b"\0") + b"\0" * 4
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


def test_a_gguf_that_is_not_one_says_what_it_is(tmp_path: Path) -> None:
    """Before an engine starts; `check_gguf` knows the ways."""
    with pytest.raises(ModelFileError, match="web page"):
        resolve_model(str(_gguf(tmp_path / "m.gguf", b"<html><body>404")), Kind.LLM)


def test_a_missing_gguf_is_a_missing_file(tmp_path: Path) -> None:
    """A path that ends in .gguf is never taken for a hub id."""
    with pytest.raises(ModelNotFoundError, match=r"there is no file 'models/absent\.gguf' in /"):
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


def test_a_model_split_into_parts_is_its_first_part(tmp_path: Path) -> None:
    """llama.cpp finds the further parts by the first one's name."""
    folder = tmp_path / "big"
    folder.mkdir()
    for number in (1, 2, 3):
        _gguf(folder / f"big-{number:05}-of-00003.gguf")
    found = resolve_model(str(folder), Kind.LLM)
    assert found.path == folder / "big-00001-of-00003.gguf"
    (folder / "big-00002-of-00003.gguf").unlink()
    with pytest.raises(ConfigError, match="several GGUF files"):
        resolve_model(str(folder), Kind.LLM)


def test_a_gguf_embedding_model_is_llama_cpps(tmp_path: Path) -> None:
    """llama.cpp serves embeddings too."""
    found = resolve_model(str(_gguf(tmp_path / "bge.gguf")), Kind.EMBEDDING)
    assert (found.name, found.kind, found.engine) == ("bge", Kind.EMBEDDING, EngineKind.LLAMA_CPP)


def test_a_transformers_folder_is_vllms(tmp_path: Path) -> None:
    """Safetensors and a config are what vLLM loads."""
    folder = _transformers_folder(tmp_path / "qwen")
    found = resolve_model(str(folder), Kind.LLM, external=EVERY_ENGINE)
    assert (found.engine, found.path) == (EngineKind.VLLM, folder)


def test_a_folder_of_two_formats_goes_to_the_engine_that_is_asked_for(tmp_path: Path) -> None:
    """GGUF beside safetensors: llama.cpp by default, vLLM when it is named."""
    folder = _transformers_folder(tmp_path / "both")
    _gguf(folder / "q4.gguf")
    assert resolve_model(str(folder), Kind.LLM).engine is EngineKind.LLAMA_CPP
    found = resolve_model(str(folder), Kind.LLM, engine="vllm", external=EVERY_ENGINE)
    assert (found.engine, found.path) == (EngineKind.VLLM, folder)
    only_safetensors = _transformers_folder(tmp_path / "one")
    with pytest.raises(ConfigError, match=r"'llama\.cpp' cannot run .* for 'vllm'"):
        resolve_model(str(only_safetensors), Kind.LLM, engine="llama.cpp", external=EVERY_ENGINE)


def test_a_sentence_transformers_folder_is_its_own(tmp_path: Path) -> None:
    """Modules in folders of their own count; with ONNX beside it, the engine may be chosen."""
    folder = tmp_path / "mpnet"
    (folder / "0_Transformer").mkdir(parents=True)
    (folder / "modules.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ModelFileError, match="no weights"):
        resolve_model(str(folder), Kind.EMBEDDING, external=EVERY_ENGINE)
    (folder / "0_Transformer" / "model.safetensors").touch()
    found = resolve_model(str(folder), Kind.EMBEDDING, external=EVERY_ENGINE)
    assert (found.engine, found.path) == (EngineKind.SENTENCE_TRANSFORMERS, folder)
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").touch()
    (folder / "tokenizer.json").touch()
    assert resolve_model(str(folder), Kind.EMBEDDING).engine is EngineKind.ONNX
    found = resolve_model(
        str(folder), Kind.EMBEDDING, engine="sentence-transformers", external=EVERY_ENGINE
    )
    assert found.engine is EngineKind.SENTENCE_TRANSFORMERS


def test_a_dot_is_served_under_the_folders_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--model .` and `--model ..` do not give a model the name of a dot."""
    folder = tmp_path / "phi"
    (folder / "sub").mkdir(parents=True)
    _gguf(folder / "a.gguf")
    monkeypatch.chdir(folder)
    assert resolve_model(".", Kind.LLM).name == "phi"
    monkeypatch.chdir(folder / "sub")
    assert resolve_model("..", Kind.LLM).name == "phi"


def test_a_packaged_name_is_not_hidden_by_a_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The current folder does not change what a name means; `./name` is the folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smollm2").mkdir()
    _gguf(tmp_path / "smollm2" / "a.gguf")
    assert resolve_model("smollm2", Kind.LLM).name == "smollm2-135m-instruct"
    assert resolve_model("./smollm2", Kind.LLM).path == tmp_path / "smollm2" / "a.gguf"


def test_what_is_neither_file_nor_folder_is_said(tmp_path: Path) -> None:
    """A named pipe would hold the command for ever."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelFileError, match="neither a file nor a folder"):
        resolve_model(str(tmp_path / "pipe"), Kind.LLM)


@pytest.mark.parametrize("spec", ["", "  "])
def test_an_empty_name_is_not_the_current_folder(spec: str) -> None:
    """An empty variable in a script is a mistake, not a model."""
    with pytest.raises(ModelNotFoundError, match="is no packaged model, file, folder or hub id"):
        resolve_model(spec, Kind.LLM)


def test_a_folder_that_is_no_model_says_what_is_missing(tmp_path: Path) -> None:
    """An engine would take a minute to say less."""
    with pytest.raises(ModelFileError, match=r"no config\.json"):
        resolve_model(str(tmp_path), Kind.LLM)
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelFileError, match="not JSON"):
        resolve_model(str(tmp_path), Kind.LLM)
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelFileError, match="names no architectures"):
        resolve_model(str(tmp_path), Kind.LLM)
    (tmp_path / "config.json").write_text('{"architectures": ["X"]}', encoding="utf-8")
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
    with pytest.raises(ConfigError, match="'vllm' cannot run 'smollm2-135m-instruct'"):
        resolve_model(None, Kind.LLM, engine="vllm")


def test_a_word_that_is_nothing_gets_the_nearest() -> None:
    """With the command that installs it, and what is installed."""
    with pytest.raises(ModelNotFoundError) as caught:
        resolve_model("all-minilm-l6-v3", Kind.EMBEDDING)
    message = str(caught.value)
    assert "did you mean 'all-minilm-l6-v2' (`sage models install all-minilm-l6-v2`)?" in message
    assert "installed: smollm2-135m-instruct, all-minilm-l6-v2" in message


def test_with_nothing_installed_the_message_says_so(tmp_path: Path) -> None:
    """An empty list would look like a defect."""
    empty = dataclasses.replace(user_paths(), models=tmp_path)
    with pytest.raises(ModelNotFoundError, match="no packaged model is installed"):
        resolve_model("quite-other", Kind.LLM, paths=empty)


HUB_TWIN = "HuggingFaceTB/SmolLM2-135M-Instruct"


def test_a_hub_id_with_a_packaged_twin_is_that_model_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A choice made for the user is logged; naming the hub's engine overrules it."""
    with caplog.at_level("INFO"):
        found = resolve_model(HUB_TWIN, Kind.LLM, external=EVERY_ENGINE)
    assert found.name == "smollm2-135m-instruct"
    assert f"{HUB_TWIN}: using the packaged model smollm2-135m-instruct" in caplog.text
    found = resolve_model(HUB_TWIN, Kind.LLM, engine="vllm", external=EVERY_ENGINE)
    assert (found.engine, found.hub_id) == (EngineKind.VLLM, HUB_TWIN)


def test_a_hub_id_whose_twin_is_not_installed_goes_to_the_hub(tmp_path: Path) -> None:
    """Where the hub's engine is there; elsewhere the command that installs the twin is said."""
    empty = dataclasses.replace(user_paths(), models=tmp_path)
    found = resolve_model(HUB_TWIN, Kind.LLM, paths=empty, external=EVERY_ENGINE)
    assert found.hub_id == HUB_TWIN
    if not EngineKind.VLLM.available:
        with pytest.raises(ModelNotFoundError, match="sage models install smollm2-135m-instruct"):
            resolve_model(HUB_TWIN, Kind.LLM, paths=empty)


def test_an_llm_is_not_an_embedding_model() -> None:
    """Asking the wrong kind names both."""
    with pytest.raises(ConfigError, match="smollm2-135m-instruct is an llm model"):
        resolve_model("smollm2", Kind.EMBEDDING)


ANYTHING = st.text() | st.from_regex(r"[~./a-z\0]{1,12}(\.gguf|/\.\.)?", fullmatch=True)


@given(spec=ANYTHING, kind=st.sampled_from(Kind), engine=st.none() | st.sampled_from(EngineKind))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_raises_anything_but_our_own_error(
    spec: str, kind: Kind, engine: EngineKind | None
) -> None:
    """Whatever is typed, the answer is a model or one SageError."""
    with contextlib.suppress(SageError):
        resolve_model(spec, kind, engine=engine, paths=user_paths())

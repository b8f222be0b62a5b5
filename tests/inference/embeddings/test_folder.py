"""What a model folder says of itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sage.errors import ModelFileError, ModelNotFoundError
from sage.inference.embeddings.folder import read_model_folder
from sage.inference.embeddings.pooling import Pooling
from tests.inference.embeddings.conftest import MINILM
from tests.inference.embeddings.tiny_onnx import write_model


def put(folder: Path, name: str, value: object) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder with nothing but a graph and a tokenizer."""
    write_model(tmp_path)
    (tmp_path / "sentence_bert_config.json").unlink()
    return tmp_path


@pytest.mark.engines
def test_the_packaged_model() -> None:
    """Mean pooling, 256 tokens."""
    model = read_model_folder(MINILM)
    assert (model.pooling, model.max_tokens, model.pad_id) == (Pooling.MEAN, 256, 0)


def test_a_missing_folder_or_file_is_named(tmp_path: Path) -> None:
    """The message says which file is not there."""
    with pytest.raises(ModelNotFoundError, match="no model folder"):
        read_model_folder(tmp_path / "none")
    with pytest.raises(ModelNotFoundError, match=r"model\.onnx"):
        read_model_folder(tmp_path)
    (tmp_path / "model.onnx").touch()
    with pytest.raises(ModelNotFoundError, match=r"tokenizer\.json"):
        read_model_folder(tmp_path)


def test_the_graph_may_lie_in_a_folder_of_its_own(tmp_path: Path) -> None:
    """onnx/model.onnx, as hubs lay it out."""
    write_model(tmp_path, place="onnx/model.onnx")
    assert read_model_folder(tmp_path).onnx == tmp_path / "onnx" / "model.onnx"


def test_cls_pooling_is_read(folder: Path) -> None:
    """1_Pooling/config.json decides."""
    put(folder, "1_Pooling/config.json", {"pooling_mode_cls_token": True, "x": 1})
    assert read_model_folder(folder).pooling is Pooling.CLS


@pytest.mark.parametrize(
    "modes", [{"pooling_mode_max_tokens": True}, {}, dict.fromkeys(
        ("pooling_mode_cls_token", "pooling_mode_mean_tokens"), True)],
)  # fmt: skip
def test_other_pooling_is_refused(folder: Path, modes: dict[str, bool]) -> None:
    """Wrong vectors would be worse than none."""
    put(folder, "1_Pooling/config.json", modes)
    with pytest.raises(ModelFileError, match="sentence-transformers"):
        read_model_folder(folder)


def test_a_module_this_engine_lacks_is_refused(folder: Path) -> None:
    """A dense layer after pooling would be left out silently otherwise."""
    put(folder, "modules.json", [{"type": "sentence_transformers.models.Dense"}])
    with pytest.raises(ModelFileError, match="Dense"):
        read_model_folder(folder)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 512),
        ({"config.json": {"max_position_embeddings": 128}}, 128),
        (
            {
                "config.json": {
                    "max_position_embeddings": 514,
                    "model_type": "xlm-roberta",
                    "pad_token_id": 1,
                }
            },
            512,
        ),
        ({"tokenizer_config.json": {"model_max_length": 64}}, 64),
        (
            {
                "tokenizer_config.json": {"model_max_length": 10**30},
                "config.json": {"max_position_embeddings": 99},
            },
            99,
        ),
        ({"sentence_bert_config.json": {"max_seq_length": 32}, "tokenizer_config.json": {}}, 32),
    ],
)
def test_the_longest_text(folder: Path, files: dict[str, object], expected: int) -> None:
    """sentence_bert_config, then the tokenizer's own maximum, then the positions there are."""
    for name, value in files.items():
        put(folder, name, value)
    assert read_model_folder(folder).max_tokens == expected


def test_a_damaged_json_is_named(folder: Path) -> None:
    """With its path."""
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelFileError, match=r"config\.json"):
        read_model_folder(folder)

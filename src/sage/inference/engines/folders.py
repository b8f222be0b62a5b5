"""What a model's folder holds, told by its files before an engine takes a minute to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from sage.errors import ConfigError, ModelFileError
from sage.inference.engines.kinds import EngineKind
from sage.inference.scheduling.request import Kind

_FIRST_SHARD = re.compile(r"-0*1-of-0*(\d+)\.gguf$")


def engine_of_folder(
    folder: Path, kind: Kind, wanted: EngineKind | None
) -> tuple[EngineKind, Path]:
    """Return the engine that runs a folder's model, and the path to give it.

    A folder may hold a model in several formats; ``wanted`` then chooses. Without it a GGUF file
    comes first, then ONNX, then safetensors.

    Raises:
        ModelFileError: the folder holds no whole model.
        ConfigError: it holds several GGUF models.
    """
    ggufs = sorted(folder.glob("*.gguf"))
    other = (folder / "config.json").is_file() or onnx_file(folder) is not None
    if ggufs and (wanted in (None, EngineKind.LLAMA_CPP) or not other):
        return EngineKind.LLAMA_CPP, _the_gguf(folder, ggufs)
    if kind is Kind.EMBEDDING:
        return _embedding_engine(folder, wanted), folder
    config = _config(folder)
    if not config.get("architectures"):
        raise ModelFileError(
            f"{folder / 'config.json'} names no architectures, so it is no language model's; "
            "give the folder of the whole model"
        )
    _check_weights(folder)
    return EngineKind.VLLM, folder


def onnx_file(folder: Path) -> Path | None:
    """Return the folder's ONNX model, where exporters put it, or None."""
    for name in ("model.onnx", "onnx/model.onnx"):
        if (folder / name).is_file():
            return folder / name
    return None


def _the_gguf(folder: Path, ggufs: list[Path]) -> Path:
    if len(ggufs) == 1:
        return ggufs[0]
    shards = [path for path in ggufs if _FIRST_SHARD.search(path.name)]
    # llama.cpp finds the further parts of one model by the name of the first.
    if len(shards) == 1:
        match = _FIRST_SHARD.search(shards[0].name)
        if match and int(match[1]) == len(ggufs):
            return shards[0]
    names = ", ".join(path.name for path in ggufs)
    raise ConfigError(f"{folder} holds several GGUF files ({names}); name one of them")


def _embedding_engine(folder: Path, wanted: EngineKind | None) -> EngineKind:
    if onnx_file(folder) and wanted is not EngineKind.SENTENCE_TRANSFORMERS:
        if not (folder / "tokenizer.json").is_file():
            raise ModelFileError(f"{folder} has an ONNX model but no tokenizer.json beside it")
        return EngineKind.ONNX
    if not (folder / "modules.json").is_file():
        _config(folder)
    _check_weights(folder)
    return EngineKind.SENTENCE_TRANSFORMERS


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config: dict[str, Any] = msgspec.json.decode(path.read_bytes(), type=dict)
    except FileNotFoundError:
        raise ModelFileError(
            f"{folder} is no model folder: it has no .gguf, no model.onnx and no config.json"
        ) from None
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ModelFileError(f"{path} is not JSON: {error}; download it again") from error
    return config


def _check_weights(folder: Path) -> None:
    # One level down too: sentence-transformers may keep its modules in folders of their own.
    patterns = ("*.safetensors", "*.bin", "*/*.safetensors", "*/*.bin")
    if not any(True for pattern in patterns for _ in folder.glob(pattern)):
        raise ModelFileError(f"{folder} has a config.json but no weights (*.safetensors)")

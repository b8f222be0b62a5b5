"""What a model folder says of itself: files, pooling, longest text."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from sage.errors import ModelFileError, ModelNotFoundError
from sage.inference.embeddings.pooling import Pooling

logger = logging.getLogger("sage.embeddings")

_ONNX_PLACES = ("model.onnx", "onnx/model.onnx")
_POOLING_MODES = {
    "pooling_mode_mean_tokens": Pooling.MEAN,
    "pooling_mode_cls_token": Pooling.CLS,
}
_KNOWN_MODULES = {"Transformer", "Pooling", "Normalize"}
# transformers writes this huge number when a tokenizer has no maximum of its own.
_NO_MAXIMUM = 1_000_000
# Models of RoBERTa's family number positions from pad_token_id + 1.
_OFFSET_POSITIONS = {"roberta", "xlm-roberta", "camembert", "mpnet"}
_DEFAULT_MAX_TOKENS = 512


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """An ONNX sentence-embedding model on disk.

    Attributes:
        root: the folder.
        onnx: the graph.
        tokenizer: tokenizer.json.
        pooling: how token states become one vector.
        max_tokens: the longest text, special tokens included.
        pad_id: the token id of the padding.
    """

    root: Path
    onnx: Path
    tokenizer: Path
    pooling: Pooling
    max_tokens: int
    pad_id: int


def read_model_folder(root: Path) -> ModelFolder:
    """Read a folder in the layout of sentence-transformers.

    Raises:
        ModelNotFoundError: the folder, its graph or its tokenizer is not there.
        ModelFileError: a file is damaged, or asks for a step this engine does not have.
    """
    if not root.is_dir():
        raise ModelNotFoundError(f"no model folder at {root}; see `sage models list`")
    onnx = next((root / place for place in _ONNX_PLACES if (root / place).is_file()), None)
    if onnx is None:
        raise ModelNotFoundError(
            f"{root} has no {' and no '.join(_ONNX_PLACES)}; the onnx engine needs one of them"
        )
    tokenizer = root / "tokenizer.json"
    if not tokenizer.is_file():
        raise ModelNotFoundError(f"{root} has no tokenizer.json; the onnx engine needs it")
    _check_modules(root)
    config = _read_json(root / "config.json")
    return ModelFolder(
        root=root,
        onnx=onnx,
        tokenizer=tokenizer,
        pooling=_pooling(root),
        max_tokens=_max_tokens(root, config),
        pad_id=int(config.get("pad_token_id") or 0),
    )


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise ModelFileError(f"{path} is not a JSON object: {error}") from error


def _check_modules(root: Path) -> None:
    path = root / "modules.json"
    if not path.is_file():
        return
    try:
        modules = msgspec.json.decode(path.read_bytes(), type=list[dict[str, Any]])
    except msgspec.MsgspecError as error:
        raise ModelFileError(f"{path} is not a list of modules: {error}") from error
    names = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    strange = [name for name in names if name not in _KNOWN_MODULES]
    if strange:
        raise ModelFileError(
            f"{path} lists {', '.join(strange)}; the onnx engine has only "
            f"{', '.join(sorted(_KNOWN_MODULES))}. Use the engine sentence-transformers for it"
        )


def _pooling(root: Path) -> Pooling:
    path = root / "1_Pooling" / "config.json"
    if not path.is_file():
        logger.info("%s: no 1_Pooling/config.json, so the mean of the tokens is used", root.name)
        return Pooling.MEAN
    config = _read_json(path)
    modes = sorted(key for key, on in config.items() if key.startswith("pooling_mode") and on)
    pooling = _POOLING_MODES.get(modes[0]) if len(modes) == 1 else None
    if pooling is None:
        raise ModelFileError(
            f"{path} asks for {', '.join(modes) or 'no pooling mode'}; the onnx engine has the "
            "mean and the cls token. Use the engine sentence-transformers for it"
        )
    return pooling


def _max_tokens(root: Path, config: dict[str, Any]) -> int:
    named = _read_json(root / "sentence_bert_config.json").get("max_seq_length")
    if named:
        return int(named)
    named = _read_json(root / "tokenizer_config.json").get("model_max_length")
    if named and named < _NO_MAXIMUM:
        return int(named)
    positions = config.get("max_position_embeddings")
    if positions:
        offset = config.get("model_type") in _OFFSET_POSITIONS
        return int(positions) - (int(config.get("pad_token_id") or 0) + 1 if offset else 0)
    logger.info(
        "%s: no file names the longest text, so it is taken to be %d tokens",
        root.name,
        _DEFAULT_MAX_TOKENS,
    )
    return _DEFAULT_MAX_TOKENS

"""From what a user writes after ``--model`` to an engine and its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from sage.config.paths import UserPaths, user_paths
from sage.errors import ConfigError, ModelFileError, ModelNotFoundError, nearest
from sage.inference.engines.gguf import check_gguf
from sage.inference.engines.kinds import EngineKind, parse_engine
from sage.inference.models import (
    DEFAULTS,
    PackagedModel,
    catalogue,
    find,
    installed,
    is_installed,
    model_folder,
)
from sage.inference.scheduling.request import Kind

_ENGINES_OF = {
    Kind.LLM: (EngineKind.LLAMA_CPP, EngineKind.VLLM),
    Kind.EMBEDDING: (EngineKind.ONNX, EngineKind.SENTENCE_TRANSFORMERS, EngineKind.LLAMA_CPP),
}


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model that an engine can be started with.

    Attributes:
        name: the id it is served by.
        kind: LLM or embedding.
        engine: what runs it.
        path: its file or folder on this machine; None for a hub id.
        hub_id: ``organisation/name`` on a model hub; None for a local model.
    """

    name: str
    kind: Kind
    engine: EngineKind
    path: Path | None = None
    hub_id: str | None = None

    @property
    def source(self) -> str:
        """What the engine is told to load: the path, or the hub id."""
        return str(self.path) if self.path else self.hub_id or self.name


def resolve_model(
    spec: str | None,
    kind: Kind,
    *,
    engine: str | None = None,
    paths: UserPaths | None = None,
    external: frozenset[EngineKind] = frozenset(),
) -> ResolvedModel:
    """Find the engine and the files for a model.

    Args:
        spec: a packaged model's name, a ``.gguf`` file, a folder, or a hub id
            (``organisation/name``); None is the default packaged model of the kind.
        kind: what it shall do.
        engine: the engine to use; by default the one that can run the model.
        paths: where packaged models lie.
        external: engines that run in an interpreter of their own, so that this environment need
            not have them.

    Raises:
        ModelNotFoundError: nothing by that name is here; the message lists what is installed and
            what to install.
        ModelFileError: what is there is damaged or of another kind.
        ConfigError: the engine is unknown, or cannot run this model.
    """
    paths = paths or user_paths()
    wanted = parse_engine(engine) if engine else None
    if wanted and wanted not in _ENGINES_OF[kind]:
        able = ", ".join(_ENGINES_OF[kind])
        raise ConfigError(f"engine {wanted.value!r} does not serve {kind.value} models; use {able}")
    found = _find(spec, kind, wanted, paths)
    if wanted and wanted is not found.engine:
        raise ConfigError(
            f"engine {wanted.value!r} cannot run {spec!r}, which is for {found.engine.value!r}"
        )
    if not found.engine.available and found.engine not in external:
        raise ModelNotFoundError(_missing_engine(found, paths))
    return found


def _find(
    spec: str | None, kind: Kind, wanted: EngineKind | None, paths: UserPaths
) -> ResolvedModel:
    if spec is None:
        return _packaged(_default(kind), kind, paths)
    try:
        path = Path(spec).expanduser()
        if path.is_dir():
            return _folder(path.absolute(), kind, wanted)
        if path.is_file() or spec.lower().endswith(".gguf"):
            return _file(path.absolute(), kind)
    except (OSError, ValueError, RuntimeError):
        # Too long, with a NUL byte, or in the home of nobody: no path that could exist.
        raise ModelNotFoundError(_unknown(spec, paths)) from None
    packaged = find(spec)
    # A packaged model stands in for its hub id only when that was not asked of another engine.
    if packaged and (wanted is None or _engine_of(packaged) is wanted):
        return _packaged(packaged, kind, paths)
    if _is_hub_id(spec):
        default = EngineKind.VLLM if kind is Kind.LLM else EngineKind.SENTENCE_TRANSFORMERS
        return ResolvedModel(spec, kind, default, hub_id=spec)
    raise ModelNotFoundError(_unknown(spec, paths))


def _default(kind: Kind) -> PackagedModel:
    return next(model for model in catalogue() if model.name == DEFAULTS[kind])


def _engine_of(model: PackagedModel) -> EngineKind:
    return EngineKind.LLAMA_CPP if model.kind is Kind.LLM else EngineKind.ONNX


def _packaged(model: PackagedModel, kind: Kind, paths: UserPaths) -> ResolvedModel:
    if model.kind is not kind:
        raise ConfigError(f"{model.name} is an {model.kind.value} model, not an {kind.value} model")
    if not is_installed(paths, model):
        raise ModelNotFoundError(
            f"{model.name} is not installed in {paths.models}; "
            f"run `sage models install {model.name}`"
        )
    folder = model_folder(paths, model.name)
    engine = _engine_of(model)
    path = folder / "model.gguf" if engine is EngineKind.LLAMA_CPP else folder
    return ResolvedModel(model.name, kind, engine, path=path)


def _file(path: Path, kind: Kind) -> ResolvedModel:
    if not path.exists():
        raise ModelNotFoundError(f"there is no file {path}")
    check_gguf(path)
    return ResolvedModel(path.stem, kind, EngineKind.LLAMA_CPP, path=path)


def _folder(folder: Path, kind: Kind, wanted: EngineKind | None) -> ResolvedModel:
    ggufs = sorted(folder.glob("*.gguf"))
    if len(ggufs) > 1:
        names = ", ".join(path.name for path in ggufs)
        raise ConfigError(f"{folder} holds several GGUF files ({names}); name one of them")
    if ggufs:
        check_gguf(ggufs[0])
        return ResolvedModel(folder.name, kind, EngineKind.LLAMA_CPP, path=ggufs[0])
    if kind is Kind.EMBEDDING:
        return _embedding_folder(folder, wanted)
    _check_weights(folder)
    return ResolvedModel(folder.name, kind, EngineKind.VLLM, path=folder)


def _embedding_folder(folder: Path, wanted: EngineKind | None) -> ResolvedModel:
    onnx = any((folder / name).is_file() for name in ("model.onnx", "onnx/model.onnx"))
    if onnx and wanted is not EngineKind.SENTENCE_TRANSFORMERS:
        if not (folder / "tokenizer.json").is_file():
            raise ModelFileError(f"{folder} has an ONNX model but no tokenizer.json beside it")
        return ResolvedModel(folder.name, Kind.EMBEDDING, EngineKind.ONNX, path=folder)
    _check_weights(folder)
    engine = EngineKind.SENTENCE_TRANSFORMERS
    return ResolvedModel(folder.name, Kind.EMBEDDING, engine, path=folder)


def _check_weights(folder: Path) -> None:
    """Check that a folder looks like a transformers model before an engine takes a minute to."""
    config = folder / "config.json"
    try:
        msgspec.json.decode(config.read_bytes(), type=dict)
    except OSError as error:
        raise ModelFileError(
            f"{folder} is no model folder: no config.json, no .gguf, no model.onnx "
            f"({error.strerror})"
        ) from error
    except msgspec.DecodeError as error:
        raise ModelFileError(f"{config} is not JSON: {error}") from error
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise ModelFileError(f"{folder} has a config.json but no weights (*.safetensors)")


def _is_hub_id(spec: str) -> bool:
    owner, slash, name = spec.partition("/")
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    return bool(slash and owner and name) and set(owner + name) <= allowed and owner[0] not in ".-"


def _missing_engine(model: ResolvedModel, paths: UserPaths) -> str:
    engine = model.engine
    return (
        f"{model.source!r} needs {engine.value}, which is not installed: "
        f"pip install 'sage-stack[{engine.extra}]'; {_what_is_here(paths)}"
    )


def _unknown(spec: str, paths: UserPaths) -> str:
    names = [model.name for model in catalogue()]
    close = nearest(spec, names)
    hint = f"did you mean {close!r}? " if close else ""
    return (
        f"{spec!r} is no packaged model, file, folder or hub id (organisation/name); {hint}"
        f"{_what_is_here(paths)}"
    )


def _what_is_here(paths: UserPaths) -> str:
    here = ", ".join(model.name for model in installed(paths)) or "none"
    return f"installed: {here}; `sage models list` shows what can be"

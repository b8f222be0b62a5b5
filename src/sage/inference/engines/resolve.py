"""From what a user writes after ``--model`` to an engine and its files."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from sage.config.paths import UserPaths, user_paths
from sage.errors import ConfigError, ModelFileError, ModelNotFoundError, shorten
from sage.inference.engines.folders import engine_of_folder
from sage.inference.engines.gguf import check_gguf
from sage.inference.engines.kinds import EngineKind, parse_engine
from sage.inference.models import (
    DEFAULTS,
    PackagedModel,
    closest,
    find,
    get,
    installed,
    is_installed,
    model_folder,
)
from sage.inference.scheduling.request import Kind

logger = logging.getLogger("sage.engines")

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
            (``organisation/name``); None is the default packaged model of the kind. A folder that
            has a packaged model's name is written ``./name``. The hub id of a packaged model is
            served by that model, under its own name, when it is installed or its hub engine is
            not; naming the hub engine overrules that.
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
    found = _find(spec, kind, wanted, paths, external)
    if wanted and wanted is not found.engine:
        raise ConfigError(
            f"engine {wanted.value!r} cannot run {spec or found.name!r}, which is for "
            f"{found.engine.value!r}"
        )
    if not found.engine.available and found.engine not in external:
        raise ModelNotFoundError(_missing_engine(found, paths))
    return found


def _find(
    spec: str | None,
    kind: Kind,
    wanted: EngineKind | None,
    paths: UserPaths,
    external: frozenset[EngineKind],
) -> ResolvedModel:
    if spec is None:
        return _packaged(get(DEFAULTS[kind]), kind, paths)
    packaged = find(spec)
    if packaged and "/" not in spec:
        return _packaged(packaged, kind, paths)
    if path := _existing(spec):
        return _local(path, kind, wanted)
    if spec.lower().endswith((".gguf", ".onnx", ".safetensors")):
        raise ModelNotFoundError(f"there is no file {spec!r} in {_here()}; {_what_is_here(paths)}")
    hub = EngineKind.VLLM if kind is Kind.LLM else EngineKind.SENTENCE_TRANSFORMERS
    if packaged and wanted in (None, packaged.engine):
        able = hub.available or hub in external
        if wanted or not able or is_installed(packaged, paths):
            logger.info("%s: using the packaged model %s", spec, packaged.name)
            return _packaged(packaged, kind, paths)
    if _is_hub_id(spec):
        return ResolvedModel(spec, kind, hub, hub_id=spec)
    raise ModelNotFoundError(_unknown(spec, paths))


def _existing(spec: str) -> Path | None:
    if not spec.strip():
        return None
    try:
        path = Path(spec).expanduser()
        return path.absolute() if path.exists() else None
    except PermissionError as error:
        raise ModelFileError(f"cannot look at {spec!r}: {error.strerror}") from error
    except (OSError, ValueError, RuntimeError):
        # Too long, with a NUL byte, or in the home of nobody: no path that could exist.
        return None


def _local(path: Path, kind: Kind, wanted: EngineKind | None) -> ResolvedModel:
    if path.is_dir():
        engine, model = engine_of_folder(path, kind, wanted)
        name = path.name if path.name not in {"", ".."} else path.resolve().name or "model"
    elif path.is_file():
        engine, model, name = EngineKind.LLAMA_CPP, path, path.stem
    else:
        raise ModelFileError(f"{path} is neither a file nor a folder")
    if engine is EngineKind.LLAMA_CPP:
        check_gguf(model)
    return ResolvedModel(name, kind, engine, path=model)


def _packaged(model: PackagedModel, kind: Kind, paths: UserPaths) -> ResolvedModel:
    if model.kind is not kind:
        raise ConfigError(f"{model.name} is an {model.kind.value} model, not an {kind.value} model")
    if not is_installed(model, paths):
        raise ModelNotFoundError(
            f"{model.name} is not installed in {paths.models}; "
            f"run `sage models install {model.name}`"
        )
    folder = model_folder(model, paths)
    path = folder / "model.gguf" if model.engine is EngineKind.LLAMA_CPP else folder
    return ResolvedModel(model.name, kind, model.engine, path=path)


def _is_hub_id(spec: str) -> bool:
    owner, slash, name = spec.partition("/")
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    return bool(slash and owner and name) and set(owner + name) <= allowed and owner[0] not in ".-"


def _missing_engine(model: ResolvedModel, paths: UserPaths) -> str:
    engine = model.engine
    taken = ", as a hub id (there is no such folder here)," if model.hub_id else ""
    return (
        f"{model.source!r}{taken} needs {engine.value}, which is not installed: "
        f"pip install 'sage-stack[{engine.extra}]'; {_what_is_here(paths)}"
    )


def _unknown(spec: str, paths: UserPaths) -> str:
    close = closest(spec)
    hint = f"did you mean {close!r} (`sage models install {close}`)? " if close else ""
    return (
        f"{shorten(spec)} is no packaged model, file, folder or hub id (organisation/name); {hint}"
        f"{_what_is_here(paths)}"
    )


def _what_is_here(paths: UserPaths) -> str:
    here = ", ".join(model.name for model in installed(paths))
    more = "`sage models list` shows what can be"
    return f"installed: {here}; {more}" if here else f"no packaged model is installed; {more}"


def _here() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return "the current folder, which was deleted"

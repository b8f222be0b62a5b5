"""The packaged models that are installed: one folder each, with a manifest."""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from sage.config.lock import exclusive, exclusive_now
from sage.config.paths import UserPaths
from sage.errors import ModelError, ModelFileError, ModelNotFoundError
from sage.inference.models.catalogue import PackagedModel, catalogue, get

MANIFEST = "manifest.json"
_BLOCK = 1 << 20


class FileEntry(msgspec.Struct, frozen=True):
    """A file of an installed model: bytes and SHA-256 as they were when it was installed."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What was installed, from where and when."""

    name: str
    kind: str
    licence: str
    sources: list[str]
    installed: str
    files: dict[str, FileEntry]


def model_folder(model: PackagedModel, paths: UserPaths) -> Path:
    """Return where a packaged model lies, installed or not."""
    return paths.models / model.name


@contextmanager
def alone(model: PackagedModel, paths: UserPaths, say: Callable[[str], None]) -> Iterator[None]:
    """Be the only one that changes a model's folder; wait for whoever does now, and say so."""
    path = paths.models / f".{model.name}.lock"
    with exclusive_now(path) as held:
        if held:
            yield
            return
    say(f"{model.name}: waiting for another `sage models` that is at work on it")
    with exclusive(path):
        yield


def read_manifest(folder: Path) -> Manifest | None:
    """Return the folder's manifest, or None when there is none that can be read."""
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError):
        return None


def is_installed(model: PackagedModel, paths: UserPaths) -> bool:
    """Whether this release of the model is there, each file in its full size.

    Contents are not read: `verify` does that.
    """
    folder = model_folder(model, paths)
    manifest = read_manifest(folder)
    if manifest is None or manifest.files != entries(model):
        return False
    return all(_size(folder / name) == entry.size for name, entry in manifest.files.items())


def entries(model: PackagedModel) -> dict[str, FileEntry]:
    """Return what the manifest of a whole installation lists."""
    return {file.name: FileEntry(file.size, file.sha256) for file in model.files}


def installed(paths: UserPaths) -> list[PackagedModel]:
    """Return the packaged models that are installed, in the catalogue's order."""
    return [model for model in catalogue() if is_installed(model, paths)]


def verify(model: PackagedModel, paths: UserPaths) -> None:
    """Read every file of an installed model and compare its SHA-256.

    Raises:
        ModelFileError: a file is missing or its contents are not what was published.
    """
    folder = model_folder(model, paths)
    remedy = f"run `sage models install {model.name} --force`"
    for file in model.files:
        path = folder / file.name
        try:
            actual = sha256_of(path)
        except OSError as error:
            raise ModelFileError(f"cannot read {path}: {error.strerror}; {remedy}") from error
        if actual != file.sha256:
            raise ModelFileError(
                f"{path} is damaged: SHA-256 {actual[:12]}…, expected {file.sha256[:12]}…; {remedy}"
            )


def remove(
    model: PackagedModel | str, paths: UserPaths, *, say: Callable[[str], None] = lambda _: None
) -> int:
    """Delete a model's folder, whole or not, and return the bytes that became free.

    Args:
        model: what to delete, or its name.
        paths: where from.
        say: is told when it has to wait, in a line.

    Raises:
        ModelNotFoundError: it is not installed, or there is none by that name.
        ModelError: its folder cannot be deleted.
    """
    model = get(model) if isinstance(model, str) else model
    folder = model_folder(model, paths)
    absent = ModelNotFoundError(f"{model.name} is not installed in {paths.models}")
    if not folder.is_dir():
        raise absent
    try:
        with alone(model, paths, say):
            if not folder.is_dir():  # deleted while this one waited
                raise absent
            freed = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            # Out of sight first: half a model is never taken for one.
            doomed = paths.models / f".removing-{model.name}"
            shutil.rmtree(doomed, ignore_errors=True)
            folder.rename(doomed)
            shutil.rmtree(doomed)
    except OSError as error:
        raise ModelError(f"cannot delete {folder}: {error.strerror or error}") from error
    return freed


def sha256_of(path: Path) -> str:
    """Return the file's SHA-256 in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def disk_error(error: OSError, folder: Path) -> ModelError:
    """Return the one-line error for a folder that cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ModelError(
            f"no space left for the model in {folder}, or for its download in the temporary "
            "folder; free some, or move them with SAGE_MODELS_DIR and TMPDIR"
        )
    return ModelError(
        f"cannot write to {folder}: {error.strerror or error}; "
        "check its permissions or set SAGE_MODELS_DIR"
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1

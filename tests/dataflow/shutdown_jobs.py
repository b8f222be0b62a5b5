"""Jobs that a test ends by SIGTERM; run as a script, which then says what it left behind.

python shutdown_jobs.py JOB GRACE
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from sage import JobCancelledError, LocalEnvironment, OperatorError
from sage.dataflow.checkpoint.store import CheckpointStore

GRACE = float(sys.argv[2]) if len(sys.argv) > 2 else 20.0


def say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


def endless() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1
        time.sleep(0.0005)


def ready(seen: list[Any], at: int = 100) -> Any:
    """A sink that says so when it has taken some records."""

    def sink(record: Any) -> None:
        seen.append(record)
        if len(seen) == at:
            say(ready=True)

    return sink


def double(record: int) -> int:
    return record * 2


def sleep_for_good(record: int) -> int:
    time.sleep(1000)
    return record


def block(_: Any) -> None:
    say(ready=True)
    time.sleep(1000)


async def answer(record: int) -> int:
    await asyncio.sleep(0.05)
    return record


def slowly(_: Any) -> None:
    time.sleep(0.02)


def environment(workers: str = "thread", **config: Any) -> LocalEnvironment:
    return LocalEnvironment("job", config={"workers": workers, "grace": GRACE, **config})


def batches(workers: str = "thread") -> LocalEnvironment:
    """Records that a batch holds back, of a source without end."""
    env = environment(workers)
    env.from_source(endless).map(double).batch(7).flatmap(list).sink(ready(SEEN))
    return env


def processes() -> LocalEnvironment:
    env = environment()
    stream = env.from_source(endless).map(double, workers="process", parallelism=2)
    stream.sink(ready(SEEN))
    return env


def in_flight() -> LocalEnvironment:
    env = environment()
    env.from_source(endless).map(answer, concurrency=50).sink(ready(SEEN))
    return env


def inline() -> LocalEnvironment:
    return batches("inline")


def blocked_inline() -> LocalEnvironment:
    env = environment("inline")
    env.from_source(endless).sink(block)
    return env


def blocked() -> LocalEnvironment:
    """A sink and a worker process that never return."""
    env = environment(checkpoint={"dir": "checkpoints"})
    stream = env.from_source(endless)
    stream.map(double, name="again").sink(block, name="block")
    stream.map(sleep_for_good, workers="process").sink(print)
    return env


def behind() -> LocalEnvironment:
    """A sink that would need minutes for what waits before it."""
    env = environment()
    say(ready=True)
    env.from_collection(range(100_000)).map(double, parallelism=2).sink(slowly)
    return env


def saved() -> LocalEnvironment:
    """Numbers with checkpoints, of which a sink writes each into a file."""
    env = environment(checkpoint={"dir": "checkpoints"})
    env.from_collection(range(2000)).batch(7).flatmap(list).sink(note)
    return env


def note(record: int) -> None:
    with Path("noted").open("a") as file:
        file.write(f"{record}\n")
    if record == 100:
        say(ready=True)
    time.sleep(0.0005)


def restarting(workers: str = "thread") -> LocalEnvironment:
    """A job that waits a minute before its next attempt."""
    env = environment(workers, restart={"strategy": "fixed_delay", "delay": 60.0})
    logging.getLogger("sage.dataflow").addHandler(Ready())
    env.from_collection([1]).map(fail).sink(print)
    return env


def restarting_inline() -> LocalEnvironment:
    return restarting("inline")


class Ready(logging.Handler):
    """Says so when the job waits for its next attempt."""

    def emit(self, record: logging.LogRecord) -> None:
        if "starts again" in record.getMessage():
            say(ready=True)


def fail(record: int) -> int:
    raise ValueError(record)


def own_handler() -> LocalEnvironment:
    """A program that handles SIGTERM by itself."""
    env = batches()
    signal.signal(signal.SIGTERM, lambda *_: say(own=True))
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    return env


def shared_memory() -> list[str]:
    """What this process maps of where semaphores and shared memory lie."""
    maps = Path("/proc/self/maps")
    lines = maps.read_text().splitlines() if maps.exists() else []
    return [line for line in lines if "/dev/shm/" in line]


SEEN: list[Any] = []


def main() -> None:
    name, _, how = sys.argv[1].partition(":")
    env = globals()[name]()
    before = signal.getsignal(signal.SIGTERM)
    facts: dict[str, Any] = {}
    try:
        if how == "handle":
            result = env.submit().wait()
        else:
            result = env.submit(autostop=True, resume="latest" if how == "resumed" else None)
    except OperatorError as error:
        result = error.result
    except JobCancelledError as error:
        facts["cancelled"] = str(error)
        result = error.result
    except KeyboardInterrupt:
        result = env.last_job.result
    if env.config.checkpoint is not None:
        CheckpointStore(env.config.checkpoint.dir, 1).close()  # nobody holds the folder
    say(
        **facts,
        status=result.status,
        records_in=result.records_in,
        records_out=result.records_out,
        abandoned=result.abandoned,
        seen=len(set(SEEN)),
        threads=[t.name for t in threading.enumerate() if t is not threading.main_thread()],
        children=[child.pid for child in psutil.Process().children(recursive=True)],
        shared=shared_memory(),
        temporary=[path.name for path in Path(tempfile.gettempdir()).iterdir()],
        put_back=signal.getsignal(signal.SIGTERM) is before,
    )


if __name__ == "__main__":
    main()

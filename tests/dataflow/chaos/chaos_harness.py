"""Runs the job of `chaos_job` life after life, kills each, and judges what has come out."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
from chaos_job import KEYS, WINDOW, Spec
from chaos_steps import STEPS

from sage.dataflow.checkpoint.layout import decode
from sage.errors import DamagedCheckpointError

JOB = Path(__file__).with_name("chaos_job.py")
# A barrier waits for no record's arrival, so far more than any life or checkpoint takes.
PATIENCE = 40.0
AGAIN = b"it starts again in"


@dataclass(frozen=True)
class Fault:
    """What befalls the job.

    Attributes:
        kind: "process" or "worker" to be killed, or one of `STEPS` to be killed at.
        delay: seconds from the start, or from the last fault, to a kill.
        nth: at which occurrence of a step.
    """

    kind: str
    delay: float = 0.0
    nth: int = 1


@dataclass
class Story:
    """What happened.

    Attributes:
        fired: how often each kind of fault did.
        resumed_at: by life, when the checkpoint that it went on from was begun, in seconds since
            the epoch; minus infinity where it began anew.
        restarted_at: by life, when a worker of it was last killed.
        restarts: how often a job started again within its life.
        duplicates: deliveries of records that were delivered before.
        report: what the last life said of itself.
    """

    fired: Counter[str] = field(default_factory=Counter)
    resumed_at: list[float] = field(default_factory=list)
    restarted_at: dict[int, float] = field(default_factory=dict)
    restarts: int = 0
    duplicates: int = 0
    report: dict[str, int] = field(default_factory=dict)


def random_faults(seed: int, count: int, workers: str, longest: float = 1.0) -> list[Fault]:
    """Return as many faults of all kinds as asked for, the same for the same seed."""
    rng = random.Random(seed)
    kinds = ["process", *STEPS] + (["worker"] * 2 if workers == "process" else ["process"])
    chosen = (kinds * (count // len(kinds) + 1))[:count]
    rng.shuffle(chosen)
    return [Fault(kind, rng.uniform(0, longest), rng.randint(1, 3)) for kind in chosen]


def run(spec: Spec, faults: list[Fault]) -> Story:
    """Run a job through its faults to its end, and judge it."""
    _prepare(spec)
    story = Story()
    left = list(faults)
    life = 0
    while True:
        if not left:
            spec.path("release").touch()
        step = left[0] if left and left[0].kind in STEPS else None
        now = replace(spec, life=life, step=step.kind if step else "", nth=step.nth if step else 1)
        story.resumed_at.append(_last_checkpoint(spec))
        with _started(now) as process:
            if not left:
                assert process.wait(PATIENCE * 3) == 0, _log(now)
                break
            _befall(now, process, left, story)
        life += 1
    story.report = json.loads(spec.path("report").read_text(encoding="utf-8"))
    wanted = Counter(fault.kind for fault in faults)
    assert story.fired == wanted, f"faults that fired: {story.fired}, wanted: {wanted}"
    judge(spec, story)
    return story


def _befall(spec: Spec, process: subprocess.Popen[bytes], left: list[Fault], story: Story) -> None:
    """Let faults befall a life until it ends."""
    while left and left[0].kind == "worker":
        fault = left.pop(0)
        time.sleep(fault.delay)
        _kill_worker(spec, process)
        story.fired["worker"] += 1
        story.restarts += 1
        story.restarted_at[spec.life] = time.time()
        if not left or left[0].kind in STEPS:
            # The next fault needs a life of its own.
            _kill(process)
            return
    fault = left.pop(0)
    if fault.kind == "process":
        time.sleep(fault.delay)
        _kill(process)
    else:
        assert process.wait(PATIENCE) == -signal.SIGKILL, _log(spec)
        assert spec.path(f"fired-{spec.life}").exists(), f"{fault} did not fire\n{_log(spec)}"
    story.fired[fault.kind] += 1


def _kill(process: subprocess.Popen[bytes]) -> None:
    assert process.poll() is None, f"the job ended by itself with {process.returncode}"
    process.kill()
    assert process.wait(PATIENCE) == -signal.SIGKILL


def _kill_worker(spec: Spec, process: subprocess.Popen[bytes]) -> None:
    """Kill a worker process and wait until the job has started again."""
    deadline = time.monotonic() + PATIENCE
    workers: list[psutil.Process] = []
    while not workers:
        assert time.monotonic() < deadline, _log(spec)
        assert process.poll() is None, _log(spec)
        workers = [
            child
            for child in psutil.Process(process.pid).children()
            if child.status() != psutil.STATUS_ZOMBIE
        ]
    before = _log(spec).count(AGAIN.decode())
    workers[len(workers) // 2].send_signal(signal.SIGKILL)
    while _log(spec).count(AGAIN.decode()) == before:
        assert time.monotonic() < deadline, f"the job did not start again\n{_log(spec)}"
        assert process.poll() is None, _log(spec)
        time.sleep(0.01)


@contextmanager
def _started(spec: Spec) -> Iterator[subprocess.Popen[bytes]]:
    with spec.path(f"log-{spec.life}").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(JOB), json.dumps(asdict(spec))],
            stdout=subprocess.PIPE,
            stderr=log,
            # Every life hashes otherwise.
            env={**os.environ, "PYTHONHASHSEED": str(spec.life)},
        )
        try:
            assert process.stdout is not None
            if not process.stdout.readline() and process.wait(PATIENCE) != -signal.SIGKILL:
                raise AssertionError(_log(spec))
            yield process
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def _log(spec: Spec) -> str:
    return spec.path(f"log-{spec.life}").read_text(encoding="utf-8", errors="replace")


def _prepare(spec: Spec) -> None:
    if spec.variant == "files":
        half = spec.total // 2
        for index, numbers in enumerate((range(half), range(half, spec.total))):
            lines = (json.dumps({"n": number}) + "\n" for number in numbers)
            spec.path(f"input-{index}.jsonl").write_text("".join(lines), encoding="utf-8")
    if spec.sink == "upsert":
        database = sqlite3.connect(spec.path("database"))
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE records (n INTEGER PRIMARY KEY, key, seen, again)")
        database.close()


def _last_checkpoint(spec: Spec) -> float:
    """Return when the checkpoint that the next life goes on from was begun."""
    for path in sorted(spec.path("checkpoints").glob("checkpoint-*.sage"), reverse=True):
        with path.open("rb") as file:
            try:
                return decode(file, str(path)).time
            except DamagedCheckpointError as error:
                # Only what was renamed has this name, and only what is whole is renamed.
                raise AssertionError(f"a commit left a damaged checkpoint: {error}") from error
    return float("-inf")


@dataclass(frozen=True, slots=True)
class Delivery:
    """A line of the sink's file."""

    life: int
    attempt: str
    time: float
    key: int
    seen: int
    number: int
    again: bool


def deliveries(spec: Spec) -> list[Delivery]:
    """Return the lines that the sink has written, in order."""
    made = []
    for line in spec.path("out").read_text(encoding="utf-8").splitlines():
        attempt, when, key, seen, number, again = line.split()
        made.append(
            Delivery(
                int(attempt.split(".")[0]),
                attempt,
                float(when),
                int(key),
                int(seen),
                int(number),
                again == "1",
            )
        )
    return made


def judge(spec: Spec, story: Story) -> None:
    """Assert that nothing was lost, disordered or doubled more than is promised."""
    report = story.report
    assert report["records_in"] == spec.total, report
    assert report["counted"] == spec.total, report
    assert report["failed"] == report["abandoned"] == 0, report
    assert report["restarts"] == 0, "the last life had no faults"
    if spec.sink == "append":
        _judge_appended(spec, story, deliveries(spec))
    else:
        _judge_upserted(spec)
    _judge_results(spec)


def _judge_appended(spec: Spec, story: Story, made: list[Delivery]) -> None:
    lost = set(range(spec.total)) - {each.number for each in made}
    assert not lost, f"{len(lost)} records were lost, among them {sorted(lost)[:5]}"
    story.duplicates = len(made) - spec.total
    before_checkpoint = [each for each in made if each.again]
    assert not before_checkpoint, (
        f"{len(before_checkpoint)} records came again that were delivered before the checkpoint, "
        f"as {before_checkpoint[0]}"
    )
    _judge_duplicates(story, made)
    assert all(each.key == each.number % KEYS for each in made)
    if spec.ordered:
        _judge_order(made)


def _judge_duplicates(story: Story, made: list[Delivery]) -> None:
    """Assert that only what was delivered after the next life's checkpoint was begun comes again.

    Within a life that started again by itself, the sink's own state tells.
    """
    last: dict[int, Delivery] = {}
    for each in made:
        earlier = last.get(each.number)
        if earlier is not None and earlier.life < each.life:
            begun = story.resumed_at[earlier.life + 1]
            since = story.restarted_at.get(earlier.life, 0.0)
            assert not since < earlier.time < begun, f"{earlier}, then {each}; checkpoint: {begun}"
        last[each.number] = each


def _judge_order(made: list[Delivery]) -> None:
    """Assert each key's order: rising within an attempt, no gap to what was delivered before.

    What a record is numbered by keyed state is the same whenever it comes: the state is exact.
    """
    last: dict[tuple[str, int], int] = {}
    highest: dict[int, int] = defaultdict(int)
    for each in made:
        assert each.seen == each.number // KEYS + 1, f"{each} is counted wrongly"
        place = each.attempt, each.key
        if place in last:
            assert each.seen == last[place] + 1, f"{each} follows {last[place]} in its attempt"
        else:
            assert each.seen <= highest[each.key] + 1, f"{each} leaves a gap"
        last[place] = each.seen
        highest[each.key] = max(highest[each.key], each.seen)


def _judge_upserted(spec: Spec) -> None:
    database = sqlite3.connect(spec.path("database"))
    rows = database.execute("SELECT n, key, seen, again FROM records ORDER BY n").fetchall()
    database.close()
    assert [row[0] for row in rows] == list(range(spec.total)), f"{len(rows)} rows"
    assert all(row[1] == row[0] % KEYS and row[3] == 0 for row in rows)
    if spec.ordered:
        assert all(row[2] == row[0] // KEYS + 1 for row in rows)
    else:
        counts = Counter(row[1] for row in rows)
        assert all(1 <= row[2] <= counts[row[1]] for row in rows)


def _judge_results(spec: Spec) -> None:
    """Assert that each result of windows and sums is right, and that none is missing."""
    windows: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
    sums: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for number in range(spec.total):
        key = number % KEYS
        for kept in windows[key, number // WINDOW * WINDOW], sums[key]:
            kept[0] += 1
            kept[1] += number
    _compare(spec, "windows", {(*place, *kept) for place, kept in windows.items()})
    _compare(spec, "sums", {(key, *kept) for key, kept in sums.items()})
    # Sums are emitted when the input has ended, which no fault follows.
    lines = spec.path("sums").read_text(encoding="utf-8").splitlines()
    assert len(lines) == min(KEYS, spec.total)


def _compare(spec: Spec, name: str, wanted: set[tuple[Any, ...]]) -> None:
    lines = spec.path(name).read_text(encoding="utf-8").splitlines()
    got = {tuple(json.loads(line)) for line in lines}
    wrong, missing = sorted(got - wanted)[:3], sorted(wanted - got)[:3]
    assert got == wanted, f"{name}: wrong {wrong}, missing {missing}"

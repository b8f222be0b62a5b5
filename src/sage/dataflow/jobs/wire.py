"""What travels between client, manager and driver, as JSON."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from sage.dataflow.gpu import GpuReading
from sage.dataflow.jobs.life import JobState
from sage.dataflow.result import OperatorReport

Resume = Literal["latest"] | int | None


class Versions(msgspec.Struct, frozen=True):
    """What a pickle was made with, or is to be read with.

    Attributes:
        python: as "3.12.4".
        sage: of sage-stack.
        cloudpickle: of cloudpickle.
    """

    python: str
    sage: str
    cloudpickle: str


class Recovery(msgspec.Struct, frozen=True):
    """What of a job's configuration says how it goes on after its driver has died.

    Attributes:
        checkpoints: the folder that it writes checkpoints to; None for none.
        restart: as ``config={"restart": …}``; None when the job says nothing.
    """

    checkpoints: str | None = None
    restart: dict[str, Any] | None = None


class Submission(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A job to run.

    Attributes:
        name: the environment's.
        pipeline: the `PipelineSpec`, pickled by cloudpickle; base64 in JSON.
        versions: of the client.
        config: the environment's configuration, for people to read.
        recovery: see there.
        folder: the client's working directory, in which the job runs where it exists.
        resume: the checkpoint to go on from: "latest", a number, or None to begin anew.
        profile: measure the time of every operator over every batch.
    """

    name: str
    pipeline: bytes
    versions: Versions
    config: dict[str, Any] = {}
    recovery: Recovery = Recovery()
    folder: str | None = None
    resume: Resume = None
    profile: bool = False


class Progress(msgspec.Struct, frozen=True):
    """What a job has done until now, or did: a `JobResult` in the types of JSON.

    Attributes:
        status: "starting" until the pipeline runs, and then a `JobStatus`.
        attempt: number of the driver that says so, from 1.
        duration: seconds since the driver started the pipeline.
        operators: a report for each.
        error: in one line; None unless the job failed.
        last_checkpoint: number of the last one written; None when there is none.

    The others are as in `JobResult`.
    """

    status: str
    attempt: int
    duration: float = 0.0
    operators: tuple[OperatorReport, ...] = ()
    error: str | None = None
    abandoned: int = 0
    dead_letter_count: int = 0
    resumed_from: int | None = None
    restarts: int = 0
    checkpoints: int = 0
    failed_checkpoints: int = 0
    last_checkpoint: int | None = None
    gpus: tuple[GpuReading, ...] = ()


class JobView(msgspec.Struct, frozen=True):
    """A job as the manager shows it.

    Attributes:
        id: unique.
        name: the environment's.
        state: how it stands.
        created: when it was submitted, in seconds since the epoch.
        started: when its present or last driver was started; None before the first.
        ended: when it ended; None before that.
        error: why it failed, in one line.
        attempt: how many drivers were started for it; all after the first took over from one that
            died, or resumed the job.
        pid: of the driver, while there is one.
        config: the environment's configuration.
        versions: of the client.
        checkpoints_dir: the folder it writes checkpoints to; None for none.
        progress: what it has done; None in lists, and where no driver has said anything yet.
    """

    id: str
    name: str
    state: JobState
    created: float
    started: float | None
    ended: float | None
    error: str | None
    attempt: int
    pid: int | None
    config: dict[str, Any]
    versions: Versions
    checkpoints_dir: str | None = None
    progress: Progress | None = None


class JobList(msgspec.Struct, frozen=True):
    """All jobs, the newest first."""

    jobs: tuple[JobView, ...]


class JobOutcome(msgspec.Struct, frozen=True):
    """How a job ended.

    Attributes:
        job: the job; its progress is what it did.
        details: the error, the dead letters and what sinks gathered, pickled by the job's driver;
            base64 in JSON. None when there are none.
    """

    job: JobView
    details: bytes | None = None


class ResumeOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which checkpoint a job is to go on from."""

    checkpoint: Literal["latest"] | int = "latest"


class Refusal(msgspec.Struct, frozen=True):
    """Why the manager did not do what it was asked.

    Attributes:
        kind: name of the error's class.
        message: in one line.
    """

    kind: str
    message: str


class Failure(msgspec.Struct, frozen=True):
    """The body of an answer that is an error."""

    error: Refusal


class Health(msgspec.Struct, frozen=True):
    """That the manager is there."""

    status: str = "ok"

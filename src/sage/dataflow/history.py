"""What became of a job over its restarts and checkpoints."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class JobHistory:
    """Kept by what runs the job, read by its handle.

    Attributes:
        resumed_from: number of the checkpoint that the job went on from when it was submitted;
            None when it began anew.
        restarts: how often it was started again after a failure.
        checkpoints: how many were written.
        failed_checkpoints: how many could not be written.
        last_checkpoint: number of the last one that was written; None when there is none.
    """

    resumed_from: int | None = None
    restarts: int = 0
    checkpoints: int = 0
    failed_checkpoints: int = 0
    last_checkpoint: int | None = None

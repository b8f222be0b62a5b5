"""What a replica has of the machine, as its operator sees it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resources:
    """What was asked for a replica, and which GPUs it got.

    Attributes:
        cpus: CPU cores, as the operator's ``cpus`` says; None when it does not.
        gpus: GPUs, as its ``gpus`` says; below 1, a share of one.
        devices: those GPUs as PyTorch names them in this process: ``("cuda:0",)``. A process
            worker sees no others.
    """

    cpus: float | None = None
    gpus: float = 0.0
    devices: tuple[str, ...] = ()

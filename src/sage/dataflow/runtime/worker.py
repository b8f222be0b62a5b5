"""The worker process: one replica of a stage, driven over a pipe.

Each command is answered before the next is read; the end of the pipe ends the process, so none
outlives the job.
"""

from __future__ import annotations

import pickle
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import spawn
from multiprocessing.connection import Connection
from typing import Any

from sage.config.settings import set_visible_devices
from sage.dataflow.dead_letters import DeadLetter, DeadLetters
from sage.dataflow.guard import JobServices
from sage.dataflow.interrupts import ENDING_SIGNALS
from sage.dataflow.meter import Meter
from sage.dataflow.needs import Resources
from sage.dataflow.plan import Stage
from sage.dataflow.replica import OperatorReplica
from sage.dataflow.runtime.failure import Dump, Failure, failure_of, sendable_error
from sage.dataflow.services import Services
from sage.dataflow.stage import StageReplica, States
from sage.errors import DataflowError

PROTOCOL = pickle.HIGHEST_PROTOCOL


def pickled(value: Any) -> bytes:
    """Return what goes over the pipe."""
    return pickle.dumps(value, PROTOCOL)


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a command.

    Attributes:
        records: what left the stage.
        meters: each operator's counts so far.
        metrics: each operator's counters of the user's own.
        due: when the stage wants to be woken.
        letters: records given up since the last reply.
        failure: what went wrong, if anything did.
        states: each operator's state, when a checkpoint asked for it.
    """

    records: list[Any]
    meters: list[Meter]
    metrics: list[dict[str, int]]
    due: float | None
    letters: list[DeadLetter] = field(default_factory=list)
    failure: Failure | None = None
    states: States = field(default_factory=dict)


class Worker:
    """Runs commands on a stage's replica.

    Args:
        stage: what the plan says.
        index: the replica's number.
        resources: of each operator.
        profile: measure every batch operator by operator.
        clock_offset: of the job's services; all processes share the clock itself.
        services: what the user registered.
        dump: pickles the operators' states and errors.
    """

    def __init__(
        self,
        stage: Stage,
        index: int,
        resources: Sequence[Resources],
        *,
        profile: bool,
        clock_offset: float,
        services: Services,
        dump: Dump,
    ) -> None:
        self._letters: list[DeadLetter] = []
        self._registered = services
        job = JobServices(
            DeadLetters(self._letters.append), clock_offset=clock_offset, registered=services
        )
        self._operators = [
            OperatorReplica(node, node.blueprint.replicas(1, node.name)[0], index, job, has)
            for node, has in zip(stage.nodes, resources, strict=True)
        ]
        self._replica = StageReplica(stage, self._operators, profile=profile, dump=dump)
        self._dump = dump

    def answer(self, command: str, arguments: tuple[Any, ...]) -> Reply:
        """Run a method of the replica and say how it went."""
        records: list[Any] = []
        states: States = {}
        failure: Failure | None = None
        try:
            if command == "checkpoint":
                records, states = self._replica.checkpoint()
            else:
                records = self._run(command, arguments)
        except DataflowError as error:
            failure = failure_of(error, self._dump)
        letters, self._letters[:] = list(self._letters), []
        return Reply(
            records=records,
            meters=[operator.meter for operator in self._operators],
            metrics=[operator.context.metrics.values() for operator in self._operators],
            due=self._replica.next_timer(),
            letters=letters,
            failure=failure,
            states=states,
        )

    def _run(self, command: str, arguments: tuple[Any, ...]) -> list[Any]:
        try:
            return getattr(self._replica, command)(*arguments) or []
        finally:
            if command == "close":
                self._registered.close()


def main(arguments: Sequence[str]) -> None:
    """Serve one replica until the pipe ends.

    Args:
        arguments: the number of the pipe's file descriptor; then the GPUs that it may see, if
            that is to be said.
    """
    for visible in arguments[1:]:
        # Before the user's modules are loaded: some libraries look at it only once.
        set_visible_devices(visible)
    # Ctrl-C and, from some supervisors, SIGTERM go to the whole process group; the job's own
    # process ends this one in good order. Not SIG_IGN for SIGTERM: programs that an operator
    # starts would ignore it, too. Both are blocked until here.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)
    connection = Connection(int(arguments[0]))
    # The operators of a script are found in its main module.
    spawn.prepare(pickle.loads(connection.recv_bytes()))  # noqa: S301 - from our own parent
    worker: Worker | None = None
    dump: Dump = pickled
    while True:
        try:
            command, *rest = pickle.loads(connection.recv_bytes())  # noqa: S301 - as above
        except EOFError:
            return
        if worker is None:
            stage, index, profile, offset, resources, registrations, dump = rest
            worker = Worker(
                stage,
                index,
                resources,
                profile=profile,
                clock_offset=offset,
                services=Services(registrations),
                dump=dump,
            )
            reply = Reply([], [], [], None)
        else:
            reply = worker.answer(command, tuple(rest))
        connection.send_bytes(_dumped(reply, dump))


def _dumped(reply: Reply, dump: Dump) -> bytes:
    try:
        return dump(reply)
    except Exception as error:  # noqa: BLE001 - whatever pickling a user's record raises
        failure = Failure("", "<emitted records>", sendable_error(error, dump), [])
        return dump(Reply([], reply.meters, reply.metrics, None, [], failure))

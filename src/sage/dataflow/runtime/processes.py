"""A stage replica that lives in a process of its own, for operators that compute."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import Pipe, spawn
from multiprocessing.connection import Connection
from typing import Any

from sage.dataflow.checkpoint.operator_state import NONE_IN_FLIGHT, InFlightRecords
from sage.dataflow.control import ControlItem
from sage.dataflow.guard import JobServices
from sage.dataflow.interrupts import signals_blocked
from sage.dataflow.plan import Stage
from sage.dataflow.replica import OperatorReplica
from sage.dataflow.resources import Share
from sage.dataflow.runtime.failure import Dump
from sage.dataflow.runtime.worker import PROTOCOL, Reply, pickled
from sage.dataflow.stage import SavedStates, StageReplica, States
from sage.errors import GraphError, OperatorError

EXIT_PATIENCE = 10.0
# Not `-m`, by which the module would be __main__ and its classes other ones than ours.
START = "import sys; from sage.dataflow.runtime.worker import main; main(sys.argv[1:])"


class ProcessStageReplica(StageReplica):
    """Stands in this process for a replica in another one.

    Batches go over as they are, and what the stage emits comes back, with its counts.

    Args:
        stage: what the plan says.
        index: the replica's number.
        services: of the job.
        share: what it has of the machine.
        profile: measure every batch operator by operator.
        dump: pickles what goes over and back, with the code of what no module there has; None for
            plain pickle, the worker having this process's main module.

    Raises:
        GraphError: an operator or a service cannot be sent, or the clock is the user's own.
    """

    def __init__(
        self,
        stage: Stage,
        index: int,
        services: JobServices,
        share: Share,
        *,
        profile: bool = False,
        dump: Dump | None = None,
    ) -> None:
        placeholders = [OperatorReplica(node, None, index) for node in stage.nodes]
        self._shares_main = dump is None
        dump = dump or pickled
        super().__init__(stage, placeholders, dump=dump)
        for node in stage.nodes:
            _check_sendable(node.name, node.blueprint, dump)
        if services.injected:
            raise GraphError(
                f"stage {stage.name!r} runs in a process of its own, which the environment's clock "
                "does not reach; leave out clock=, or use workers 'thread' or 'inline'"
            )
        registrations = services.registered.registrations
        for registration in registrations:
            registration.check_sendable(dump)
        settings = (index, profile, services.clock_offset, share.resources, registrations, dump)
        self._visible = [] if share.visible is None else [share.visible]
        self._order = dump(("start", stage, *settings))
        self._sent = self.operators[0].traffic
        self._received = self.operators[-1].traffic
        self._sent.bytes_in = self._received.bytes_out = 0
        self._services = services
        self._due: float | None = None
        self._states: States = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    @property
    def pid(self) -> int | None:
        """The worker's process id; None before it is started and after its end."""
        process = self._process
        return None if process is None else process.pid

    @property
    def has_timers(self) -> bool:
        """Whether an operator may want to be woken."""
        return True

    def open(self) -> None:
        """Start the process and open the operators in it.

        Raises:
            OperatorError: an operator could not be made or opened.
        """
        mine, its = Pipe()
        self._connection = mine
        with its, signals_blocked():
            self._process = subprocess.Popen(
                [sys.executable, "-c", START, str(its.fileno()), *self._visible],
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
            )
        mine.send_bytes(pickle.dumps(self._preparation(), PROTOCOL))
        self._ask(self._order)
        self._call("open")

    def _preparation(self) -> dict[str, Any]:
        preparation = spawn.get_preparation_data(self.stage.name)
        # A secret of multiprocessing's own managers, which refuses to be sent.
        left_out = ["authkey"]
        if not self._shares_main:
            left_out += ["init_main_from_name", "init_main_from_path"]
        return {key: value for key, value in preparation.items() if key not in left_out}

    def process(self, records: Sequence[Any]) -> list[Any]:
        """Take a batch through the operators and return what the last one emits.

        Raises:
            RecordFailedError: an operator raised.
            OperatorError: the records cannot be sent, or the process died.
        """
        return self._call("process", records)

    def finish(self) -> list[Any]:
        """Flush the operators and return what leaves the stage thereby.

        Raises:
            OperatorError: an operator raised, or the process died.
        """
        return self._call("finish")

    def next_timer(self) -> float | None:
        """Return when the next operator wants to be woken; all processes share that clock."""
        return self._due

    def fire(self, now: float) -> list[Any]:
        """Wake the operators whose time has come.

        Raises:
            OperatorError: an operator raised, or the process died.
        """
        return self._call("fire", now)

    def act(self, item: ControlItem) -> list[Any]:
        """Take a control item through the operators; return what leaves the stage before it.

        Raises:
            OperatorError: an operator raised, or the process died.
        """
        return self._call("act", item)

    def checkpoint(
        self,
        in_flight: InFlightRecords = NONE_IN_FLIGHT,  # noqa: ARG002 - its operators are not async
        *,
        settled: bool = False,  # noqa: ARG002 - as above
    ) -> tuple[list[Any], States]:
        """Save the operators' state in their process.

        Raises:
            OperatorError: an operator raised, or the process died.
        """
        emitted = self._call("checkpoint")
        return emitted, self._states

    def restore(self, saved: SavedStates) -> list[Any]:
        """Let the operators take over what a checkpoint kept.

        Raises:
            CheckpointError: the state does not fit the operators.
            OperatorError: an operator raised, or the process died.
        """
        return self._call("restore", saved)

    def close(self) -> None:
        """Close the operators and end the process.

        Raises:
            OperatorError: an operator raised; the process has ended all the same.
        """
        process, connection = self._process, self._connection
        if process is None or connection is None:
            return
        try:
            if process.poll() is None:
                self._call("close")
        finally:
            self._process = self._connection = None
            connection.close()
            _end(process)

    def kill(self) -> None:
        """End the process at once."""
        process = self._process
        if process is not None:
            process.kill()

    def _call(self, command: str, *arguments: Any) -> list[Any]:
        try:
            message = self._dump((command, *arguments))
        except Exception as error:
            raise OperatorError(self.operators[0].name, "<batch>", error) from error
        return self._ask(message)

    def _ask(self, message: bytes) -> list[Any]:
        assert self._connection is not None
        answer: bytes | None = None
        with suppress(EOFError, OSError):
            self._connection.send_bytes(message)
            answer = self._connection.recv_bytes()
        if answer is None:
            raise self._death()
        reply: Reply = pickle.loads(answer)  # noqa: S301 - our child
        self._sent.bytes_in = (self._sent.bytes_in or 0) + len(message)
        self._received.bytes_out = (self._received.bytes_out or 0) + len(answer)
        self._learn(reply)
        if reply.failure is not None:
            raise reply.failure.error(self.operators[-1].name)
        return reply.records

    def _learn(self, reply: Reply) -> None:
        self._due = reply.due
        self._states = reply.states
        for operator, meter, metrics in zip(
            self.operators, reply.meters, reply.metrics, strict=False
        ):
            operator.meter = meter
            operator.context.metrics.replace(metrics)
        for letter in reply.letters:
            self._services.dead_letters.add(letter)

    def _death(self) -> OperatorError:
        assert self._process is not None
        code = _end(self._process)
        cause = RuntimeError(
            f"its worker process ended with code {code}; its last lines on standard error say why"
        )
        return OperatorError(self.stage.name, "<batch>", cause)


def _check_sendable(name: str, blueprint: Any, dump: Dump) -> None:
    try:
        dump(blueprint)
    except Exception as error:
        raise GraphError(
            f"operator {name!r} cannot be sent to a worker process ({error}); define it at the top "
            "level of a module, or give it workers='thread'"
        ) from error


def _end(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process that has been told to end, and kill it when it does not."""
    try:
        return process.wait(EXIT_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()

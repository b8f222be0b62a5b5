"""What a job did: counts that add up, times, and how it ended."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sage.dataflow.dead_letters import DeadLetter
from sage.dataflow.gpu import GpuReading
from sage.dataflow.graph import Kind, Node
from sage.dataflow.latency import Latency, summarise
from sage.dataflow.lifecycle import Finite
from sage.dataflow.profile import profile_table
from sage.dataflow.replica import OperatorReplica
from sage.errors import JobCancelledError, SageError


class JobStatus(StrEnum):
    """How a job stands.

    A stopped one was told to end, by `JobHandle.stop` or SIGTERM, and has drained: all that its
    sources had given was processed, or is in its last checkpoint. A cancelled one has abandoned
    what was on its way.
    """

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class OperatorReport:
    """One operator, summed over its replicas.

    Attributes:
        name: the operator's name.
        kind: what it does.
        parallelism: its replicas.
        records_in: records it took.
        records_out: records it emitted; of a sink, those it took without an error.
        dropped: records for which it emitted nothing, as it was meant to (a filter's no).
        failed: records on which it raised, for good.
        retried: attempts that failed and were followed by another.
        busy: seconds spent in it by all replicas together: measured with ``profile=True``,
            otherwise estimated from a sample of the batches. Of an async operator, the seconds in
            which it had records in flight; of a source, 0.
        metrics: the user's own counters (``context.metrics``).
        waited: seconds for which its replicas waited for records, the waits that have ended; of an
            operator that begins a stage.
        blocked: seconds for which its replicas waited because a channel behind them was full, the
            waits that have ended; of an operator that ends a stage.
        bytes_in: pickled bytes sent to its worker processes; None of an operator without any, or
            that does not begin a stage.
        bytes_out: pickled bytes that came back from them; None likewise, of one that ends a stage.
        queued: records that wait in the channel before it now.
        in_flight: records that it has taken and is not done with now. Operators that run as one
            stage have them together, at the first of them; a batch counts until it is through.
        latency: of its records, those that were measured: all of an async operator's and of slow
            ones, otherwise a sample. None when none was, and of a source.
        share: of a source, how much of its input it has given, from 0 to 1; None where the size is
            not known.
    """

    name: str
    kind: Kind
    parallelism: int
    records_in: int
    records_out: int
    dropped: int
    failed: int
    retried: int
    busy: float
    metrics: Mapping[str, int] = field(default_factory=dict)
    waited: float = 0.0
    blocked: float = 0.0
    bytes_in: int | None = None
    bytes_out: int | None = None
    queued: int = 0
    in_flight: int = 0
    latency: Latency | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class JobResult:
    """What a job did.

    Attributes:
        name: the environment's name.
        status: how it ended.
        operators: a report for each operator, in the order of the graph.
        duration: seconds from submit to the end.
        abandoned: records that were emitted and not taken when the job was stopped; 0 after a job
            that finished.
        error: what it failed on, or None.
        dead_letters: the records that operators with ``on_error="dead_letter"`` gave up: the first
            10,000, or none when `LocalEnvironment.on_dead_letter` takes them.
        dead_letter_count: how many there were in all; after a restart, records that are taken again
            may be given up again.
        resumed_from: number of the checkpoint that it went on from when it was submitted; None when
            it began anew. The operators' counts go on from those of the checkpoint.
        restarts: how often it was started again after a failure.
        checkpoints: how many were written.
        failed_checkpoints: how many could not be written; the log says why.
        gpus: what was seen of each NVIDIA GPU, of a job that was profiled or has an operator with
            ``gpus``; empty without nvidia-ml-py.
    """

    name: str
    status: JobStatus
    operators: tuple[OperatorReport, ...]
    duration: float
    abandoned: int
    error: BaseException | None = None
    dead_letters: tuple[DeadLetter, ...] = ()
    dead_letter_count: int = 0
    resumed_from: int | None = None
    restarts: int = 0
    checkpoints: int = 0
    failed_checkpoints: int = 0
    gpus: tuple[GpuReading, ...] = ()

    @property
    def records_in(self) -> int:
        """Records that the sources gave."""
        return sum(report.records_out for report in self.operators if report.kind is Kind.SOURCE)

    @property
    def records_out(self) -> int:
        """Records that the sinks took."""
        return sum(report.records_out for report in self.operators if report.kind is Kind.SINK)

    @property
    def failed(self) -> int:
        """Records on which an operator raised."""
        return sum(report.failed for report in self.operators)

    @property
    def records_per_second(self) -> float:
        """Source records a second, over the whole duration."""
        return self.records_in / self.duration if self.duration else 0.0

    def operator(self, name: str) -> OperatorReport:
        """Return the report of one operator.

        Raises:
            KeyError: there is no operator of that name.
        """
        for report in self.operators:
            if report.name == name:
                return report
        raise KeyError(name)

    def summary(self) -> str:
        """Return one line: records in, out and failed, the time, records a second."""
        abandoned = f", {self.abandoned:,} abandoned" if self.abandoned else ""
        speed = self.records_per_second
        # Work that an LLM does runs at a few records a second, where a rounded figure says nothing.
        rate = f"{speed:,.0f}" if speed >= 10 else f"{speed:.1f}"
        return (
            f"{self.name} {self.status}: {self.records_in:,} records in, {self.records_out:,} out, "
            f"{self.failed:,} failed{abandoned}, in {self.duration:.2f} s "
            f"({rate} records/s)"
        )

    def profile(self) -> str:
        """Return a table of the time spent by operator, the most expensive first.

        By operator: records, busy seconds and their share of all, microseconds a record, the
        median, 95 % and 99 % latency of a record, and the seconds for which it waited for records
        and for room behind it.
        """
        return profile_table(self.operators)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it in the types of JSON; an error as its text, dead letters as a count."""
        return {
            "name": self.name,
            "status": self.status.value,
            "duration": self.duration,
            "records_in": self.records_in,
            "records_out": self.records_out,
            "failed": self.failed,
            "abandoned": self.abandoned,
            "records_per_second": self.records_per_second,
            "error": None if self.error is None else error_text(self.error),
            "dead_letters": len(self.dead_letters),
            "operators": [
                {**dataclasses.asdict(report), "kind": report.kind.value}
                for report in self.operators
            ],
            "gpus": [dataclasses.asdict(reading) for reading in self.gpus],
        }


def error_text(error: BaseException) -> str:
    """Return an error as one line; one of ours says itself what was wrong."""
    return str(error) if isinstance(error, SageError) else f"{type(error).__name__}: {error}"


def report_operators(
    replicas: Iterable[OperatorReplica], queued: Mapping[int, int]
) -> tuple[OperatorReport, ...]:
    """Sum the meters of all replicas by operator.

    Args:
        replicas: of all operators.
        queued: records that wait before an operator, by its id.
    """
    by_node: dict[int, list[OperatorReplica]] = {}
    for replica in replicas:
        by_node.setdefault(replica.node.id, []).append(replica)
    return tuple(_report(by_node[node], queued.get(node, 0)) for node in sorted(by_node))


def count_abandoned(nodes: Iterable[Node], reports: Iterable[OperatorReport]) -> int:
    """Return how many records were emitted and never taken."""
    by_name = {report.name: report for report in reports}
    nodes = list(nodes)
    names = {node.id: node.name for node in nodes}
    return sum(
        sum(by_name[names[input_]].records_out for input_ in node.inputs)
        - by_name[node.name].records_in
        for node in nodes
        if node.inputs
    )


def _report(replicas: list[OperatorReplica], queued: int) -> OperatorReport:
    node = replicas[0].node
    meters = [replica.meter for replica in replicas]
    flows = [replica.traffic for replica in replicas]
    metrics: Counter[str] = Counter()
    for replica in replicas:
        metrics.update(replica.context.metrics.values())
    return OperatorReport(
        name=node.name,
        kind=node.kind,
        parallelism=node.parallelism,
        records_in=sum(meter.records_in for meter in meters),
        records_out=sum(meter.records_out for meter in meters),
        dropped=sum(meter.dropped for meter in meters),
        failed=sum(meter.failed for meter in meters),
        retried=sum(meter.retried for meter in meters),
        busy=sum(meter.busy for meter in meters),
        metrics=dict(metrics),
        waited=sum(flow.waited for flow in flows),
        blocked=sum(flow.blocked for flow in flows),
        bytes_in=_total(flow.bytes_in for flow in flows),
        bytes_out=_total(flow.bytes_out for flow in flows),
        queued=queued,
        in_flight=sum(flow.in_flight for flow in flows),
        latency=summarise(meter.latency for meter in meters),
        share=_share(replicas) if node.kind is Kind.SOURCE else None,
    )


def result_or_error(result: JobResult, cancelled: str) -> JobResult:
    """Return what a job did, or raise what ended it.

    Raises:
        SageError: it failed, or was cancelled, which is told with the message ``cancelled``.
    """
    if result.error is not None:
        raise result.error
    if result.status is JobStatus.CANCELLED:
        error = JobCancelledError(cancelled)
        error.result = result
        raise error
    return result


def _total(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _share(replicas: list[OperatorReplica]) -> float | None:
    """Return how much of its input a source has given; None where its size is not known."""
    extents = [extent_of(replica) for replica in replicas]
    known = [extent for extent in extents if extent is not None]
    whole = sum(total for _, total in known)
    if len(known) < len(extents) or not whole:
        return None
    return min(sum(done for done, _ in known) / whole, 1.0)


def extent_of(replica: OperatorReplica) -> tuple[float, float] | None:
    """Return how much a source's replica has given and will give, in a unit of its own."""
    if isinstance(replica.target, Finite):
        return replica.target.progress()
    if replica.node.eager and isinstance(replica.target, Sized):
        return replica.meter.records_out, len(replica.target)
    return None

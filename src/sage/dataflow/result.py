"""What a job did: counts that add up, times, and how it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sage.dataflow.dead_letters import DeadLetter
from sage.dataflow.graph import Kind, Node
from sage.dataflow.replica import OperatorReplica


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
            otherwise estimated from a sample of the batches.
        metrics: the user's own counters (``context.metrics``).
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
        """Return a table of the time spent by operator, the most expensive first."""
        width = max((len(report.name) for report in self.operators), default=8)
        total = sum(report.busy for report in self.operators) or 1.0
        lines = [f"{'operator':<{width}}  {'records':>12}  {'seconds':>9}  {'share':>6}  µs/record"]
        for report in sorted(self.operators, key=lambda report: -report.busy):
            records = report.records_in or report.records_out
            each = report.busy / records * 1e6 if records else 0.0
            lines.append(
                f"{report.name:<{width}}  {records:>12,}  {report.busy:>9.3f}  "
                f"{report.busy / total:>6.1%}  {each:>9.2f}"
            )
        return "\n".join(lines)


def report_operators(replicas: Iterable[OperatorReplica]) -> tuple[OperatorReport, ...]:
    """Sum the meters of all replicas by operator."""
    by_node: dict[int, list[OperatorReplica]] = {}
    for replica in replicas:
        by_node.setdefault(replica.node.id, []).append(replica)
    return tuple(_report(by_node[node_id]) for node_id in sorted(by_node))


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


def _report(replicas: list[OperatorReplica]) -> OperatorReport:
    node = replicas[0].node
    meters = [replica.meter for replica in replicas]
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
    )

"""The inner loop of a stage, generated for its operators.

A run of map, filter, flatmap and sink operators becomes one Python function that takes a record
through all of them before the next. The interpreter specialises its calls as it would those of a
loop written by hand, counting costs nothing but for the records that are dropped, and when an
operator raises, the line of the traceback says which one and a local variable holds the record:
nothing is called twice to find out. For ``map, filter, sink`` the function reads::

    def run(records, loop, f0=f0, f1=f1, f2=f2):
        n0 = n1 = n2 = 0
        out = []
        try:
            for r0 in records:
                r1 = f0(r0)
                if r1 is None:
                    n0 += 1
                    continue
                if f1(r1):
                    f2(r1)
                else:
                    n1 += 1
        except Exception as error:
            raise loop.failure(error, locals()) from error
        finally:
            loop.count(n0, n1, n2)
        return out

A second function, written by the same hand, also reads the clock after every operator; it runs on a
sample of the records, so seldom that this costs next to nothing.
"""

from __future__ import annotations

import linecache
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import length_hint
from typing import Any, TypeAlias

from sage.dataflow.graph import Kind, Node
from sage.dataflow.guard import BlamedError
from sage.dataflow.replica import OperatorReplica
from sage.errors import OperatorError

# Now and then the first few records of a batch are measured operator by operator; the next time is
# when so many times as much has passed as that took. Batches of slow records are always measured:
# reading the clock costs nothing by comparison.
SAMPLE_REST = 400
SAMPLE_SIZE = 32
SLOW_RECORD = 20e-6


class RecordFailedError(OperatorError):
    """An operator raised on a record.

    Attributes:
        done: what the stage had made of the records before it.
    """

    def __init__(self, operator: str, record: object, cause: BaseException) -> None:
        super().__init__(operator, record, cause)
        self.done: list[Any] = []


class RecordLoop:
    """Takes batches through a run of operators.

    Args:
        replicas: the operators, first to last; at least one.
        clock: seconds, for busy times.
        measure_all: measure every batch operator by operator.
    """

    def __init__(
        self,
        replicas: Sequence[OperatorReplica],
        *,
        clock: Callable[[], float] = time.perf_counter,
        measure_all: bool = False,
    ) -> None:
        self._replicas = replicas
        self._clock = clock
        self._measure_all = measure_all
        self._sample_due = float("-inf")
        self._per_record = 0.0
        self._counts: tuple[int, ...] = ()
        # By operator, of the time measured so far.
        self._shares = [0.0] * len(replicas)
        self._is_flatmap = [replica.kind is Kind.FLATMAP for replica in replicas]
        self._failed_step: int | None = None
        nodes = [replica.node for replica in replicas]
        self._plain_source = write_loop(nodes, measured=False)
        self._measured_source = write_loop(nodes, measured=True)
        self._plain = self._compile(self._plain_source)
        self._measured = self._compile(self._measured_source)

    def process(self, records: Sequence[Any]) -> list[Any]:
        """Take a batch through all operators and return what the last one emits.

        Raises:
            RecordFailedError: an operator raised.
        """
        start = self._clock()
        if self._measure_all or self._per_record > SLOW_RECORD:
            return self._run(self._measured, records, start)
        if start < self._sample_due:
            return self._run(self._plain, records, start)
        emitted = self._run(self._measured, records[:SAMPLE_SIZE], start)
        middle = self._clock()
        self._sample_due = middle + SAMPLE_REST * (middle - start)
        if len(records) > SAMPLE_SIZE:
            emitted += self._run(self._plain, records[SAMPLE_SIZE:], middle, emitted)
        return emitted

    def failure(self, error: Exception, variables: dict[str, Any]) -> RecordFailedError:
        """Say which operator raised, and on what; the generated functions call it."""
        traceback = error.__traceback__
        assert traceback is not None
        source = self._measured_source if variables["measured"] else self._plain_source
        step = source.steps[traceback.tb_lineno]
        self._failed_step = step
        replica = self._replicas[step]
        if isinstance(error, BlamedError):
            failure = RecordFailedError(replica.name, error.record, error.cause)
        else:
            record = replica.shown(variables[source.records[step]])
            failure = RecordFailedError(replica.name, record, error)
        failure.done = variables["out"]
        return failure

    def count(self, *counts: int) -> None:
        """Take a batch's counts: records dropped, or emitted by a flatmap."""
        self._counts = counts

    def clocked(self, *times: Sequence[float]) -> None:
        """Take the seconds that each operator spent on each record of a measured batch."""
        for replica, seconds in zip(self._replicas, times, strict=True):
            replica.meter.clocked += sum(seconds)
            # Evenly spaced ones of a large batch: to count each would take longer than the record.
            replica.meter.latency.extend(seconds[:: len(seconds) // SAMPLE_SIZE + 1])
        clocked = sum(replica.meter.clocked for replica in self._replicas)
        if clocked:
            self._shares = [replica.meter.clocked / clocked for replica in self._replicas]

    def _run(
        self,
        run: LoopFunction,
        records: Sequence[Any],
        start: float,
        before: Sequence[Any] = (),
    ) -> list[Any]:
        iterator = iter(records)
        self._failed_step = None
        try:
            return run(iterator, self)
        except RecordFailedError as failure:
            failure.done[:0] = before
            if isinstance(failure.__cause__, BlamedError):
                failure.__cause__ = failure.__cause__.cause
            raise
        finally:
            taken = len(records) - length_hint(iterator)
            elapsed = self._clock() - start
            self._per_record = elapsed / max(taken, 1)
            self._account(taken, elapsed)

    def _account(self, taken: int, elapsed: float) -> None:
        """Add a batch's counts and time to the meters; what one emits, the next one takes."""
        counts = (
            self._counts if self._failed_step is None else self._with_failure(self._failed_step)
        )
        steps = zip(self._replicas, counts, self._shares, self._is_flatmap, strict=True)
        for replica, count, share, is_flatmap in steps:
            meter = replica.meter
            meter.records_in += taken
            meter.busy += elapsed * share
            if is_flatmap:
                taken = count
            elif count:
                meter.dropped += count
                taken -= count
            meter.records_out += taken

    def _with_failure(self, step: int) -> Sequence[int]:
        """Count a record on which an operator raised; it goes no further, like one dropped."""
        meter = self._replicas[step].meter
        meter.failed += 1
        if self._is_flatmap[step]:
            return self._counts
        meter.dropped -= 1
        return [count + (number == step) for number, count in enumerate(self._counts)]

    def _compile(self, source: LoopSource) -> LoopFunction:
        names = " → ".join(replica.name for replica in self._replicas)
        filename = f"<dataflow loop{' (measured)' if source.measured else ''}: {names}>"
        # No reference to this object: a job's memory is free as soon as it is let go.
        namespace: dict[str, Any] = {"clock": self._clock}
        for step, replica in enumerate(self._replicas):
            namespace[f"f{step}"] = replica.call
            namespace[f"k{step}"] = replica.context.state
        text = source.text
        # Tracebacks show the generated lines.
        linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
        exec(compile(text, filename, "exec"), namespace)  # noqa: S102 - text written just above
        run: LoopFunction = namespace["run"]
        return run


LoopFunction: TypeAlias = Callable[[Iterable[Any], RecordLoop], list[Any]]


@dataclass(slots=True)
class LoopSource:
    """A generated function.

    Attributes:
        measured: whether it reads the clock after every operator.
        lines: its text.
        steps: the operator that each numbered line runs.
        records: for each operator, the variable with the record that it takes.
        otherwise: depth and line of what is done where a condition does not hold, to be written
            when all that follows from the condition is.
    """

    measured: bool
    lines: list[str] = field(default_factory=list)
    steps: dict[int, int] = field(default_factory=dict)
    records: list[str] = field(default_factory=list)
    otherwise: list[tuple[int, str]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The whole function."""
        return "\n".join(self.lines) + "\n"

    def add(self, depth: int, line: str, step: int | None = None) -> None:
        """Append a line, indented ``depth`` levels."""
        self.lines.append("    " * depth + line)
        if step is not None:
            self.steps[len(self.lines)] = step


def write_loop(nodes: Sequence[Node], *, measured: bool) -> LoopSource:
    """Write the loop for a run of operators.

    Args:
        nodes: the operators, first to last; a sink can only be the last.
        measured: read the clock after every operator.
    """
    source = LoopSource(measured)
    counters = [f"n{step}" for step in range(len(nodes))]
    times = [f"s{step}" for step in range(len(nodes))]
    # Defaults are local variables, which are found sooner than global ones.
    functions = [f"f{step}=f{step}" for step in range(len(nodes))]
    source.add(0, f"def run(records, loop, {', '.join(functions)}):")
    source.add(1, f"measured = {measured}")
    source.add(1, f"{' = '.join(counters)} = 0")
    for step, seconds in enumerate(times if measured else ()):
        source.add(1, f"{seconds} = []")
        source.add(1, f"c{step} = {seconds}.append")
    source.add(1, "out = []")
    source.add(1, "push = out.append")
    source.add(1, "try:")
    source.add(2, "for r0 in records:")
    depth, record = 3, "r0"
    for step, node in enumerate(nodes):
        if node.keyed:
            source.add(depth, f"k{step}.key, v{step} = {record}")
            record = f"v{step}"
        source.records.append(record)
        depth, record = _write_step(source, step, node.kind, depth, record)
    if nodes[-1].kind is not Kind.SINK:
        source.add(depth, f"push({record})")
    for outer, line in reversed(source.otherwise):
        source.add(outer, "else:")
        source.add(outer + 1, line)
    source.add(1, "except Exception as error:")
    source.add(2, "raise loop.failure(error, locals()) from error")
    source.add(1, "finally:")
    source.add(2, f"loop.count({', '.join(counters)})")
    if measured:
        source.add(2, f"loop.clocked({', '.join(times)})")
    source.add(1, "return out")
    return source


def _write_step(
    source: LoopSource, step: int, kind: Kind, depth: int, record: str
) -> tuple[int, str]:
    """Write one operator; return the depth and the record's variable after it."""
    result, call = f"r{step + 1}", f"f{step}({record})"
    if kind is Kind.SINK:
        _measure(source, depth, call, step)
        return depth, record
    if kind is Kind.FILTER and not source.measured:
        # Without a variable of its own the interpreter jumps straight on what the call returns; and
        # where the condition holds, which is the common case, it does not jump at all.
        source.add(depth, f"if {call}:", step)
        source.otherwise.append((depth, f"n{step} += 1"))
        return depth + 1, record
    if kind is Kind.FLATMAP:
        return _write_flatmap(source, step, depth, f"{result} = {call}")
    # What runs between two readings is the operator alone.
    _measure(source, depth, f"{result} = {call}", step)
    if kind is Kind.KEYBY:
        source.add(depth, f"{result} = ({result}, {record})")
        return depth, result
    # `not x` calls the user's __bool__, which may raise; `is None` cannot.
    condition = f"{result} is None" if kind is Kind.MAP else f"not {result}"
    source.add(depth, f"if {condition}:", step)
    source.add(depth + 1, f"n{step} += 1")
    source.add(depth + 1, "continue")
    return depth, result if kind is Kind.MAP else record


def _write_flatmap(source: LoopSource, step: int, depth: int, call: str) -> tuple[int, str]:
    item, result = f"i{step + 1}", f"r{step + 1}"
    if not source.measured:
        source.add(depth, call, step)
        source.add(depth, f"if {result} is None:")
        source.add(depth + 1, "continue")
        source.add(depth, f"for {item} in {result}:", step)
        source.add(depth + 1, f"n{step} += 1")
        return depth + 1, item
    # A generator runs while its records are asked for, the operators after it in between.
    spent = f"q{step}"
    _measure(source, depth, call, step, f"{spent} = clock() - t")
    source.add(depth, f"if {result} is None:")
    source.add(depth + 1, f"c{step}({spent})")
    source.add(depth + 1, "continue")
    source.add(depth, f"{result} = iter({result})", step)
    source.add(depth, "while True:")
    # `loop` itself stands for the end: no user's record can be it.
    _measure(source, depth + 1, f"{item} = next({result}, loop)", step, f"{spent} += clock() - t")
    source.add(depth + 1, f"if {item} is loop:")
    source.add(depth + 2, f"c{step}({spent})")
    source.add(depth + 2, "break")
    source.add(depth + 1, f"n{step} += 1")
    return depth + 1, item


def _measure(source: LoopSource, depth: int, line: str, step: int, took: str | None = None) -> None:
    """Write a line that runs an operator, between readings of the clock if need be."""
    if source.measured:
        source.add(depth, "t = clock()")
    source.add(depth, line, step)
    if source.measured:
        source.add(depth, took or f"c{step}(clock() - t)")

"""The inner loop of a stage, generated for its operators.

A run of map, filter, flatmap and sink operators becomes one Python function that takes a record
through all of them before the next. The interpreter specialises its calls as it would those of a
loop written by hand, counting costs nothing but for the records that are dropped, and when an
operator raises, the line of the traceback says which one and a local variable holds the record:
nothing is called twice to find out. For ``map, filter, sink`` the function reads::

    def run(records):
        n0 = n1 = n2 = 0
        out = []
        try:
            for r0 in records:
                r1 = f0(r0)
                if r1 is None:
                    n0 += 1
                    continue
                if not f1(r1):
                    n1 += 1
                    continue
                f2(r1)
        except Exception as error:
            raise failure(error, locals()) from error
        finally:
            count(n0, n1, n2)
        return out
"""

from __future__ import annotations

import linecache
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import length_hint
from typing import Any

from sage.dataflow.graph import Kind
from sage.dataflow.replica import OperatorReplica
from sage.errors import OperatorError

# Every n-th batch is measured operator by operator; so is each batch of slow records, for which
# reading the clock costs nothing by comparison.
SAMPLE_EVERY = 32
SLOW_RECORD = 5e-6


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
        self._batches = 0
        self._per_record = 0.0
        self._busy = 0.0
        self._counts: tuple[int, ...] = ()
        self._failed_step: int | None = None
        self._plain = self._compile(measured=False)
        self._measured = self._compile(measured=True)

    def process(self, records: Sequence[Any]) -> list[Any]:
        """Take a batch through all operators and return what the last one emits.

        Raises:
            RecordFailedError: an operator raised.
        """
        measured = self._is_measured()
        run = self._measured if measured else self._plain
        iterator = iter(records)
        self._failed_step = None
        start = self._clock()
        try:
            return run(iterator)
        finally:
            taken = len(records) - length_hint(iterator)
            elapsed = self._clock() - start
            self._batches += 1
            self._per_record = elapsed / max(taken, 1)
            self._busy += elapsed
            self._account(taken)

    def _is_measured(self) -> bool:
        return (
            self._measure_all or self._batches % SAMPLE_EVERY == 0 or self._per_record > SLOW_RECORD
        )

    def _account(self, taken: int) -> None:
        """Add a batch's counts to the meters; what one operator emits, the next one takes."""
        for step, (replica, count) in enumerate(zip(self._replicas, self._counts, strict=True)):
            meter = replica.meter
            failed = int(step == self._failed_step)
            meter.records_in += taken
            meter.failed += failed
            if replica.kind is Kind.FLATMAP:
                taken = count
            else:
                meter.dropped += count
                taken -= count + failed
            meter.records_out += taken
        clocked = sum(replica.meter.clocked for replica in self._replicas)
        for replica in self._replicas:
            replica.meter.busy = self._busy * replica.meter.clocked / clocked if clocked else 0.0

    def _failure(self, error: Exception, variables: dict[str, Any]) -> RecordFailedError:
        traceback = error.__traceback__
        assert traceback is not None
        source = self._measured_source if variables["measured"] else self._plain_source
        step = source.steps[traceback.tb_lineno]
        self._failed_step = step
        record = variables[source.records[step]]
        failure = RecordFailedError(self._replicas[step].name, record, error)
        failure.done = variables["out"]
        return failure

    def _count(self, *counts: int) -> None:
        self._counts = counts

    def _clock_step(self, step: int, seconds: float) -> None:
        self._replicas[step].meter.clocked += seconds

    def _compile(self, *, measured: bool) -> Callable[[Iterable[Any]], list[Any]]:
        source = write_loop([replica.kind for replica in self._replicas], measured=measured)
        if measured:
            self._measured_source = source
        else:
            self._plain_source = source
        namespace: dict[str, Any] = {
            "failure": self._failure,
            "count": self._count,
            "clock": self._clock,
            "add": self._clock_step,
            "clocked": clocked,
        }
        namespace.update({f"f{step}": replica.call for step, replica in enumerate(self._replicas)})
        names = " → ".join(replica.name for replica in self._replicas)
        filename = f"<dataflow loop{' (measured)' if measured else ''}: {names}>"
        text = source.text
        # Tracebacks show the generated lines.
        linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
        exec(compile(text, filename, "exec"), namespace)  # noqa: S102 - text written just above
        run: Callable[[Iterable[Any]], list[Any]] = namespace["run"]
        return run


def clocked(
    records: Iterable[Any],
    step: int,
    clock: Callable[[], float],
    add: Callable[[int, float], None],
) -> Iterator[Any]:
    """Yield from what a flatmap returned, adding the time that its making takes."""
    start = clock()
    for record in records:
        add(step, clock() - start)
        yield record
        start = clock()
    add(step, clock() - start)


@dataclass(slots=True)
class LoopSource:
    """A generated function.

    Attributes:
        lines: its text.
        steps: the operator that each numbered line runs.
        records: for each operator, the variable with the record that it takes.
    """

    lines: list[str] = field(default_factory=list)
    steps: dict[int, int] = field(default_factory=dict)
    records: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The whole function."""
        return "\n".join(self.lines) + "\n"

    def add(self, depth: int, line: str, step: int | None = None) -> None:
        """Append a line, indented ``depth`` levels."""
        self.lines.append("    " * depth + line)
        if step is not None:
            self.steps[len(self.lines)] = step


def write_loop(kinds: Sequence[Kind], *, measured: bool) -> LoopSource:
    """Write the loop for operators of these kinds.

    Args:
        kinds: map, filter, flatmap, or (last only) sink.
        measured: add the seconds spent in each operator to its meter.
    """
    source = LoopSource()
    counters = [f"n{step}" for step in range(len(kinds))]
    source.add(0, "def run(records):")
    source.add(1, f"measured = {measured}")
    source.add(1, f"{' = '.join(counters)} = 0")
    source.add(1, "out = []")
    source.add(1, "push = out.append")
    source.add(1, "try:")
    source.add(2, "for r0 in records:")
    depth, record = 3, "r0"
    for step, kind in enumerate(kinds):
        source.records.append(record)
        depth, record = _write_step(source, step, kind, depth, record, measured=measured)
    if kinds[-1] is not Kind.SINK:
        source.add(depth, f"push({record})")
    source.add(1, "except Exception as error:")
    source.add(2, "raise failure(error, locals()) from error")
    source.add(1, "finally:")
    source.add(2, f"count({', '.join(counters)})")
    source.add(1, "return out")
    return source


def _write_step(
    source: LoopSource, step: int, kind: Kind, depth: int, record: str, *, measured: bool
) -> tuple[int, str]:
    """Write one operator; return the depth and the record's variable after it."""
    result = f"r{step + 1}"
    if measured:
        source.add(depth, "t = clock()")
    source.add(depth, f"{result} = f{step}({record})", step)
    if measured:
        source.add(depth, f"add({step}, clock() - t)")
    if kind is Kind.FLATMAP:
        return _write_flatmap(source, step, depth, result, measured=measured)
    if kind is Kind.SINK:
        return depth, record
    # `not x` calls the user's __bool__, which may raise; `is None` cannot.
    condition = f"{result} is None" if kind is Kind.MAP else f"not {result}"
    source.add(depth, f"if {condition}:", step)
    source.add(depth + 1, f"n{step} += 1")
    source.add(depth + 1, "continue")
    return depth, result if kind is Kind.MAP else record


def _write_flatmap(
    source: LoopSource, step: int, depth: int, result: str, *, measured: bool
) -> tuple[int, str]:
    source.add(depth, f"if {result} is None:")
    source.add(depth + 1, "continue")
    item = f"i{step + 1}"
    iterable = f"clocked({result}, {step}, clock, add)" if measured else result
    source.add(depth, f"for {item} in {iterable}:", step)
    source.add(depth + 1, f"n{step} += 1")
    return depth + 1, item

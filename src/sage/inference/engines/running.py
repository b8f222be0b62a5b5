"""What is told of a running stack."""

from __future__ import annotations

from sage.inference.engines.state import RunningEngine, StackState
from sage.inference.engines.supervisor import SupervisedEngine


def running_engine(engine: SupervisedEngine) -> RunningEngine:
    """Return an engine's line of the state."""
    spec, process = engine.spec, engine.process
    placed = process.node != ""
    return RunningEngine(
        id=spec.id,
        kind=spec.kind.value,
        engine=spec.engine.value,
        model=spec.model,
        host=spec.host,
        port=spec.port if placed else 0,
        url=spec.url if placed else "",
        status=engine.status.value,
        log=str(process.log),
        pid=process.pid,
        pid_created=process.started,
        deaths=engine.deaths,
        node=process.node,
        note=process.note,
    )


def who_runs(state: StackState | None) -> str:
    """Say which stack runs already, and what it holds."""
    if state is None:
        return "another `sage llm serve` is just starting; `sage llm status` shows it"
    ports = ", ".join(f"{engine.port} ({engine.id})" for engine in state.engines)
    return (
        f"a stack is running already: pid {state.pid} holds ports {state.gateway_port} (gateway), "
        f"{ports}; stop it with `sage llm stop`"
    )

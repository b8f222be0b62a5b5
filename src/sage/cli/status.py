"""What ``sage llm status`` shows."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from sage.config.paths import UserPaths
from sage.inference.engines.state import RunningEngine, read_state

_NUMBERS = ("port", "pid", "uptime")


@dataclass(frozen=True, slots=True)
class InstanceReport:
    """One instance as a person wants to see it; requests are None when the gateway is silent."""

    instance: str
    kind: str
    model: str
    engine: str
    port: int
    pid: int | None
    health: str
    uptime_s: float | None
    deaths: int
    requests: dict[str, int] | None
    url: str
    node: str | None
    note: str


@dataclass(frozen=True, slots=True)
class StackReport:
    """The whole stack; ``running`` is false when nothing is served."""

    running: bool
    pid: int | None
    gateway_url: str | None
    gateway: str
    instances: list[InstanceReport]

    @property
    def healthy(self) -> bool:
        """Whether the gateway answers and every instance is healthy."""
        good = all(instance.health == "healthy" for instance in self.instances)
        return self.running and self.gateway == "ok" and good

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return asdict(self) | {"healthy": self.healthy}


def look(paths: UserPaths) -> StackReport:
    """Look at the running stack: its state file, its processes, and what its gateway says."""
    state = read_state(paths)
    if state is None or not state.alive:
        return StackReport(False, None, None, "not running", [])
    answer = ask_gateway(state.gateway_url)
    counted = {item["id"]: item for item in answer.get("instances", [])}
    return StackReport(
        running=True,
        pid=state.pid,
        gateway_url=f"{state.gateway_url}/v1",
        gateway=answer["status"] if state.ready else "starting",
        instances=[_instance(engine, counted.get(engine.id)) for engine in state.engines],
    )


def ask_gateway(url: str) -> dict[str, Any]:
    """Return what ``GET /health`` of a gateway says; a silent one has the status ``silent``."""
    import httpx2

    try:
        answer: dict[str, Any] = httpx2.get(f"{url}/health", timeout=5, trust_env=False).json()
    except (httpx2.HTTPError, ValueError):
        return {"status": "silent"}
    return answer


def _instance(engine: RunningEngine, counted: dict[str, Any] | None) -> InstanceReport:
    names = ("in_flight", "done", "failed", "cancelled")
    alive = engine.pid is not None and engine.pid_created is not None
    return InstanceReport(
        instance=engine.id,
        kind=engine.kind,
        model=engine.model,
        engine=engine.engine,
        port=engine.port,
        pid=engine.pid,
        health=engine.status,
        uptime_s=time.time() - engine.pid_created if alive and engine.pid_created else None,
        deaths=engine.deaths,
        requests={name: counted[name] for name in names} if counted else None,
        url=engine.url,
        node=engine.node,
        note=engine.note,
    )


def print_table(report: StackReport) -> None:
    """Print the report for a person."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not report.running:
        console.print("nothing is running; start it with `sage llm serve`")
        return
    console.print(f"gateway {report.gateway_url}  {report.gateway}  pid {report.pid}")
    # Lean enough for a terminal of 80 columns with the packaged models' names; longer ones, and
    # where engines on Ray are, go on in the next line.
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("instance", "model", "port", "pid", "health", "uptime", "requests"):
        justify: Literal["left", "right"] = "right" if column in _NUMBERS else "left"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=column != "model")
    for instance in report.instances:
        table.add_row(
            instance.instance,
            f"{instance.model}\n[dim]{instance.engine}{_place(instance)}[/dim]",
            str(instance.port or "-"),
            str(instance.pid or "-"),
            _health(instance),
            _duration(instance.uptime_s),
            _requests(instance.requests),
        )
    console.print(table)
    for instance in report.instances:
        if instance.note:
            console.print(f"{instance.instance} {instance.note}")
        if instance.health == "failed":
            console.print(
                f"{instance.instance} is given up: see `sage llm logs {instance.instance}`, then "
                "`sage llm restart`"
            )


def _place(instance: InstanceReport) -> str:
    """Return where an engine of a cluster is: its node, and the address that it is asked at."""
    if not instance.node:
        return ""
    return f" on {instance.node} ({urlsplit(instance.url).hostname})"


def _health(instance: InstanceReport) -> str:
    colour = {"healthy": "green", "failed": "red"}.get(instance.health, "yellow")
    restarts = f"\n[dim]died {instance.deaths}×[/dim]" if instance.deaths else ""
    return f"[{colour}]{instance.health}[/{colour}]{restarts}"


def _requests(counts: dict[str, int] | None) -> str:
    if counts is None:
        return "-"
    failed = f"\n[red]{counts['failed']} failed[/red]" if counts["failed"] else ""
    left = f"\n[dim]{counts['cancelled']} cancelled[/dim]" if counts["cancelled"] else ""
    return f"{counts['done']} done\n{counts['in_flight']} open{failed}{left}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {rest:02}s" if minutes else f"{rest}s"

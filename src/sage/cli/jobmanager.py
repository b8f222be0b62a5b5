"""``sage jobmanager``: what runs the pipelines of `RemoteEnvironment`."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sage.config.paths import user_paths
from sage.config.ports import LOOPBACK, SagePorts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sage.dataflow.jobs.server import JobManagerConfig
    from sage.inference.engines.state import StackState

NAME = "jobmanager"


@click.group(help="Run pipelines that outlive the program that made them.")
def jobmanager() -> None:
    """Root of the subcommands."""


@jobmanager.command(help="Start the job manager. Whoever has its token can run code as you.")
@click.option("--host", default=LOOPBACK, show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=int, default=SagePorts.JOB_MANAGER, show_default=True, help="Port to listen on."
)
@click.option(
    "--tls-cert", type=click.Path(path_type=Path), help="Certificate in PEM, to speak TLS."
)
@click.option(
    "--tls-key", type=click.Path(path_type=Path), help="Its key, unless the certificate has it."
)
@click.option(
    "--log-limit", default="64MiB", show_default=True, help="What is kept of each job's log."
)
@click.option(
    "--background/--foreground", default=True, help="Return when ready, or stay until Ctrl-C."
)
def start(background: bool, **asked: Any) -> int:
    """Serve in the background, or until Ctrl-C."""
    asked = {
        name: value.absolute() if isinstance(value, Path) else value
        for name, value in asked.items()
    }
    config = _config(asked)  # a mistake is told here, not in a log
    if background:
        from sage.cli.serving import launch

        return launch([NAME, "start", "--foreground", *_as_words(asked)], NAME, describe)
    return _serve(config, asked)


def _config(asked: dict[str, Any]) -> JobManagerConfig:
    from sage.dataflow.jobs.server import JobManagerConfig
    from sage.dataflow.sizes import read_size

    limit = read_size("--log-limit", asked["log_limit"])
    return JobManagerConfig(user_paths().root / "jobs", **{**asked, "log_limit": limit})


def _as_words(asked: dict[str, Any]) -> list[str]:
    return [
        word
        for name, value in asked.items()
        if value is not None
        for word in ("--" + name.replace("_", "-"), str(value))
    ]


def _serve(config: JobManagerConfig, asked: dict[str, Any]) -> int:
    import logging

    from sage.config.processes import created
    from sage.dataflow.jobs.server import JobManagerServer
    from sage.inference.engines.spec import base_url
    from sage.inference.engines.state import StackState, remove_state, write_state

    paths = user_paths()

    def write() -> None:
        pid = os.getpid()
        url = base_url(config.host, server.port)
        if config.tls_cert is not None:
            url = url.replace("http:", "https:", 1)
        state = StackState(pid, created(pid) or 0.0, url, server.port, True, _as_words(asked), [])
        write_state(paths, state, NAME)
        for line in describe(state):
            click.echo(line)
        sys.stdout.flush()

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", force=True)
    logging.getLogger("sage").setLevel(logging.INFO)
    server = JobManagerServer(config, on_ready=write)
    try:
        server.run()
    finally:
        remove_state(paths, os.getpid(), NAME)
    return 0


def describe(state: StackState | None) -> Iterator[str]:
    """Yield the lines that say where the job manager is reached."""
    from sage.dataflow.jobs.token import token_file

    if state is not None:
        if not state.gateway_url.startswith("https:") and not _is_loopback(state.arguments):
            yield "WARNING: without TLS the token can be read on its way; give --tls-cert"
        yield f"the job manager listens on {state.gateway_url} (pid {state.pid})"
        yield f"its token is in {token_file()}; keep it to yourself"
        yield "`sage job list` shows its jobs, `sage jobmanager stop` ends it"


def _is_loopback(words: list[str]) -> bool:
    return words[words.index("--host") + 1] in (LOOPBACK, "localhost", "::1")


@jobmanager.command(help="Stop the job manager; its jobs go on.")
def stop() -> int:
    """Stop; nothing running is not an error."""
    from sage.inference.engines.control import stop_stack

    stopped = stop_stack(user_paths(), NAME)
    click.echo(
        "stopped the job manager; jobs go on, and it finds them again when it is started"
        if stopped
        else "no job manager is running"
    )
    return 0


@jobmanager.command(help="Show the job manager; exits 0 when it answers.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a line.")
def status(as_json: bool) -> int:
    """Show where it is and how its jobs stand."""
    from sage.inference.engines.state import read_state

    state = read_state(user_paths(), NAME)
    if state is None or not state.alive:
        click.echo(
            json.dumps({"status": "not running"}) if as_json else "no job manager is running"
        )
        return 1
    report = _report(state)
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        counts = ", ".join(f"{count} {state}" for state, count in report["jobs"].items())
        click.echo(f"job manager {report['url']}  {report['status']}  pid {report['pid']}")
        click.echo(f"jobs: {counts or 'none'}")
    return 0 if report["status"] == "ok" else 1


def _report(state: StackState) -> dict[str, Any]:
    from sage.cli.job import own_manager
    from sage.errors import JobManagerError

    report: dict[str, Any] = {"status": "ok", "pid": state.pid, "url": state.gateway_url}
    try:
        jobs = own_manager(state).jobs()
    except JobManagerError as error:
        return report | {"status": f"silent: {error}", "jobs": {}}
    return report | {"jobs": dict(Counter(job.state.value for job in jobs))}

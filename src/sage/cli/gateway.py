"""``sage gateway``: engines that run already, behind one endpoint."""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sage.cli.process import allow_many_connections, settle_collector
from sage.config.paths import user_paths
from sage.errors import AlreadyRunningError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sage.inference.engines.state import StackState
    from sage.inference.gateway.config import BackendInstanceConfig, UnifiedServerConfig

NAME = "gateway"


@click.group(help="Put engines that run already, here or elsewhere, behind one endpoint.")
def gateway() -> None:
    """Root of the subcommands."""


@gateway.command(help="Start the gateway, from a configuration file, from options, or from both.")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="TOML or YAML file; read again on SIGHUP.",
)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on.  [default: 8000]")
@click.option("--policy", help="Scheduling policy.")
@click.option("--llm", multiple=True, metavar="MODEL=URL", help="An LLM engine; repeatable.")
@click.option("--embedding", multiple=True, metavar="MODEL=URL", help="An embedding engine.")
@click.option(
    "--background/--foreground", default=False, help="Return when ready, or stay until Ctrl-C."
)
def start(background: bool, config_file: Path | None, **asked: Any) -> int:
    """Serve until Ctrl-C, or in the background."""
    if config_file is not None:
        config_file = config_file.absolute()
    configured(config_file, asked)  # a mistake is told here, not in a log
    if background:
        from sage.cli.serving import launch

        words = ["gateway", "start", "--foreground", *_as_words(config_file, asked)]
        return launch(words, NAME, describe)
    return _serve(config_file, asked)


def configured(config_file: Path | None, asked: dict[str, Any]) -> UnifiedServerConfig:
    """Return the file's configuration with what was asked for on the command line over it.

    Backends of the command line are added to the file's.
    """
    import dataclasses

    from sage.inference.gateway.config import UnifiedServerConfig
    from sage.inference.gateway.config_file import load_config

    config = load_config(config_file) if config_file is not None else UnifiedServerConfig()
    changes: dict[str, Any] = {
        "llm_backends": [*config.llm_backends, *map(_backend, asked["llm"])],
        "embedding_backends": [*config.embedding_backends, *map(_backend, asked["embedding"])],
    }
    given = {
        "host": asked["host"],
        "port": asked["port"],
        "scheduling_policy": asked["policy"],
    }
    changes |= {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(config, **changes)


def _backend(text: str) -> BackendInstanceConfig:
    from sage.inference.gateway.config import BackendInstanceConfig

    model, separator, url = text.partition("=")
    if not separator or not model or not url:
        raise ConfigError(f"a backend is MODEL=URL, such as m=http://localhost:8001, not {text!r}")
    return BackendInstanceConfig(model_name=model, base_url=url)


def _as_words(config_file: Path | None, asked: dict[str, Any]) -> list[str]:
    words = ["--config", str(config_file)] if config_file is not None else []
    for name, value in asked.items():
        for item in value if isinstance(value, tuple) else (value,):
            if item is not None:
                words += [f"--{name}", str(item)]
    return words


def _serve(config_file: Path | None, asked: dict[str, Any]) -> int:
    import logging

    from sage.config.lock import exclusive_now
    from sage.config.processes import created
    from sage.inference.engines.state import (
        StackState,
        cannot_write,
        read_state,
        remove_state,
        write_state,
    )
    from sage.inference.gateway.unified import UnifiedAPIServer

    paths = user_paths()

    def write() -> None:
        pid = os.getpid()
        words = _as_words(config_file, asked)
        state = StackState(pid, created(pid) or 0.0, server.url, server.port, True, words, [])
        write_state(paths, state, NAME)
        for line in describe(state):
            click.echo(line)
        sys.stdout.flush()
        settle_collector()

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("sage").setLevel(logging.INFO)
    allow_many_connections()
    try:
        paths.state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(paths.state, error) from error
    with exclusive_now(paths.state / f"{NAME}.lock") as held:
        if not held:
            raise AlreadyRunningError(_who_runs(read_state(paths, NAME)))
        read = functools.partial(configured, config_file, asked)
        server = UnifiedAPIServer(
            read(), on_reload=read if config_file is not None else None, on_ready=write
        )
        try:
            server.start()
        finally:
            remove_state(paths, os.getpid(), NAME)
    return 0


def _who_runs(state: StackState | None) -> str:
    if state is None:
        return "another `sage gateway start` is just starting"
    return (
        f"a gateway is running already: pid {state.pid} on {state.gateway_url}; "
        "stop it with `sage gateway stop`"
    )


def describe(state: StackState | None) -> Iterator[str]:
    """Yield the lines that say where the gateway is reached."""
    if state is not None:
        yield f"the gateway serves {state.gateway_url}/v1 (pid {state.pid})"
        yield "`sage gateway status` shows its instances, `sage gateway stop` ends it"


@gateway.command(help="Stop the gateway; its engines go on.")
def stop() -> int:
    """Stop; nothing running is not an error."""
    from sage.inference.engines.control import stop_stack

    stopped = stop_stack(user_paths(), NAME)
    click.echo("stopped the gateway" if stopped else "no gateway is running")
    return 0


@gateway.command(help="Read the configuration file again without dropping a request.")
def reload() -> int:
    """Send SIGHUP; what the file has wrong is in the log."""
    state = _running()
    if state is None:
        click.echo("no gateway is running")
        return 1
    if "--config" not in state.arguments:
        raise ConfigError("the gateway was started without --config; there is nothing to read")
    index = state.arguments.index("--config") + 1
    from sage.inference.gateway.config_file import load_config

    load_config(Path(state.arguments[index]))  # a mistake is told here, not in a log
    os.kill(state.pid, signal.SIGHUP)
    click.echo("reloading; `sage gateway logs` tells what came of it")
    return 0


@gateway.command(help="Show the gateway and its instances; exits 0 when all are up.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def status(as_json: bool) -> int:
    """Show what the gateway says of itself."""
    from sage.cli.status import ask_gateway

    state = _running()
    if state is None:
        click.echo(json.dumps({"status": "not running"}) if as_json else "no gateway is running")
        return 1
    answer = {"pid": state.pid, "url": f"{state.gateway_url}/v1", **ask_gateway(state.gateway_url)}
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    else:
        _print_table(answer)
    return 0 if answer["status"] == "ok" else 1


def _running() -> StackState | None:
    from sage.inference.engines.state import read_state

    state = read_state(user_paths(), NAME)
    return state if state is not None and state.alive else None


def _print_table(answer: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"gateway {answer['url']}  {answer['status']}  pid {answer['pid']}")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("instance", "model", "address", "health", "open", "done", "failed"):
        table.add_column(column, overflow="fold")
    for item in answer.get("instances", []):
        health = "[green]up[/green]" if item["up"] else f"[red]down[/red]\n{item['reason']}"
        counts = (str(item[name]) for name in ("in_flight", "done", "failed"))
        table.add_row(item["id"], "\n".join(item["models"]), item["url"], health, *counts)
    console.print(table)


@gateway.command(help="Print the gateway's last log lines.")
@click.option("-n", "--lines", type=int, default=40, show_default=True, help="Lines to print.")
@click.option("-f", "--follow", is_flag=True, help="Keep printing what is added, until Ctrl-C.")
def logs(lines: int, follow: bool) -> None:
    """Print or follow the log of a gateway in the background."""
    from sage.cli.logs import follow_logs, log_files, print_tails

    files = log_files(user_paths(), NAME)
    print_tails(files, lines)
    if follow:
        follow_logs(files)

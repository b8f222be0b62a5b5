"""What ``sage llm serve`` does in the foreground and in the background."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click

from sage.cli.process import allow_many_connections, settle_collector
from sage.config.logs import open_log, tail
from sage.config.paths import user_paths
from sage.errors import EngineError
from sage.inference.engines.plan import StackConfig
from sage.inference.engines.stack import Stack
from sage.inference.engines.state import StackState, cannot_write, read_state
from sage.inference.gateway.config import UnifiedServerConfig
from sage.inference.scheduling.request import Kind

_POLL_S = 0.1
_PATIENCE_S = 3.0


def serve_here(
    config: StackConfig,
    arguments: Sequence[str],
    *,
    reread: Callable[[], UnifiedServerConfig] | None = None,
) -> int:
    """Serve in this process until SIGINT or SIGTERM; return the exit code.

    Args:
        config: what to serve.
        arguments: of ``sage llm serve``, for a restart.
        reread: reads the gateway's configuration again, for a reload.
    """
    import uvloop

    allow_many_connections()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(Stack(config, arguments=arguments, reread=reread)))


async def _serve(stack: Stack) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    stopping = asyncio.create_task(stop.wait())
    starting = asyncio.create_task(stack.__aenter__())
    for patience in (_PATIENCE_S, None):
        done, _ = await asyncio.wait(
            [starting, stopping], timeout=patience, return_when=asyncio.FIRST_COMPLETED
        )
        if done:
            break
        click.echo("the engines are loading; a large model takes minutes", err=True)
    if not starting.done():
        # Interrupted while loading: the cancelled start takes down what it had brought up.
        starting.cancel()
        await asyncio.wait([starting])
        return 130
    starting.result()
    settle_collector()
    try:
        for line in describe(read_state(stack.paths)):
            click.echo(line)
        sys.stdout.flush()
        await stopping
        click.echo("stopping", err=True)
    finally:
        await stack.__aexit__(None, None, None)
    return 0


def describe(state: StackState | None) -> Iterator[str]:
    """Yield the lines that say where a stack is reached and how to try it."""
    if state is None:
        return
    yield f"SAGE is serving (pid {state.pid})"
    yield f"  gateway    {state.gateway_url}/v1   all models, OpenAI-compatible"
    for engine in state.engines:
        label = "LLM" if engine.kind == Kind.LLM else "embedding"
        yield f"  {label:<9}  {engine.url}/v1   {engine.model} ({engine.engine})"
    yield "try it:"
    yield f"  {try_it(state)}"
    yield "`sage llm status` shows the instances, `sage llm logs -f` what they say"


def try_it(state: StackState) -> str:
    """Return a curl line that asks the first engine something."""
    first = state.engines[0]
    if first.kind == Kind.LLM:
        route = "chat/completions"
        body = (
            f'{{"model": "{first.model}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'
        )
    else:
        route = "embeddings"
        body = f'{{"model": "{first.model}", "input": "Hello!"}}'
    key = " -H 'authorization: Bearer YOUR-KEY'" if state.needs_key else ""
    json = "-H 'content-type: application/json'"
    return f"curl {state.gateway_url}/v1/{route}{key} {json} -d '{body}'"


def with_ports(state: StackState) -> list[str]:
    """Return the arguments of a stack, with the ports it has: its clients find it there again."""
    own, separator, extra = _cut(state.arguments)
    ports = ["--gateway-port", str(state.gateway_port)]
    for kind, flag in ((Kind.LLM, "--port"), (Kind.EMBEDDING, "--embedding-port")):
        here = (engine for engine in state.engines if engine.node is None)
        first = next((engine.port for engine in here if engine.kind == kind), None)
        if first is not None:
            ports += [flag, str(first)]
    # Of an option that is given twice, the last one counts.
    return [*own, *ports, *separator, *extra]


def _cut(arguments: list[str]) -> tuple[list[str], list[str], list[str]]:
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:at], arguments[at : at + 1], arguments[at + 1 :]


def serve_in_background(arguments: Sequence[str], *, folder: str | None = None) -> int:
    """Start a detached process that serves; return when it is ready, or say why it is not.

    Args:
        arguments: of ``sage llm serve``.
        folder: where it runs, for relative paths and its ``.env``; here by default.

    Raises:
        EngineError: the folder is gone, or the log cannot be written.
    """
    if folder is not None and not Path(folder).is_dir():
        raise EngineError(f"cannot start in {folder}: it is no longer there")
    return launch(["llm", "serve", "--foreground", *arguments], "stack", describe, folder=folder)


def launch(
    words: Sequence[str],
    name: str,
    description: Callable[[StackState | None], Iterator[str]],
    *,
    folder: str | None = None,
) -> int:
    """Start ``sage`` detached; return when the state it writes says that it is ready.

    Args:
        words: what follows ``sage`` on the command line.
        name: of its state and its log.
        description: yields what to print then.
        folder: where it runs; here by default.

    Raises:
        EngineError: the log cannot be written.
    """
    paths = user_paths()
    log_path = paths.logs / f"{name}.log"
    command = [sys.executable, "-m", "sage", *words]
    try:
        with open_log(log_path) as log:
            begin = log.tell()
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=folder,
            )
    except OSError as error:
        raise cannot_write(paths.logs, error) from error
    try:
        code = _wait_until_ready(child, name)
    except KeyboardInterrupt:
        child.terminate()
        child.wait()
        raise
    if code is not None:
        _show_failure(log_path, begin)
        return code or 1
    for line in tail(log_path, 40, start=begin):
        if line.startswith("WARNING: "):
            click.echo(line, err=True)
    for line in description(read_state(paths, name)):
        click.echo(line)
    return 0


def _wait_until_ready(child: subprocess.Popen[bytes], name: str) -> int | None:
    """Wait; None when the child serves, its exit code when it has ended instead."""
    paths = user_paths()
    told = set()
    while (code := child.poll()) is None:
        state = read_state(paths, name)
        if state is not None and state.pid == child.pid:
            if state.ready:
                return None
            for line in [f"{engine.id} {engine.note}" for engine in state.engines if engine.note]:
                if line not in told:
                    click.echo(line, err=True)
                    told.add(line)
        time.sleep(_POLL_S)
    return code


def _show_failure(log: Path, begin: int) -> None:
    lines = tail(log, 40, start=begin)
    # The child has printed its one-line error, and after it the engine's last words.
    first = next((i for i, line in enumerate(lines) if line.startswith("error: ")), 0)
    for line in lines[first:]:
        click.echo(line, err=True)

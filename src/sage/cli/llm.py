"""``sage llm``: serve models, and look at, stop and follow what is served."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sage.config.paths import user_paths
from sage.config.ports import LOOPBACK
from sage.errors import ConfigError, EngineError
from sage.inference.engines.options import DTYPES, EngineOptions

if TYPE_CHECKING:
    from sage.inference.engines.remote.config import RemoteConfig
    from sage.inference.gateway.config import UnifiedServerConfig


@click.group(help="Serve models: start, look at and stop engines and their gateway.")
def llm() -> None:
    """Root of the subcommands."""


_SERVE_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--model", help="LLM: packaged name, .gguf file, folder or hub id."),
    click.option("--embedding-model", help="Embedding model: packaged name, folder or hub id."),
    click.option(
        "--with-embedding/--no-embedding",
        "embedding",
        default=None,
        help="Serve an embedding model too. Default: yes, unless only --model is given.",
    ),
    click.option("--no-llm", is_flag=True, help="Serve the embedding model alone."),
    click.option("--host", default=LOOPBACK, show_default=True, help="Address to listen on."),
    click.option("--port", type=int, help="First LLM engine's port.  [default: 8001]"),
    click.option("--embedding-port", type=int, help="Embedding engine's port.  [default: 8090]"),
    click.option("--gateway-port", type=int, help="Gateway's port.  [default: 8000]"),
    click.option(
        "--policy",
        help="Scheduling policy of the gateway.  [default: slo_aware, which over LLMs and "
        "embeddings is hybrid_slo]",
    ),
    click.option(
        "--gateway-config",
        type=click.Path(),
        help="TOML or YAML file with the gateway's policy, keys, SLO classes, limits and rules, as "
        "`sage gateway start --config` takes it, without address and backends.",
    ),
    click.option("--instances", type=int, default=1, show_default=True, help="LLM engines to run."),
    click.option(
        "--engine",
        help="Engine of the LLM (with --no-llm: of the embedding model): llama.cpp, vllm, onnx or "
        "sentence-transformers.  [default: what the model needs]",
    ),
    click.option(
        "--gpu-memory", type=float, help="Share of GPU memory for the engine, 0 to 1 (vLLM)."
    ),
    click.option("--dtype", type=click.Choice(DTYPES), help="Precision of the weights (vLLM)."),
    click.option("--max-model-len", type=int, help="Longest prompt and answer together, tokens."),
    click.option("--tensor-parallel-size", type=int, help="GPUs a model is split over (vLLM)."),
    click.option(
        "--vllm-python", help="Interpreter that has vLLM, if not this one (SAGE_VLLM_PYTHON)."
    ),
    click.option(
        "--on",
        type=click.Choice(("here", "ray")),
        default="here",
        show_default=True,
        help="Where the engines run: on this machine, or on the nodes of a Ray cluster. The "
        "gateway runs here.",
    ),
    click.option(
        "--ray-address",
        help="The cluster: auto (the one that this machine is a node of), local (started here, "
        "ends with the engines), host:port or ray://host:port.  [default: auto]",
    ),
    click.option(
        "--cpus", type=float, help="CPUs of each engine on Ray.  [default: an equal share]"
    ),
    click.option(
        "--gpus",
        type=float,
        help="GPUs of each LLM engine on Ray.  [default: --tensor-parallel-size for vLLM, else 0]",
    ),
    click.option(
        "--wait", is_flag=True, help="Wait until the Ray cluster has room, saying what for."
    ),
    click.option(
        "--background/--foreground", default=False, help="Return when ready, or stay until Ctrl-C."
    ),
)


def _serve_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_SERVE_OPTIONS):
        command = option(command)
    return command


class _ServeCommand(click.Command):
    """A command whose words after ``--`` are not its own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what stands before ``--``; the rest becomes the parameter ``extra``."""
        own, extra = args, []
        if "--" in args:
            cut = args.index("--")
            own, extra = args[:cut], args[cut + 1 :]
        rest = super().parse_args(ctx, own)
        ctx.params["extra"] = tuple(extra)
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Show the separator in the usage line."""
        return [*super().collect_usage_pieces(ctx), "[-- ENGINE FLAGS]"]


@llm.command(
    cls=_ServeCommand,
    help="Start engines and the gateway. Flags after -- go to the LLM engine as they are (with "
    "--no-llm: to the embedding engine); for llama.cpp they name its parameters: -- --slots 8 "
    "--threads 4 --n-batch 512.",
)
@_serve_options
def serve(background: bool, **asked: Any) -> int:
    """Serve until Ctrl-C, or in the background."""
    from sage.cli.serving import serve_here, serve_in_background
    from sage.inference.engines.plan import StackConfig

    options = EngineOptions(
        gpu_memory=asked["gpu_memory"],
        dtype=asked["dtype"],
        max_model_len=asked["max_model_len"],
        tensor_parallel_size=asked["tensor_parallel_size"],
        extra=asked["extra"],
        vllm_python=asked["vllm_python"],
    )
    config = StackConfig(
        model=asked["model"],
        embedding_model=asked["embedding_model"],
        llm=not asked["no_llm"],
        embedding=_wants_embedding(asked),
        instances=asked["instances"],
        engine=asked["engine"],
        host=asked["host"],
        gateway_port=asked["gateway_port"],
        llm_port=asked["port"],
        embedding_port=asked["embedding_port"],
        options=options,
        gateway=_gateway(asked["gateway_config"], asked["policy"]),
        remote=_remote(asked),
    )
    arguments = _as_arguments(asked)
    if background:
        return serve_in_background(arguments)
    reread = None
    if asked["gateway_config"]:
        reread = functools.partial(_gateway, asked["gateway_config"], asked["policy"])
    return serve_here(config, arguments, reread=reread)


def _gateway(file: str | None, policy: str | None) -> UnifiedServerConfig:
    """Return the gateway's configuration: the file's, with the policy of the command line."""
    import dataclasses

    from sage.inference.gateway.config import UnifiedServerConfig
    from sage.inference.gateway.config_file import load_config

    config = load_config(Path(file)) if file else UnifiedServerConfig()
    return dataclasses.replace(config, scheduling_policy=policy) if policy else config


def _remote(asked: dict[str, Any]) -> RemoteConfig | None:
    """Return the cluster that the engines run on, or None for this machine."""
    from sage.cluster.config import RayConfig
    from sage.inference.engines.remote.config import RemoteConfig

    names = ("ray_address", "cpus", "gpus", "wait")
    given = [name for name in names if asked[name] not in (None, False)]
    if asked["on"] == "here":
        if given:
            flags = ", ".join("--" + name.replace("_", "-") for name in given)
            raise ConfigError(f"{flags} are for engines on a cluster; add --on ray")
        return None
    cluster = RayConfig(address=asked["ray_address"] or "auto", wait=asked["wait"])
    return RemoteConfig(cluster, cpus=asked["cpus"], gpus=asked["gpus"])


def _wants_embedding(asked: dict[str, Any]) -> bool:
    if asked["embedding"] is not None:
        if asked["embedding"] is False and asked["embedding_model"]:
            raise ConfigError("--embedding-model and --no-embedding exclude each other")
        return bool(asked["embedding"])
    return bool(asked["embedding_model"]) or asked["no_llm"] or not asked["model"]


def _as_arguments(asked: dict[str, Any]) -> list[str]:
    """Write the options back as a command line, for the background process and for restarts."""
    words = []
    for name, value in asked.items():
        if name == "extra" or value is None or value is False:
            continue
        flag = "--with-embedding" if name == "embedding" else "--" + name.replace("_", "-")
        words += [flag] if value is True else [flag, str(value)]
    if asked["embedding"] is False:
        words.append("--no-embedding")
    return [*words, "--", *asked["extra"]] if asked["extra"] else words


@llm.command(help="Show the running stack; exits 0 when every instance is healthy.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def status(as_json: bool) -> int:
    """Show each instance with model, port, pid, health, uptime and requests."""
    from sage.cli.status import look, print_table

    report = look(user_paths())
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
    else:
        print_table(report)
    return 0 if report.healthy else 1


@llm.command(help="Stop the running stack and everything it started.")
def stop() -> int:
    """Stop; nothing running is not an error."""
    from sage.inference.engines.control import stop_stack

    stopped = stop_stack(user_paths())
    click.echo(f"stopped {stopped} processes" if stopped else "nothing is running")
    return 0


@llm.command(help="Stop the running stack and start it again as it was, in the background.")
def restart() -> int:
    """Restart with the arguments of the last `serve`, on the same ports."""
    from sage.cli.serving import serve_in_background, with_ports
    from sage.inference.engines.control import stop_stack
    from sage.inference.engines.state import read_state

    state = read_state(user_paths())
    if state is None:
        raise EngineError("nothing is running; start it with `sage llm serve`")
    stop_stack(user_paths())
    return serve_in_background(with_ports(state), folder=state.folder)


@llm.command(help="Print the last log lines of an instance, or of all.")
@click.argument("instance", required=False)
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    default=40,
    show_default=True,
    help="Lines of each log.",
)
@click.option("-f", "--follow", is_flag=True, help="Keep printing what is added, until Ctrl-C.")
def logs(instance: str | None, lines: int, follow: bool) -> None:
    """Print or follow log files."""
    from sage.cli.logs import follow_logs, log_files, print_tails

    files = log_files(user_paths(), instance)
    print_tails(files, lines)
    if follow:
        follow_logs(files)

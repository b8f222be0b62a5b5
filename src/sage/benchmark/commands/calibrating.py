"""``sage-cp-bench calibrate``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sage.benchmark.commands.embedding_calibration import LIMITS as _EMBEDDING_LIMITS
from sage.benchmark.commands.embedding_calibration import calibrate_embedding
from sage.benchmark.config import LLMBenchmarkConfig
from sage.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from sage.benchmark.calibrate.errors import ProbeError

_LIMITS = {
    "max_num_seqs": "Requests of a step.",
    "max_num_batched_tokens": "Tokens of a step, prompts and decodes together.",
    "max_model_len": "Tokens of the longest request.",
    "kv_tokens": "Tokens that the KV cache holds.",
}
_PLAN = ("longest", "batches", "repeats")


def _limit_options(command: Any) -> Any:
    for name, text in reversed({**_LIMITS, **_EMBEDDING_LIMITS}.items()):
        usual = (
            "what fits best" if name in _EMBEDDING_LIMITS else "as the engine says, or its usual"
        )
        command = click.option(
            f"--{name.replace('_', '-')}",
            name,
            type=click.IntRange(min=1),
            help=f"{text}  [default: {usual if name != 'max_texts' else 64}]",
        )(command)
    return command


@click.command()
@click.option("--url", required=True, help="The engine, http://HOST:PORT; nobody else may use it.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Write the profile to this file.",
)
@click.option("--model", help="Which of its models.  [default: its first]")
@click.option(
    "--kind",
    type=click.Choice(["llm", "embedding"]),
    default="llm",
    show_default=True,
    help="What the engine does.",
)
@click.option(
    "--longest",
    type=int,
    help="Tokens of the longest prompt or text asked.  [default: 512; 256 of embeddings]",
)
@click.option(
    "--batches", help="Sizes of the batches, by commas.  [default: 1,2,3,4,8,16,32 up to its limit]"
)
@click.option("--repeats", type=int, help="How often each probe is played.  [default: 3]")
@_limit_options
@click.option("--timeout-s", type=float, default=300.0, show_default=True, help="For an answer.")
@click.option("--api-key", help="Sent as a bearer token.  [default: none]")
def calibrate(out: Path, kind: str, **options: Any) -> int:
    """Measure an engine that nobody else uses, and write its profile for the simulator."""
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"--out: there is no folder {out.absolute().parent}")
    if not options["timeout_s"] > 0:
        raise ConfigError(f"timeout_s is {options['timeout_s']}; it must be above 0")
    from rich.console import Console

    from sage.benchmark.calibrate.document import encode_profile
    from sage.benchmark.calibrate.fitting import solver

    solver()  # said before minutes of measuring, not after
    console = Console()
    _check_kind(kind, options)
    command = _command(options["api_key"])
    measure = _llm if kind == "llm" else calibrate_embedding
    document, errors = measure(options, command, console)
    show_errors(errors, console)
    out.write_bytes(encode_profile(document))
    console.print(f"profile written to {out}", highlight=False)
    return 0


def _check_kind(kind: str, options: dict[str, Any]) -> None:
    """Refuse flags that mean nothing to this kind of engine."""
    others = (*_LIMITS, "batches") if kind == "embedding" else tuple(_EMBEDDING_LIMITS)
    for name in others:
        if options[name] is not None:
            raise ConfigError(f"--{name.replace('_', '-')} is not for engines of kind {kind}")


def _llm(
    options: dict[str, Any], command: str, console: Console
) -> tuple[dict[str, Any], Sequence[ProbeError]]:
    from sage.benchmark.calibrate.document import llm_document
    from sage.benchmark.calibrate.engine_facts import read_facts
    from sage.benchmark.calibrate.live_player import LivePlayer
    from sage.benchmark.calibrate.llm import calibrate_llm
    from sage.benchmark.calibrate.probes import Take
    from sage.benchmark.prompts import built_in_text
    from sage.benchmark.target import find_target

    plan = _plan(options)
    config = LLMBenchmarkConfig(url=options["url"], model=options["model"])
    found = find_target(config, api_key=options["api_key"])
    given = {name: options[name] for name in _LIMITS if options[name] is not None}
    facts = read_facts(found, given)
    if facts.assumed:
        console.print(
            f"not told by the engine, so its usual is assumed: {', '.join(facts.assumed)}",
            highlight=False,
        )
    status = _status()
    done = iter(range(1, 1 << 30))

    def tell(take: Take, total: int) -> None:
        status.print(f"{next(done)}/{total} {take.kind}: {take.label}", highlight=False)

    player = LivePlayer(found, built_in_text(), timeout_s=options["timeout_s"])
    calibrated = calibrate_llm(player, facts, plan, on_take=tell)
    return llm_document(calibrated, facts, found, command), calibrated.errors


def _plan(options: dict[str, Any]) -> Any:
    from sage.benchmark.calibrate.probes import ProbePlan

    values = {name: options[name] for name in _PLAN if options[name] is not None}
    if "batches" in values:
        try:
            values["batches"] = tuple(int(item) for item in values["batches"].split(","))
        except ValueError:
            raise ConfigError(
                f"--batches is {values['batches']!r}; write whole numbers, as 1,4,16"
            ) from None
    return ProbePlan(**values)


def _status() -> Console:
    from rich.console import Console

    return Console(stderr=True)


def show_errors(errors: Sequence[ProbeError], console: Console) -> None:
    """Print how far the model is from what was measured."""
    from rich.table import Table

    table = Table(title="model against engine")
    table.add_column("figure")
    for name in ("probes", "median", "worst", "spread of repeats"):
        table.add_column(name, justify="right")
    for error in errors:
        table.add_row(
            error.what,
            str(error.probes),
            f"{error.median:+.1%}",
            f"{error.worst:+.1%}",
            f"{error.spread:.1%}",
        )
    console.print(table)


def _command(api_key: str | None) -> str:
    words = [item.replace(api_key, "…") if api_key else item for item in sys.argv[1:]]
    return shlex.join(["sage-cp-bench", *words])

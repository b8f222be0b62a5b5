"""llama.cpp's own server, run inside this process through xllamacpp.

    python -m sage.inference.engines.llama_cpp --model FILE --name ID --host H --port P
        [--embedding] [--slots N] [--threads N] [--max-model-len N] [--pool N] [--KEY VALUE ...]

Any other ``--KEY VALUE`` sets the parameter of that name in xllamacpp's ``CommonParams``; ``--a.b``
reaches into the group ``a``.
"""

from __future__ import annotations

import argparse
import enum
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import psutil

from sage.config.settings import export
from sage.errors import ConfigError, EngineStartError, SageError, UnknownKeyError
from sage.inference.engines.chat_template import with_tools
from sage.inference.engines.context import ContextPlan, plan_context
from sage.inference.engines.gguf import check_gguf, metadata_text
from sage.inference.engines.shape import read_shape

logger = logging.getLogger("sage.engines")

DEFAULT_SLOTS = 16
SLOT_FLAGS = ("--slots", "--parallel", "--n-parallel", "--n_parallel")
# Prompts kept for reuse may take this share of the free memory, and llama.cpp's own bound.
_PROMPT_CACHE_SHARE = 8
_MOST_PROMPT_CACHE_MIB = 8192
# A text to embed is computed in one physical batch, whose buffers grow with its length.
_LONGEST_EMBEDDED = 8192
BATCH_TOKENS = 2048
"""Prompt tokens that a step of llama.cpp carries at most by default."""
# After a failed load llama.cpp's log has lines left to write, which say why.
_LOG_LAG_S = 0.1
# How often a thread of libgomp looks for the others before it sleeps. By default that is for some
# 10 ms, which beside any busy process on the same cores (the embedding engine, the gateway) costs
# most of the throughput; this is long enough for threads that run side by side.
_SPINS = "200"


def library() -> Any:
    """Return xllamacpp, loaded so that its threads do not spin against other processes."""
    # libgomp reads this when it is loaded, which is now.
    export("GOMP_SPINCOUNT", _SPINS)
    import xllamacpp

    return xllamacpp


def parse_arguments(arguments: Sequence[str]) -> tuple[argparse.Namespace, dict[str, str]]:
    """Split the arguments into ours and those for llama.cpp.

    Raises:
        ConfigError: one of llama.cpp's has no value, or is no option at all.
    """
    parser = argparse.ArgumentParser(prog="sage.inference.engines.llama_cpp", allow_abbrev=False)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--embedding", action="store_true")
    parser.add_argument(*SLOT_FLAGS, dest="slots", type=_count, default=DEFAULT_SLOTS)
    parser.add_argument("--threads", type=_count)
    parser.add_argument("--max-model-len", type=_count)
    parser.add_argument("--pool", type=_count)
    known, rest = parser.parse_known_args(arguments)
    return known, engine_options(rest)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number


def engine_options(rest: Sequence[str]) -> dict[str, str]:
    """Read ``--key value``, ``--key=value`` and bare ``--key`` (true) into a dict.

    Raises:
        ConfigError: something stands where an option should.
    """
    options: dict[str, str] = {}
    waiting: str | None = None
    for word in rest:
        if word.startswith("--"):
            key, equals, value = word[2:].partition("=")
            options[key.replace("-", "_")] = value if equals else "true"
            waiting = None if equals else key.replace("-", "_")
        elif waiting is not None:
            options[waiting] = word
            waiting = None
        else:
            raise ConfigError(f"llama.cpp options: {word!r} is no option; write --name value")
    return options


def apply_options(params: Any, options: dict[str, str]) -> None:
    """Set ``CommonParams`` attributes from text, by the type each has now.

    Raises:
        UnknownKeyError: there is no such parameter.
        ConfigError: the value is not of the parameter's type.
    """
    for key, text in options.items():
        group, name = _find(params, key)
        current = getattr(group, name)
        try:
            setattr(group, name, _convert(text, current))
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            kind = type(current).__name__
            raise ConfigError(f"llama.cpp option {key}: {text!r} is not {kind} ({error})") from None


def _find(params: Any, key: str) -> tuple[Any, str]:
    """Return the object that holds a parameter, and the parameter's name there."""
    *groups, name = key.split(".")
    for word in (*groups, name):
        known = [known for known in dir(params) if not known.startswith("_")]
        if word not in known:
            raise UnknownKeyError(word, known, where="llama.cpp options")
        if word is not name:
            params = getattr(params, word)
    return params, name


def _convert(text: str, current: object) -> object:
    if isinstance(current, bool):
        if text.lower() not in {"true", "false", "1", "0", "on", "off"}:
            raise ValueError("write true or false")
        return text.lower() in {"true", "1", "on"}
    if isinstance(current, enum.Enum):
        return _member(type(current), text)
    if isinstance(current, (int, float)):
        return type(current)(text)
    if isinstance(current, str):
        return text
    if isinstance(current, list):
        return text.split(",")
    raise TypeError("it cannot be set from the command line")


def _member(kind: type[enum.Enum], text: str) -> enum.Enum:
    """Return the member meant: LLAMA_POOLING_TYPE_MEAN is ``mean``."""
    for member in kind:
        if member.name.lower().endswith("_" + text.lower().replace("-", "_")):
            return member
    raise ValueError(f"it is one of {', '.join(member.name for member in kind)}")


def build_params(arguments: argparse.Namespace, options: dict[str, str]) -> Any:
    """Return xllamacpp's parameters for a server."""
    params = library().CommonParams()
    params.model.path = str(arguments.model)
    params.model_alias = [arguments.name]
    params.hostnames = [arguments.host]
    params.port = arguments.port
    params.n_parallel = arguments.slots
    if arguments.threads:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = arguments.threads
    params.endpoint_metrics = True
    params.endpoint_slots = True
    params.ui = False
    params.cors_origins = ""
    _set_context(params, arguments)
    apply_options(params, options)
    return params


def free_memory(model: Path) -> int:
    """Return the bytes of memory that are free once a model's weights are loaded."""
    size = model.stat().st_size if model.exists() else 0
    return max(psutil.virtual_memory().available - size, 0)


def context_of(model: Path, slots: int, asked: int | None, *, engines: int = 1) -> ContextPlan:
    """Return the context that an engine of a model gets on this machine, now.

    Args:
        model: its file.
        slots: requests in flight at once.
        asked: longest request that the user wants to allow.
        engines: how many engines of it are to share the free memory.
    """
    return plan_context(read_shape(model), slots, asked, free_memory(model) // engines)


def embedding_batch(plan: ContextPlan) -> int:
    """Return the tokens of a batch in which texts are embedded."""
    return min(plan.request, _LONGEST_EMBEDDED)


def _set_context(params: Any, arguments: argparse.Namespace) -> None:
    asked = arguments.max_model_len
    if arguments.pool is not None:
        plan = ContextPlan(min(asked or arguments.pool, arguments.pool), arguments.pool)
    else:
        plan = context_of(arguments.model, arguments.slots, asked)
    if plan.reason:
        logger.warning("requests are limited to %d tokens: %s", plan.request, plan.reason)
    free = free_memory(arguments.model)
    # One pool for all slots: a long request can use what short ones leave.
    params.kv_unified = True
    params.kv_unified_per_slot = plan.request
    params.n_ctx = plan.pool
    params.cache_ram_mib = min(free // _PROMPT_CACHE_SHARE >> 20, _MOST_PROMPT_CACHE_MIB)
    if arguments.embedding:
        params.embedding = True
        params.n_ubatch = params.n_batch = embedding_batch(plan)


def _take_tools(params: Any, model: Path) -> None:
    """Let a model whose chat template has no place for tools be given some all the same."""
    template = with_tools(metadata_text(model, "tokenizer.chat_template"))
    if template is not None:
        logger.info(
            "the model's chat template has no place for tools; they are written into the first "
            "message (--chat-template sets another template)"
        )
        params.chat_template = template


def serve(arguments: argparse.Namespace, options: dict[str, str]) -> NoReturn:
    """Load the model and serve it until SIGTERM or SIGINT, which end this process.

    Raises:
        SageError: a flag is wrong or the model cannot be loaded.
    """
    check_gguf(arguments.model)
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    params = build_params(arguments, options)
    if not arguments.embedding and not params.chat_template:
        _take_tools(params, arguments.model)
    try:
        _server = library().Server(params)
    except (RuntimeError, ValueError) as error:
        raise EngineStartError(f"llama.cpp cannot load {arguments.model}: {error}") from error
    stop.wait()
    # Not by the server's destructor: it computes no more, yet waits until the clients of what was
    # under way have gone, who learn only from closed connections that they can turn elsewhere.
    sys.stderr.flush()
    os._exit(0)


def main() -> None:
    """Run the engine; an error is one line, the last on stderr."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO)
    try:
        serve(*parse_arguments(sys.argv[1:]))
    except SageError as error:
        _last_words(f"error: {' '.join(str(error).split())}\n")
        sys.exit(error.exit_code)


def _last_words(text: str) -> None:
    """Write a line that nothing follows, though llama.cpp logs from a thread of its own."""
    time.sleep(_LOG_LAG_S)
    sys.stderr.flush()
    stderr = os.dup(sys.stderr.fileno())
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stderr.fileno())
    os.write(stderr, text.encode())


if __name__ == "__main__":
    main()

"""llama.cpp's own server, run inside this process through xllamacpp.

    python -m sage.inference.engines.llama_cpp --model FILE --name ID --host H --port P
        [--embedding] [--slots N] [--max-model-len N] [--KEY VALUE ...]

Any other ``--KEY VALUE`` sets the parameter of that name in xllamacpp's ``CommonParams``.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sage.errors import ConfigError, EngineStartError, SageError, UnknownKeyError
from sage.inference.engines.gguf import check_gguf

DEFAULT_SLOTS = 16
# Tokens of the key-value pool that all slots share, a slot: enough for RAG prompts, and 16 slots of
# a 7B model with grouped attention stay near 4 GB.
TOKENS_A_SLOT = 2048


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
    parser.add_argument("--slots", type=int, default=DEFAULT_SLOTS)
    parser.add_argument("--max-model-len", type=int)
    known, rest = parser.parse_known_args(arguments)
    return known, engine_options(rest)


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
    known = [name for name in dir(params) if not name.startswith("_")]
    for key, text in options.items():
        if key not in known:
            raise UnknownKeyError(key, known, where="llama.cpp options")
        current = getattr(params, key)
        try:
            setattr(params, key, _convert(text, current))
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            kind = type(current).__name__
            raise ConfigError(f"llama.cpp option {key}: {text!r} is not {kind} ({error})") from None


def _convert(text: str, current: object) -> object:
    if isinstance(current, bool):
        if text.lower() not in {"true", "false", "1", "0", "on", "off"}:
            raise ValueError("write true or false")
        return text.lower() in {"true", "1", "on"}
    if isinstance(current, (int, float)):
        return type(current)(text)
    if isinstance(current, str):
        return text
    if isinstance(current, list):
        return text.split(",")
    raise TypeError("it cannot be set from the command line")


def build_params(arguments: argparse.Namespace, options: dict[str, str]) -> Any:
    """Return xllamacpp's parameters for a server."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(arguments.model)
    params.model_alias = [arguments.name]
    params.hostnames = [arguments.host]
    params.port = arguments.port
    params.n_parallel = arguments.slots
    if arguments.max_model_len:
        # Each slot has its own part of the pool, which bounds a request to exactly this length.
        params.kv_unified = False
        params.n_ctx = arguments.max_model_len * arguments.slots
    else:
        params.kv_unified = True
        params.n_ctx = TOKENS_A_SLOT * arguments.slots
    params.endpoint_metrics = True
    params.endpoint_slots = True
    params.ui = False
    params.cors_origins = ""
    if arguments.embedding:
        params.embedding = True
        # An embedding is computed in one physical batch, so that must hold the longest text.
        params.n_ubatch = params.n_batch
    apply_options(params, options)
    return params


def serve(arguments: argparse.Namespace, options: dict[str, str]) -> None:
    """Load the model and serve it until SIGTERM or SIGINT.

    Raises:
        SageError: a flag is wrong or the model cannot be loaded.
    """
    import xllamacpp

    check_gguf(arguments.model)
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    try:
        server = xllamacpp.Server(build_params(arguments, options))
    except (RuntimeError, ValueError) as error:
        raise EngineStartError(f"llama.cpp cannot load {arguments.model}: {error}") from error
    stop.wait()
    del server  # its destructor ends the requests and frees the model


def main() -> None:
    """Run the engine; an error is one line on stderr."""
    try:
        serve(*parse_arguments(sys.argv[1:]))
    except SageError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()

"""Which sink a path or a list asks for."""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

from sage.dataflow.blueprint import Blueprint, split_arguments
from sage.dataflow.choices import read_choice
from sage.dataflow.options import OnError
from sage.dataflow.sinks.gathered import ListSink, list_behind
from sage.dataflow.sinks.json_lines import JsonLinesSink
from sage.dataflow.workers import Workers
from sage.errors import ConfigError, GraphError

Choice = tuple[Blueprint, dict[str, Any]]


class SinkFormat(StrEnum):
    """How records are written."""

    JSONL = "jsonl"
    PARQUET = "parquet"


_SUFFIXES = {
    ".jsonl": SinkFormat.JSONL,
    ".ndjson": SinkFormat.JSONL,
    ".parquet": SinkFormat.PARQUET,
}


def choose_sink(
    given: Any, args: tuple[Any, ...], options: dict[str, Any], free_name: Callable[[str], str]
) -> Choice | None:
    """Return the sink of a list or a path, and the operator's options; None for anything else.

    Args:
        given: what ``sink`` got.
        args: and its other arguments, of which a list or a path takes none.
        options: its keywords.
        free_name: makes an operator's name of a word.

    Raises:
        ConfigError: the path tells no format, or an option is not for it.
        GraphError: there are arguments, or the list would be one in another process.
    """
    if isinstance(given, list) or list_behind(given) is not None:
        _check_here(options)
    if isinstance(given, list):
        label, choice = "list", (Blueprint(ListSink, (given,)), dict(options))
    elif isinstance(given, (str, os.PathLike)):
        format_ = _read_format(os.fspath(given), options.get("format"))
        left = {key: value for key, value in options.items() if key != "format"}
        make = _parquet_sink if format_ is SinkFormat.PARQUET else _json_lines_sink
        label, choice = format_.value, make(os.fspath(given), left)
    else:
        return None
    if args:
        raise GraphError(f"sink() got {len(args)} arguments beside a {label}, which takes none")
    choice[1].setdefault("name", free_name(label))
    return choice


def _check_here(options: dict[str, Any]) -> None:
    if options.get("workers") == Workers.PROCESS:
        raise GraphError(
            "sink() cannot append to a list from another process; leave out workers='process'"
        )


def _read_format(name: str, given: object) -> SinkFormat:
    if "://" in name:
        raise ConfigError(f"sink() got {name!r}; it writes to paths on this machine, not to URLs")
    if given is not None:
        return read_choice(SinkFormat, given, "format")
    found = _SUFFIXES.get(Path(name).suffix.lower())
    if found is None:
        raise ConfigError(
            f"sink() got the path {name!r}, whose name tells no format; end it in .jsonl or "
            ".parquet, or say format='jsonl', or format='parquet' for a folder of part files"
        )
    return found


def _json_lines_sink(name: str, options: dict[str, Any]) -> Choice:
    return split_arguments(JsonLinesSink, (Path(name),), options, method="sink")


def _parquet_sink(name: str, options: dict[str, Any]) -> Choice:
    from sage.dataflow.sinks.parquet import ParquetSink

    path = Path(name)
    folder = name.endswith(os.sep) or path.is_dir() or path.suffix.lower() != ".parquet"
    blueprint, rest = split_arguments(ParquetSink, (path, folder), options, method="sink")
    ParquetSink(*blueprint.args, **blueprint.kwargs)  # wrong values fail here, not in a replica
    if not folder and (rest.get("parallelism") or 1) > 1:
        raise ConfigError(
            f"{name!r} is one Parquet file, which several replicas cannot write; name a folder: "
            f"sink({str(path.with_suffix(''))!r}, format='parquet')"
        )
    if rest.get("retry") or (rest.get("on_error") or OnError.RAISE) != OnError.RAISE:
        raise ConfigError(
            "a Parquet sink writes records by groups and cannot give up or try again single ones; "
            "leave out on_error and retry, and put a map that checks the records before it"
        )
    return blueprint, rest

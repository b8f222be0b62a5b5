"""One request of a trace, and where an error in one is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sage.errors import ConfigError

BLOCK_TOKENS = 512
"""Prompt tokens that one hash id of a Mooncake trace stands for."""


@dataclass(frozen=True, slots=True)
class TraceRecord:
    """One request of a trace.

    Attributes:
        at: seconds from the first request.
        prompt_tokens: asked, at least 1.
        output_tokens: answered, at least 1.
        blocks: ids of the prompt's blocks of 512 tokens; empty when the trace has none.
    """

    at: float
    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()


def trace_text(path: Path) -> str:
    """Return the text of a trace's file.

    Raises:
        ConfigError: it cannot be read, or is not text; names the line and the byte in it.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"trace {path}: {error.strerror or error}") from None
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        raise ConfigError(
            f"trace {path}, line {line}, byte {column}: not text in UTF-8; "
            "is it compressed or torn?"
        ) from None

"""Code blocks of the documentation, for the tests that run them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class CodeBlock:
    """One fenced block: its file, the line it begins on, its language and its text."""

    path: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.path.name}:{self.line}"


def code_blocks(*names: str) -> list[CodeBlock]:
    """Return the fenced blocks of documents, named from the project's root."""
    blocks = []
    for name in names:
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        for match in _BLOCK.finditer(text):
            line = text[: match.start()].count("\n") + 1
            blocks.append(CodeBlock(path, line, match[1], match[2]))
    return blocks

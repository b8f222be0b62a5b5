"""Every code block of docs/dataflow.md runs."""

from __future__ import annotations

import pytest
from tests.documents import CodeBlock, code_blocks

BLOCKS = code_blocks("docs/dataflow.md")


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_blocks_run(block: CodeBlock) -> None:
    """Each by itself, in an empty folder; its assertions hold."""
    assert block.language == "python"
    exec(compile(block.text, str(block), "exec"), {"__name__": "block"})


def test_there_are_blocks() -> None:
    """The page was found."""
    assert len(BLOCKS) >= 7

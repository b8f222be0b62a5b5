"""Every code block of the pages about dataflow runs."""

from __future__ import annotations

import pytest
from tests.documents import CodeBlock, code_blocks

PAGES = ["docs/dataflow.md", "docs/checkpoints.md"]
BLOCKS = [block for page in PAGES for block in code_blocks(page)]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_blocks_run(block: CodeBlock) -> None:
    """Each by itself, in an empty folder; its assertions hold."""
    assert block.language == "python"
    exec(compile(block.text, str(block), "exec"), {"__name__": "block"})


@pytest.mark.parametrize("page", PAGES)
def test_there_are_blocks(page: str) -> None:
    """The page was found."""
    assert len(code_blocks(page)) >= 3

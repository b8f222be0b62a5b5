"""A progress bar on stderr, where that is a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sage.benchmark.exchange import Exchange


@contextmanager
def progress(total: int, *, every: int = 1) -> Iterator[Callable[[Exchange], None]]:
    """Show how many answers have come and how long the rest will take.

    Args:
        total: answers that are expected.
        every: the bar moves once in so many answers.

    Yields:
        what is to be called with each answer.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("requests", total=total)
        answers = 0

        def answered(_: Exchange) -> None:
            nonlocal answers
            answers += 1
            if answers % every == 0:
                bar.advance(task, every)

        yield answered

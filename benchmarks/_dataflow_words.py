"""Word count over files, with a checkpoint each second and without: the same job otherwise."""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from _dataflow_rounds import Figures, serve

from sage.dataflow import LocalEnvironment

SEED = 4
VOCABULARY = 50_000
WORDS_A_LINE = 12
BLOCK_WORDS = 1_000_000
BLOCKS = 8
FILES = 4


def write_text(folder: Path, size: int) -> int:
    """Write files of words of a Zipf distribution, the same ones each time.

    Args:
        folder: where to.
        size: bytes in all, about.

    Returns:
        how many words there are.
    """
    random_ = random.Random(SEED)
    letters = "etaoinshrdlu"
    vocabulary = sorted(
        {"".join(random_.choices(letters, k=random_.randint(3, 9))) for _ in range(VOCABULARY)},
        key=len,
    )
    weights = [1.0 / rank for rank in range(1, len(vocabulary) + 1)]
    blocks = []
    for _ in range(BLOCKS):
        words = random_.choices(vocabulary, weights, k=BLOCK_WORDS)
        lines = (
            " ".join(words[begin : begin + WORDS_A_LINE])
            for begin in range(0, BLOCK_WORDS, WORDS_A_LINE)
        )
        blocks.append(("\n".join(lines) + "\n").encode())
    written = 0
    files = [(folder / f"words{number}.txt").open("wb") for number in range(FILES)]
    count = 0
    while written < size:
        block = blocks[count % BLOCKS]
        files[count % FILES].write(block)
        written += len(block)
        count += 1
    for file in files:
        file.close()
    return count * BLOCK_WORDS


def one_of(word: tuple[str, int]) -> str:
    return word[0]


def add(total: tuple[str, int], word: tuple[str, int]) -> tuple[str, int]:
    return word[0], total[1] + word[1]


def words_of(line: str) -> list[tuple[str, int]]:
    return [(word, 1) for word in line.split()]


def count(folder: str, words: str, interval: str = "") -> Figures:
    """Count the words of a folder's files with keyed state.

    Args:
        folder: with the text.
        words: how many there are.
        interval: seconds between checkpoints; empty for none.

    Raises:
        SystemExit: the counts are wrong.
    """
    found: list[tuple[str, int]] = []
    with tempfile.TemporaryDirectory() as place:
        config: dict[str, Any] = {}
        if interval:
            config["checkpoint"] = {"dir": place, "interval": float(interval)}
        env = LocalEnvironment("words", config=config)
        stream = env.from_files(f"{folder}/*.txt").flatmap(words_of)
        stream.keyby(one_of).reduce(add, emit="end").sink(found.append)
        used, start = time.process_time(), time.perf_counter()
        env.submit(autostop=True)
        elapsed = time.perf_counter() - start
        cpu = time.process_time() - used
        kept = sum(1 for path in Path(place).rglob("*") if path.is_file())
    if sum(number for _, number in found) != int(words):
        raise SystemExit(f"{sum(number for _, number in found)} words were counted, not {words}")
    if interval and not kept:
        raise SystemExit("no checkpoint was written")
    return {"words_per_s": int(words) / elapsed, "seconds": elapsed, "cpu_s": cpu}


def plain(folder: str, words: str) -> Figures:
    """Count them with a Counter, as a script would."""
    start = time.perf_counter()
    counts: Counter[str] = Counter()
    for path in sorted(Path(folder).glob("*.txt")):
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                counts.update(line.split())
    elapsed = time.perf_counter() - start
    if counts.total() != int(words):
        raise SystemExit(f"{counts.total()} words were counted, not {words}")
    return {"words_per_s": int(words) / elapsed, "seconds": elapsed}


if __name__ == "__main__":
    serve(
        {
            "without": count,
            "with": lambda folder, words: count(folder, words, "1.0"),
            "plain": plain,
        }
    )

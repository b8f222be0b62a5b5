"""Puts the benchmarks' figures into the READMEs, so that every figure there has been measured.

    python benchmarks/_figures.py

rewrites the text between ``<!-- figures: NAME -->`` and ``<!-- end -->`` from
``benchmarks/results/NAME.json``. A test fails when the two disagree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
READMES = {"en": ROOT / "README.md", "zh": ROOT / "README.zh.md"}
_SECTION = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

_WORDS = {
    "en": {
        "what": "what",
        "figure": "figure",
        "import": "`import sage`",
        "help": "`sage --help`, whole process",
        "cold": "`sage llm serve` to the first token, models not in memory",
        "warm": "the same, models in the page cache",
        "tokens": "tokens/s through the gateway / straight to the engine, {} at once",
        "texts": "embedding texts/s, 64 callers with one text each / the engine's own sorted "
        "batches",
        "ratio": "{ours:.0f} / {reference:.0f}, ratio {ratio:.2f} ({lowest:.2f} to {highest:.2f})",
        "where": "{processor}, {cores} cores, {date}, `{command}`; comparisons are paired, the "
        "ratio is the median of the pairs' (lowest to highest).",
    },
    "zh": {
        "what": "内容",
        "figure": "数据",
        "import": "`import sage`",
        "help": "`sage --help`，整个进程",
        "cold": "从 `sage llm serve` 到首个 token，模型不在内存中",
        "warm": "同上，模型已在页缓存中",
        "tokens": "每秒 token 数：经网关 / 直连引擎，{} 个并发",
        "texts": "每秒嵌入文本数：64 个调用方各发一条 / 引擎自身按长度排序的批处理",
        "ratio": "{ours:.0f} / {reference:.0f}，比值 {ratio:.2f}（{lowest:.2f} 至 {highest:.2f}）",
        "where": "{processor}，{cores} 核，{date}，`{command}`；成对比较，"
        "比值取各对的中位数（最低至最高）。",
    },
}


def first_use(data: dict[str, Any], words: dict[str, str]) -> str:
    """Return the first-use table as Markdown."""
    figures = data["figures"]
    rows = [
        (words["import"], f"{figures['import_ms']:.0f} ms"),
        (words["help"], f"{figures['help_ms']:.0f} ms"),
        (words["cold"], f"{figures['first_token_cold_s']:.1f} s"),
        (words["warm"], f"{figures['first_token_warm_s']:.1f} s"),
    ]
    for count in (1, 4, 16):
        outcome = words["ratio"].format(**figures[f"tokens_{count}"])
        rows.append((words["tokens"].format(count), outcome))
    rows.append((words["texts"], words["ratio"].format(**figures["embeddings_64"])))
    table = [f"| {words['what']} | {words['figure']} |", "|---|---|"]
    table += [f"| {what} | {figure} |" for what, figure in rows]
    where = words["where"].format(**data["machine"], date=data["date"], command=data["command"])
    return "\n".join([*table, "", where, ""])


TABLES: dict[str, Callable[[dict[str, Any], dict[str, str]], str]] = {"first_use": first_use}


def with_figures(text: str, language: str) -> str:
    """Return a README's text with every section of figures written afresh."""

    def section(match: re.Match[str]) -> str:
        path = ROOT / "benchmarks" / "results" / f"{match[2]}.json"
        data = json.loads(path.read_text(encoding="utf-8"))
        return f"{match[1]}{TABLES[match[2]](data, _WORDS[language])}{match[3]}"

    return _SECTION.sub(section, text)


def main() -> None:
    for language, path in READMES.items():
        path.write_text(with_figures(path.read_text(encoding="utf-8"), language), encoding="utf-8")


if __name__ == "__main__":
    main()

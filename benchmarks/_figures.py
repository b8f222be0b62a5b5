"""Puts the benchmarks' figures into the READMEs, so that every figure there has been measured.

    python benchmarks/_figures.py

rewrites the text between ``<!-- figures: NAME -->`` and ``<!-- end -->`` from
``benchmarks/results/NAME.json``. A test fails when the two disagree.
"""

from __future__ import annotations

import json
import re
import statistics
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
        "gateway": "gateway | CPU a request, µs | CPU a streamed event, µs | added p50, ms | "
        "RSS, MB",
        "slo": "requests within their objective | `fifo`, round robin | `hybrid_slo` | difference",
        "points": "{:+.1f} points ({:+.1f} to {:+.1f})",
        "slo_where": "{processor}, {cores} cores, {date}, `{command}`: two llama.cpp engines of "
        "different speed and an embedding engine at {load:g} times what they can do; all that was "
        "issued counts; 95% intervals over pairs.",
        "sage": "**SAGE**, the compiled wheel",
        "sage-python": "SAGE, a checkout",
        "gateway_where": "{processor}, one core for each gateway, all in one run, {date}, "
        "`{command}`. SAGE has its SLO policy, metrics and key check on.",
        "pipeline": "map → map → filter → sink | records/s | of the plain loop",
        "plain": "a plain Python loop",
        "fused": "**SAGE**, metrics on",
        "channels": "**SAGE**, a channel between each two operators",
        "bytewax 1000": "Bytewax 0.21, source batches of 1,000",
        "bytewax 1": "Bytewax 0.21, of 1",
        "streamz": "Streamz 0.6",
        "ray": "Ray Data 2.60, rows",
        "dataflow_where": "{processor}, {cores} cores, {date}, `{command}`; every turn in a fresh "
        "process, medians over rounds (lowest – highest).",
        "client": "load client | requests/s | CPU a request, µs | CPU a streamed event, µs | "
        "a 2 s stall: E2E P99, ms | within the SLO there | 10% failures: within the SLO | "
        "a 300 ms freeze: ITL P99, ms",
        "truth": "*what is true*",
        "sage-cp-bench": "**sage-cp-bench**",
        "client_where": "{processor}, one core for each client, all in one run, {date}, "
        "`{command}`; medians of {rounds} rounds; each client's own headline figures.",
        "remote": "on a Ray cluster | figure | bar",
        "records": "records of 1 KB a second, through three stages",
        "start": "a job's start to its first record, four actors, s",
        "async": "calls of 50 ms a second, 500 in flight over two actors",
        "embedded": "texts embedded by two actors, to Ray Data's `map_batches`",
        "remote_where": "{processor}, {cores} cores for driver, cluster and actors, {date}, "
        "`{command}`; medians (lowest – highest).",
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
        "gateway": "网关 | 每请求 CPU，µs | 每个流式事件 CPU，µs | 增加的 p50，ms | 内存，MB",
        "slo": "在目标内完成的请求 | `fifo`，轮询 | `hybrid_slo` | 差异",
        "points": "{:+.1f} 个百分点（{:+.1f} 至 {:+.1f}）",
        "chat": "对话",
        "embedding": "嵌入",
        "bulk": "批量",
        "all": "全部",
        "slo_where": "{processor}，{cores} 核，{date}，`{command}`：两个速度不同的 llama.cpp 引擎"
        "和一个嵌入引擎，负载为其能力的 {load:g} 倍；发出的请求全部计入；区间为各对的 95% 区间。",
        "sage": "**SAGE**，编译的 wheel",
        "sage-python": "SAGE，源码目录",
        "gateway_where": "{processor}，每个网关一个核，同一次运行，{date}，`{command}`。"
        "SAGE 开启 SLO 策略、指标和密钥检查。",
        "pipeline": "map → map → filter → sink | 每秒记录数 | 相对普通循环",
        "plain": "普通 Python 循环",
        "fused": "**SAGE**，指标开启",
        "channels": "**SAGE**，算子之间各有一个通道",
        "bytewax 1000": "Bytewax 0.21，源批次 1,000",
        "bytewax 1": "Bytewax 0.21，源批次 1",
        "streamz": "Streamz 0.6",
        "ray": "Ray Data 2.60，逐行",
        "dataflow_where": "{processor}，{cores} 核，{date}，`{command}`；每次都在新进程中运行，"
        "取各轮的中位数（最低 – 最高）。",
        "client": "负载客户端 | 每秒请求数 | 每请求 CPU，µs | 每个流式事件 CPU，µs | 停顿 2 秒："
        "E2E P99，ms | 其间达标率 | 10% 失败：达标率 | 冻结 300 ms：ITL P99，ms",
        "truth": "*实际值*",
        "sage-cp-bench": "**sage-cp-bench**",
        "client_where": "{processor}，每个客户端一个核，同一次运行，{date}，`{command}`；"
        "{rounds} 轮的中位数；取各客户端自己的主要数据。",
        "remote": "在 Ray 集群上 | 数据 | 目标",
        "records": "每秒 1 KB 记录数，经三个阶段",
        "start": "从作业启动到首条记录，四个 actor，秒",
        "async": "每秒 50 ms 调用数，两个 actor 上 500 个并发",
        "embedded": "两个 actor 嵌入文本，相对 Ray Data 的 `map_batches`",
        "remote_where": "{processor}，驱动、集群和 actor 共用 {cores} 核，{date}，`{command}`；"
        "中位数（最低 – 最高）。",
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


def gateway(data: dict[str, Any], words: dict[str, str]) -> str:
    """Return the table of gateways as Markdown."""
    figures = data["figures"]
    table = [f"| {words['gateway']} |", "|---|---|---|---|---|"]
    for name, its in figures["gateways"].items():
        if "missing" in its:
            continue
        cells = [
            f"{words.get(name, name)} {its['version']}",
            _median(figures["request_us"].get(name), 1),
            _median(figures["event_us"].get(name), 1),
            _median(figures["added_p50_ms"].get(name), 2),
            f"{figures['rss_mb'][name]:.0f}" if name in figures["rss_mb"] else "—",
        ]
        table.append(f"| {' | '.join(cells)} |")
    where = words["gateway_where"].format(
        **data["machine"], date=data["date"], command=data["command"]
    )
    return "\n".join([*table, "", where, ""])


def slo(data: dict[str, Any], words: dict[str, str]) -> str:
    """Return attainment by class as Markdown."""
    figures = data["figures"]
    table = [f"| {words['slo']} |", "|---|---|---|---|"]
    for name, its in figures["comparison"].items():
        shares = its["attainment"]
        cells = [
            words.get(name, name),
            f"{shares['round_robin']:.1%}",
            f"{shares['hybrid_slo']:.1%}",
            words["points"].format(*(100 * shares[key] for key in ("mean", "low", "high"))),
        ]
        table.append(f"| {' | '.join(cells)} |")
    where = words["slo_where"].format(
        **data["machine"], date=data["date"], command=data["command"], load=figures["load"]
    )
    return "\n".join([*table, "", where, ""])


# Contestants and the row of the benchmark that has them.
_DATAFLOW = {
    "plain": "fused",
    "fused": "fused",
    "channels": "channels",
    "bytewax 1000": "fused",
    "bytewax 1": "fused",
    "streamz": "fused",
    "ray": "fused",
}


def dataflow(data: dict[str, Any], words: dict[str, str]) -> str:
    """Return what a record costs in a pipeline, beside other libraries, as Markdown."""
    table = [f"| {words['pipeline']} |", "|---|---|---|"]
    for name, row in _DATAFLOW.items():
        its = data["figures"][row]["figures"].get(name)
        if its is None:
            continue
        share = its["of_plain"]
        cells = [
            words[name],
            f"{its['records_per_s']['median'] / 1e6:.2f} M",
            f"{share['median']:.2f} × ({share['lowest']:.2f} – {share['highest']:.2f})",
        ]
        table.append(f"| {' | '.join(cells)} |")
    where = words["dataflow_where"].format(
        **data["machine"], date=data["date"], command=data["command"]
    )
    return "\n".join([*table, "", where, ""])


def client(data: dict[str, Any], words: dict[str, str]) -> str:
    """Return what load clients cost, and what they show of a server's faults, as Markdown."""
    peers = data["figures"]["peers"]
    truth, limit = peers["truth"], peers["wrk"]
    # The server saw each client's streams stand still; it saw the same of all to a millisecond.
    froze = peers["clients"]["sage-cp-bench"]["freeze_seen_itl_p99_ms"]
    table = [f"| {words['client']} |", "|---|---|---|---|---|---|---|---|"]
    whole = [
        words["truth"],
        f"wrk {limit['requests_per_s']:,.0f}",
        f"wrk {limit['request_us']:.1f}",
        "—",
        f"{truth['stall_e2e_p99_ms']:,.0f}",
        f"{truth['stall_good']:.1%}",
        f"{truth['freeze_good']:.1%}",
        _median(froze, 0),
    ]
    table.append(f"| {' | '.join(whole)} |")
    for name, its in peers["clients"].items():
        cells = [
            f"{words.get(name, name)} {peers['versions'][name]}",
            _median(its.get("requests_per_s"), 0),
            _median(its.get("request_us"), 0),
            _median(its.get("chunk_us"), 1),
            _median(its.get("stall_e2e_p99_ms"), 0),
            _share(its.get("stall_good")),
            _share(its.get("freeze_good")),
            _median(its.get("freeze_itl_p99_ms"), 0),
        ]
        table.append(f"| {' | '.join(cells)} |")
    where = words["client_where"].format(
        **data["machine"], date=peers["date"], command=peers["command"], rounds=peers["rounds"]
    )
    return "\n".join([*table, "", where, ""])


def remote(data: dict[str, Any], words: dict[str, str]) -> str:
    """Return what pipelines on a Ray cluster do, beside their bars, as Markdown."""
    figures = data["figures"]
    rows = [
        ("records", figures["records"], "{:,.0f}", "", "150,000"),
        ("start", figures["start"], "{:.2f}", "", "≤ 2"),
        ("async", figures["async"], "{:,.0f}", "", "9,000"),
        ("embedded", figures["embedding"]["ratios"], "{:.2f}", " ×", "1.0 ×"),
    ]
    table = [f"| {words['remote']} |", "|---|---|---|"]
    for name, its, form, unit, bar in rows:
        middle, low, high = map(form.format, (statistics.median(its), min(its), max(its)))
        table.append(f"| {words[name]} | {middle}{unit} ({low} – {high}) | {bar} |")
    where = words["remote_where"].format(
        **data["machine"], date=data["date"], command=data["command"]
    )
    return "\n".join([*table, "", where, ""])


def _share(its: dict[str, float] | None) -> str:
    return f"{its['median']:.1%}" if its else "—"


def _median(its: dict[str, float] | None, digits: int) -> str:
    return f"{its['median']:,.{digits}f}" if its else "—"


TABLES: dict[str, Callable[[dict[str, Any], dict[str, str]], str]] = {
    "first_use": first_use,
    "gateway": gateway,
    "slo": slo,
    "dataflow": dataflow,
    "client": client,
    "remote": remote,
}


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

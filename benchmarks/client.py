"""What sage-cp-bench's own load costs, against servers that answer at once.

    python benchmarks/client.py          # about three minutes
    python benchmarks/client.py --peers  # about twelve: other load clients beside ours
    python benchmarks/client.py --page   # docs/benchmarks/client.md from the JSON

``make bench-peers`` installs the others; they are measured by themselves, and their figures join
those of the earlier run in the JSON.

The load has one core, the servers the other: nginx with one canned chat answer, and a stand-in
that writes a stream's events one by one, 5 ms apart. CPU time is that of the load's thread,
divided by the requests that were answered, or the events with tokens that came; wrk on the same
server says what a client can cost at least.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import _client_page as page
import _client_peers as peers
import _client_peers_page as peers_page
import _client_runs as runs
import _client_scenarios as scenarios
import _client_tokenizer as tokenizer
from _client_compare import Comparison
from _process import Process, free_port
from _report import Report
from _stand import CHAT, Asked, canned_engine, streaming_engine, wait_until_answering

EVENTS = 200
INTERVAL_MS = 5.0  # far enough apart that each event comes by itself
_PACKAGES = ("uvloop", "httptools", "msgspec")


def cases(quick: bool) -> list[runs.Case]:
    """Return the ways to load; quick ones are for trying the benchmark out."""
    scale = 10 if quick else 1
    return [
        runs.Case("closed_1", 1, 0.0, 10_000 // scale),
        runs.Case("closed_32", 32, 0.0, 60_000 // scale),
        runs.Case("open_2000", 0, 2_000.0, 8_000 // scale),
        runs.Case("open_8200", 0, 8_200.0, 40_000 // scale),
        runs.Case("streams", 100, 0.0, 400 // scale, EVENTS),
    ]


def measure(options: argparse.Namespace, report: Report, folder: Path) -> dict[str, Any]:
    """Run every case once a round and return the figures; the first round does not count."""
    asked = Asked("", json.dumps(CHAT))
    plain, streaming = free_port(), free_port()
    (folder / "nginx").mkdir()
    rows: dict[str, list[dict[str, float]]] = {}
    repeated = 0
    engines = {
        plain: canned_engine(plain, folder / "nginx"),
        streaming: streaming_engine(EVENTS, INTERVAL_MS)(streaming, folder),
    }
    with (
        Process(engines[plain], core=options.server_core, log=folder / "plain.log") as one,
        Process(engines[streaming], core=options.server_core, log=folder / "streams.log") as two,
    ):
        wait_until_answering(plain, asked, one)
        wait_until_answering(streaming, asked, two)
        for number in range(options.rounds + 1):
            for case in cases(options.quick):
                port = streaming if case.events else plain
                row, again = runs.run_whole(case, f"http://127.0.0.1:{port}")
                repeated += again
                rows.setdefault(case.name, []).append(row)
            url, seconds = f"http://127.0.0.1:{plain}", 1 if options.quick else 3
            for users in (1, 32):
                row = runs.wrk(url, folder, asked, users, seconds)
                rows.setdefault(f"wrk_{users}", []).append(row)
            print(f"round {number} of {options.rounds}", flush=True)
    figures = {}
    for name, its in rows.items():
        figures[name] = runs.median_row(its[1:])
        report.add(name, figures[name], page.line(name, figures[name]))
    report.add("repeated", repeated, f"{repeated} runs repeated, as answers failed")
    return figures


def compare(options: argparse.Namespace, report: Report, folder: Path) -> None:
    """Measure other load clients and ours in one run."""
    clients, missing = peers.clients(Path(options.vllm_python))
    wanted = [name.strip() for name in options.only.split(",")] if options.only else list(clients)
    comparison = Comparison(
        {name: client for name, client in clients.items() if name in wanted},
        options,
        tokenizer.write(folder / "model"),
    )
    (folder / "limit").mkdir()
    wrk = scenarios.limit(folder / "limit", options.server_core, 3)
    comparison.measure()
    figures = {
        "rounds": options.rounds,
        "versions": {name: client.version for name, client in clients.items() if name in wanted},
        "missing": missing,
        "failed": comparison.failed,
        "truth": scenarios.truth(),
        "wrk": wrk,
        "clients": comparison.figures(),
        "load_averages": os.getloadavg(),
    }
    report.add("peers", figures, "\n".join(peers_page.table(figures)))
    if not options.quick:
        report.update(["peers"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, help="that count (default 5; 3 for --peers)")
    parser.add_argument("--load-core", type=int, default=1, help="of the client (default 1)")
    parser.add_argument("--server-core", type=int, default=0, help="of servers (default 0)")
    parser.add_argument("--quick", action="store_true", help="a tenth of it; nothing is written")
    parser.add_argument("--page", action="store_true", help="only write the page from the JSON")
    parser.add_argument("--peers", action="store_true", help="measure other load clients beside it")
    parser.add_argument("--only", help="with --peers: these clients alone, by name, with commas")
    parser.add_argument(
        "--vllm-python",
        default=str(peers.VLLM_PYTHON),
        help="with --peers: of an environment with vLLM (default .venv-vllm's)",
    )
    parser.add_argument("--install-peers", action="store_true", help="make their environments")
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.peers else 5)
    if options.install_peers:
        peers.install()
        return
    if options.page:
        page.write()
        return
    report = Report("client", _PACKAGES)
    os.sched_setaffinity(0, {options.load_core})
    with tempfile.TemporaryDirectory() as folder:
        if options.peers:
            compare(options, report, Path(folder))
            return
        figures = measure(options, report, Path(folder))
    bars = page.bars(figures)
    met = sum(bar["met"] for bar in bars)
    report.add("bars", bars, f"{met} of {len(bars)} bars met")
    report.add("load_averages", os.getloadavg(), f"load averages at the end: {os.getloadavg()}")
    if not options.quick:
        report.keep(["peers"])
        report.write()


if __name__ == "__main__":
    main()

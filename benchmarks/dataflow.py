"""The dataflow kernel against its bars, a plain Python loop, bare primitives and other libraries.

Contestants take turns, each turn in a fresh process, and a ratio is the median of the ratios within
rounds (lowest to highest), so that a slow moment of the machine meets all of them.

    python benchmarks/dataflow.py --install-peers    puts Bytewax, Ray Data and Streamz into
                                                     .venv-peers
    python benchmarks/dataflow.py                    measures, and writes
                                                     benchmarks/results/dataflow.json (25 minutes)
    python benchmarks/dataflow.py --only fused       measures one row and writes nothing; with
                                                     --update, it takes its place in the results
    python benchmarks/dataflow.py --page             writes docs/benchmarks/dataflow.md from that
"""

from __future__ import annotations

import argparse
import time

from _dataflow_page import write_page
from _dataflow_peers import PACKAGES, install, versions
from _dataflow_rows import ROWS, Options, Row
from _report import Report


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=ROWS, help="measure this row alone")
    parser.add_argument("--rounds", type=int, default=7, help="of each comparison (default 7)")
    parser.add_argument("--gigabytes", type=float, default=1.0, help="of text (default 1)")
    parser.add_argument("--stall", type=float, default=60.0, help="seconds (default 60)")
    parser.add_argument("--update", action="store_true", help="with --only: keep what it gives")
    parser.add_argument("--install-peers", action="store_true", help="install the peers and end")
    parser.add_argument("--page", action="store_true", help="write the page and end")
    return parser.parse_args()


def main() -> None:
    """Run the benchmark."""
    arguments = parse()
    if arguments.install_peers:
        install()
        return
    if arguments.page:
        write_page()
        return
    report = Report("dataflow", [])
    found = versions()
    missing = [name for name in PACKAGES if name not in found]
    report.add(
        "peers",
        found,
        "peers: "
        + ", ".join(f"{name} {version}" for name, version in found.items())
        + (f"; not installed: {', '.join(missing)} (--install-peers)" if missing else ""),
    )
    options = Options(arguments.rounds, arguments.gigabytes, arguments.stall)
    start = time.monotonic()
    for name in arguments.only or ROWS:
        ROWS[name](Row(report, name), options)
    took = time.monotonic() - start
    if arguments.only and arguments.update:
        report.update(arguments.only)
    elif not arguments.only:
        report.add("took_s", took, f"took {took:.0f} s")
        report.write()


if __name__ == "__main__":
    main()

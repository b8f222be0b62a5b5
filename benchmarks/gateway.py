"""The gateway beside its peers: CPU, latency and memory, all in one run.

Every gateway has one core, the same one; the load and the engine stand-ins have another. CPU time
is read from the process and divided by the requests or events that came back whole; rounds go
over all gateways in turn. SAGE runs as ``sage gateway start``, with its SLO policy, metrics and
key check on; nginx proxies without looking; the peers come from PyPI into ``.venv-peers``.

    python benchmarks/gateway.py --install-peers       # once: makes .venv-peers
    python benchmarks/gateway.py --million --profile   # everything, about ten minutes
    python benchmarks/gateway.py --page                # docs/benchmarks/gateway.md from the JSON

Only a run of all the gateways and parts is written to results/gateway.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import secrets
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import _gateway_page as page
import _gateway_runs as runs
import _peers
from _process import FILES
from _report import Report
from _stand import CHAT, Asked, Cores, Stand, canned_engine, standing, streaming_engine

PARTS = ("requests", "latency", "streams", "idle")
IDLE = 10_000
# The connections, the streams, and what a process holds besides.
NEEDED_FILES = IDLE + 1_000
SPACED_MS = 20.0


class Bench:
    """One run.

    Args:
        options: of the command line.
        folder: for the files of all that is started.
        report: where figures go.
    """

    def __init__(self, options: argparse.Namespace, folder: Path, report: Report) -> None:
        self._options = options
        self._folder = folder
        self._report = report
        self._cores = Cores(options.gateway_core, options.load_core)
        key = f"sk-{secrets.token_hex(24)}"  # good for this run's gateways alone
        self._asked = Asked(key, json.dumps(CHAT))
        self._lua = runs.script(folder, self._asked)
        self._missing: dict[str, str] = {}
        self._shown: dict[str, str] = {}
        self.figures: dict[str, Any] = {}

    def run(self) -> None:
        """Measure all that was asked for."""
        options = self._options
        if {"requests", "latency"} & set(options.parts):
            self._whole_answers()
        if "streams" in options.parts:
            self._streams()
        if "idle" in options.parts:
            self._idle()
        if options.million:
            self._million()
        if options.profile:
            self._profile()
        settings = self._settings()
        self._add("settings", settings, f"settings: {page.plain(settings)}")
        gateways = self._gateways()
        named = "  ".join(f"{name} {told['version']}" for name, told in gateways.items())
        self._add("gateways", gateways, named)
        bars = page.bars(self.figures)
        met = sum(bar["met"] is True for bar in bars)
        self._add("bars", bars, f"{met} of {len(bars)} bars met")

    def _standing(
        self, name: str, gateways: Sequence[str], engine: Callable[[int, Path], list[str]]
    ) -> AbstractContextManager[Stand]:
        folder = self._folder / name
        return standing(folder, gateways, engine, cores=self._cores, asked=self._asked)

    def _note(self, stand: Stand) -> None:
        self._missing |= stand.missing
        self._shown |= {name: gateway.shown for name, gateway in stand.gateways.items()}

    def _present(self) -> list[str]:
        """Return the gateways to start; one that failed before is not tried again."""
        return [name for name in self._options.gateways if name not in self._missing]

    def _add(self, name: str, value: Any, text: str) -> None:
        self.figures[name] = value
        self._report.add(name, value, text)

    def _add_rows(self, name: str, rows: dict[str, list[runs.Row]]) -> None:
        value = page.summary(name, rows)
        self._add(name, value, page.lines(name, value))

    def _whole_answers(self) -> None:
        options = self._options
        with self._standing("whole", self._present(), canned_engine) as stand:
            if "requests" in options.parts:
                rows = runs.in_turn(
                    stand,
                    options.rounds,
                    options.seconds,
                    lambda gateway, seconds: runs.whole_answers(gateway, self._lua, seconds),
                )
                self._add_rows("request_us", rows)
                rss = {n: g.process.rss_bytes() / 1e6 for n, g in stand.gateways.items()}
                self._add(
                    "rss_mb", rss, "RSS, MB: " + page.plain({n: round(mb) for n, mb in rss.items()})
                )
            if "latency" in options.parts:
                rows = runs.in_turn(
                    stand,
                    options.rounds,
                    1,
                    lambda gateway, seconds: runs.added_latency(
                        gateway, stand.backend, self._asked, seconds
                    ),
                )
                self._add_rows("added_p50_ms", rows)
            self._note(stand)

    def _streams(self) -> None:
        options = self._options
        load = runs.StreamLoad(options.streams, options.events)
        engine = streaming_engine(options.events, options.interval_ms)
        with self._standing("streams", self._present(), engine) as stand:
            rows = runs.in_turn(
                stand,
                options.rounds,
                options.seconds,
                lambda gateway, seconds: runs.streamed_events(gateway, load, self._asked, seconds),
            )
            self._add_rows("event_us", rows)
            self._note(stand)

    def _idle(self) -> None:
        load = runs.StreamLoad(200, self._options.events)
        engine = streaming_engine(load.events, SPACED_MS)
        with self._standing("idle", ["sage"], engine) as stand:
            gateway = stand.gateways["sage"]
            outcome = runs.idle_and_streams(gateway, self._asked, idle=IDLE, load=load)
        self._add("idle", outcome, page.idle_line(outcome))

    def _million(self) -> None:
        million = self._options.million
        # LiteLLM gets two minutes, however few requests that is.
        sizes = {"sage": (million, million // 10, math.inf), "litellm": (10_000, 1_000, 120.0)}
        names = [name for name in self._present() if name in sizes]
        with self._standing("million", names, canned_engine) as stand:
            for name, gateway in stand.gateways.items():
                try:
                    outcome = runs.memory(gateway, self._lua, *sizes[name])
                except (OSError, RuntimeError) as error:
                    if name == "sage":
                        raise
                    # Its other figures stand.
                    self._add(f"memory_{name}_fault", str(error), f"{name}, memory: {error}")
                    continue
                self._add(f"memory_{name}", outcome, page.memory_line(name, outcome))

    def _profile(self) -> None:
        with self._standing("profile", ["sage"], canned_engine) as stand:
            try:
                top = runs.profile(stand.gateways["sage"], self._lua, self._folder, 6)
            except (OSError, RuntimeError) as error:
                # Such as where the system lets no process read another's stacks.
                self._add("profile_fault", str(error), f"no profile: {error}")
                return
        shown = "\n".join(f"  {100 * item['share']:5.1f}%  {item['function']}" for item in top)
        self._add("profile", top, f"profile, self time under load:\n{shown}")

    def _gateways(self) -> dict[str, dict[str, str]]:
        own = version("sage-stack")
        found = {**_peers.versions(), "sage": own, "sage-python": own}
        told: dict[str, dict[str, str]] = {}
        for name in self._options.gateways:
            told[name] = {"version": found.get(name, "")}
            if name in self._missing:
                told[name]["missing"] = self._missing[name]
            else:
                told[name]["command"] = self._shown.get(name, "")
        return told

    def _settings(self) -> dict[str, float]:
        options = self._options
        return {
            "gateway_core": options.gateway_core,
            "load_core": options.load_core,
            "rounds": options.rounds,
            "seconds": options.seconds,
            "connections": runs.CONNECTIONS,
            "streams": options.streams,
            "events": options.events,
            "interval_ms": options.interval_ms,
            "spaced_ms": SPACED_MS,
            "files": FILES,
        }


def raise_file_limit() -> None:
    """Let this process, which is the clients, open as many files as the system allows.

    Raises:
        SystemExit: the hard limit is below what the idle connections need.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < NEEDED_FILES:
        raise SystemExit(
            f"ulimit -Hn is {hard}; {NEEDED_FILES} are needed, or --parts without idle"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--gateways", nargs="+", choices=_peers.GATEWAYS, default=list(_peers.GATEWAYS))
    add("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure")
    add("--rounds", type=int, default=5, help="counted rounds (default 5)")
    add("--seconds", type=int, default=4, help="of load a round (default 4)")
    add("--streams", type=int, default=64, help="at once (default 64)")
    add("--events", type=int, default=128, help="of one stream (default 128)")
    add("--interval-ms", type=float, default=5.0, help="between two events (default 5)")
    add("--gateway-core", type=int, default=1, help="core of the gateways (default 1)")
    add("--load-core", type=int, default=0, help="core of load and engine (default 0)")
    add(
        "--million",
        nargs="?",
        type=int,
        const=1_000_000,
        default=0,
        metavar="REQUESTS",
        help="memory over a million requests too, or over so many",
    )
    add("--profile", action="store_true", help="sample SAGE's stacks with py-spy too")
    add("--install-peers", action="store_true", help="make or renew .venv-peers, and end")
    add("--page", action="store_true", help="write the page from the JSON, and end")
    options = parser.parse_args()
    if sys.platform != "linux":
        parser.error("it pins processes to cores and so runs on Linux only")
    if "sage" not in options.gateways:
        options.gateways.insert(0, "sage")
    usable = os.sched_getaffinity(0)
    if not {options.gateway_core, options.load_core} <= usable:
        parser.error(f"two cores are needed; this process may use {sorted(usable)}")
    return options


def measure(options: argparse.Namespace) -> None:
    """Run, print, and write the figures of a full run.

    Raises:
        SystemExit: a bar is missed.
    """
    if "idle" in options.parts:
        raise_file_limit()
    report = Report("gateway", ["uvicorn", "uvloop", "httptools", "msgspec"])
    # The clients run here; what is started with a core of its own is moved there.
    os.sched_setaffinity(0, {options.load_core})
    # SIGTERM ends it as Ctrl-C does: with all that it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="gateway-") as folder:
        bench = Bench(options, Path(folder), report)
        bench.run()
    print(page.table(bench.figures))
    if set(options.parts) == set(PARTS) and set(options.gateways) == set(_peers.GATEWAYS):
        report.write()
    else:
        print("a part of the benchmark: printed, not written")
    missed = [bar["what"] for bar in bench.figures["bars"] if bar["met"] is False]
    if missed:
        raise SystemExit(f"missed: {'; '.join(missed)}")


def main() -> None:
    options = parse()
    if options.install_peers:
        _peers.install()
    elif options.page:
        page.write()
    else:
        measure(options)


if __name__ == "__main__":
    main()

"""The comparison of load clients: what each costs, and whether its figures show what happened."""

from __future__ import annotations

import argparse
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from _client_peers import Client
from _client_scenarios import CORRECTNESS, EVENTS, Scenario, costs, run
from _client_tools import Found

_TRIES = 3


def _tried(run_once: Callable[[], Found]) -> Found | str:
    """Run until it goes well; else return why not."""
    why = ""
    for _ in range(_TRIES):
        try:
            return run_once()
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            why = str(error)
    return why


Rows = dict[str, dict[str, list[Found]]]


class Comparison:
    """The rounds of a comparison, and what came of them.

    Args:
        clients: that are installed, by name.
        options: ``rounds``, ``load_core``, ``server_core``.
        model: folder of a tokenizer.
    """

    def __init__(
        self, clients: Mapping[str, Client], options: argparse.Namespace, model: Path
    ) -> None:
        self._clients = clients
        self._options = options
        self._model = model
        self._rows: Rows = {name: {} for name in clients}
        self.failed: dict[str, dict[str, str]] = {}

    def measure(self) -> None:
        """Go over all clients in turn, as often as was asked."""
        for number in range(1, self._options.rounds + 1):
            begun = time.monotonic()
            self._round()
            seconds = time.monotonic() - begun
            print(f"round {number} of {self._options.rounds}: {seconds:.0f} s", flush=True)

    def _round(self) -> None:
        load, server = self._options.load_core, self._options.server_core
        # What is timed has a core to itself, and its server the other.
        for name in self._clients:
            for scenario in costs(name):
                self._keep(name, scenario, (load, server))
        # What these show are seconds and shares: two at a time, each with its server on one core.
        jobs = iter([(name, scenario) for scenario in CORRECTNESS for name in self._clients])
        lock = threading.Lock()

        def lane(core: int) -> None:
            while True:
                with lock:
                    job = next(jobs, None)
                if job is None:
                    return
                self._keep(*job, (core, core))

        with ThreadPoolExecutor(2) as lanes:
            list(lanes.map(lane, sorted({load, server})))

    def _keep(self, name: str, scenario: Scenario, cores: tuple[int, int]) -> None:
        if scenario.name in self.failed.get(name, {}):
            return  # it failed three times in a row
        client = self._clients[name]
        begun = time.monotonic()
        found = _tried(lambda: run(name, client, scenario, cores, self._model))
        if isinstance(found, str):
            print(f"{name}, {scenario.name}: {found}", flush=True)
            self.failed.setdefault(name, {})[scenario.name] = found
        else:
            self._rows[name].setdefault(scenario.name, []).append(found)
            print(f"{name}, {scenario.name}: {time.monotonic() - begun:.0f} s", flush=True)

    def figures(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return each client's figures, each as median, lowest and highest over the rounds."""
        return {name: _figures(name, rows) for name, rows in self._rows.items()}


def _figures(name: str, rows: Mapping[str, Sequence[Found]]) -> dict[str, dict[str, float]]:
    told: dict[str, list[float]] = {}
    for of_round in _by_round(rows):
        for key, value in _derived(name, of_round).items():
            told.setdefault(key, []).append(value)
    return {
        key: {"median": median(values), "lowest": min(values), "highest": max(values)}
        for key, values in told.items()
    }


def _by_round(rows: Mapping[str, Sequence[Found]]) -> list[dict[str, Found]]:
    most = max((len(its) for its in rows.values()), default=0)
    return [
        {name: its[number] for name, its in rows.items() if number < len(its)}
        for number in range(most)
    ]


def _derived(name: str, rows: Mapping[str, Found]) -> dict[str, float]:
    """Return one round's figures: those of each scenario, and the costs from CPU times."""
    told: dict[str, float] = {}
    for scenario in CORRECTNESS:
        for key, value in rows.get(scenario.name, {}).items():
            if value is not None and not key.endswith("cpu_s"):
                told[f"{scenario.name}_{key}"] = value
    many, streams = costs(name)
    if (row := rows.get(many.name)) is not None:
        request_s = _working(row) / many.job.requests
        told["start_s"] = row["start_cpu_s"] or 0.0
        told["request_us"] = request_s * 1e6
        told["requests_per_s"] = row["requests_per_s"] or 0.0
        if (row := rows.get(streams.name)) is not None:
            count = streams.job.requests
            told["chunk_us"] = (_working(row) - count * request_s) / (count * EVENTS) * 1e6
    return told


def _working(row: Found) -> float:
    """Return the CPU seconds from the first chat on."""
    return (row["cpu_s"] or 0.0) - (row["start_cpu_s"] or 0.0)

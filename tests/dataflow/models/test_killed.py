"""A pipeline that is killed in the middle: a second run asks only what is missing."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.inference.client.conftest import Answer, FakeServer, Seen, echo_chat
from tests.support import wait_until

from sage.dataflow import ContentCache
from sage.dataflow.content_cache import TRANSACTION_SIZE

RECORDS = 400
PROGRAM = f"""
import sys
from sage.dataflow import LocalEnvironment
from sage.inference.client import UnifiedInferenceClient
url, cache, emitted, run = sys.argv[1:]
made = UnifiedInferenceClient.create(url, api_key=run)
with made as client, open(emitted, "a", buffering=1) as file:
    env = LocalEnvironment("killed")
    env.from_collection([{{"n": n}} for n in range({RECORDS})]).llm(
        "n is {{n}}", client=client, cache=cache, concurrency=16
    ).sink(lambda record: print(record["n"], file=file))
    env.submit(autostop=True)
"""


def test_only_what_is_missing_is_asked(tmp_path: Path, server: FakeServer) -> None:
    """Nothing that was kept is asked again, and a kill loses less than a transaction."""
    cache, emitted = tmp_path / "answers.sqlite", tmp_path / "emitted.txt"
    asked: dict[str, list[str]] = {"first": [], "second": [], "third": []}
    lock = threading.Lock()
    stuck = threading.Event()
    stuck.set()

    def route(seen: Seen) -> Answer:
        text = seen.json["messages"][-1]["content"]
        # A request of a killed run may be read after the next one has begun, so its key tells.
        run = seen.headers["authorization"].removeprefix("Bearer ")
        with lock:
            asked[run].append(text)
            late = run == "first" and len(asked[run]) > RECORDS // 2
        # The first run never gets beyond the middle.
        while late and stuck.is_set():
            time.sleep(0.01)
        return echo_chat(seen)

    server.routes["/v1/chat/completions"] = route
    command = [sys.executable, "-c", PROGRAM, server.url, str(cache), str(emitted)]
    first = subprocess.Popen([*command, "first"])
    wait_until(lambda: emitted.exists() and len(emitted.read_text().split()) >= RECORDS // 4, 45)
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    stuck.clear()
    seen_out = len(emitted.read_text().split())
    assert RECORDS // 4 <= seen_out < RECORDS  # it was killed in the middle

    with ContentCache(cache) as kept:
        known = kept.stats().entries
    assert known > seen_out - TRANSACTION_SIZE
    assert subprocess.run([*command, "second"], check=False).returncode == 0
    assert len(asked["second"]) == len(set(asked["second"])) == RECORDS - known
    assert emitted.read_text().split()[seen_out:] == [str(n) for n in range(RECORDS)]

    assert subprocess.run([*command, "third"], check=False).returncode == 0
    assert asked["third"] == []

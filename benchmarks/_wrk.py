"""Load from wrk: chat requests as fast as they are answered, and what came of them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_SUMMARY = re.compile(r"^summary (\{.*\})$", re.MULTILINE)
# Its own report is for people; done() is called once, after the run, and costs the run nothing.
_DONE = """
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format(
    'summary {"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "not_ok": %d, ' ..
    '"broken": %d}\\n', summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), e.status, e.connect + e.read + e.write + e.timeout))
end
"""


@dataclass(frozen=True)
class Load:
    """One run of wrk.

    Attributes:
        requests: answered.
        seconds: it took.
        p50_us: median latency.
        p99_us: 99th percentile of the latency.
        not_ok: answers with a status above 399.
        broken: connections that failed, and requests that timed out.
    """

    requests: int
    seconds: float
    p50_us: float
    p99_us: float
    not_ok: int
    broken: int


def parse(output: str) -> Load:
    """Read what a run printed.

    Raises:
        RuntimeError: there is no summary in it.
    """
    found = _SUMMARY.search(output)
    if found is None:
        raise RuntimeError(f"wrk printed no summary: {output[-500:]}")
    values = json.loads(found[1])
    return Load(
        values["requests"],
        values["duration_us"] / 1e6,
        values["p50_us"],
        values["p99_us"],
        values["not_ok"],
        values["broken"],
    )


def write_script(path: Path, body: str, headers: Mapping[str, str]) -> None:
    """Write the script that has wrk post this body."""
    lines = ['wrk.method = "POST"', f"wrk.body = [[{body}]]"]
    lines += [f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()]
    path.write_text("\n".join([*lines, _DONE]), encoding="utf-8")


def run(url: str, script: Path, *, connections: int, seconds: int) -> Load:
    """Load a URL from one thread.

    Raises:
        RuntimeError: wrk failed.
        SystemExit: wrk is not installed.
    """
    program = shutil.which("wrk")
    if program is None:
        raise SystemExit("wrk is missing; on Debian: apt-get install wrk")
    command = [program, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"]
    done = subprocess.run(
        [*command, "-s", str(script), url], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"wrk ended with {done.returncode}: {done.stderr[-500:]}")
    return parse(done.stdout)

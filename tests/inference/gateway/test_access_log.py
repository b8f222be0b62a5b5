"""The access log."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support import wait_until

from sage.errors import ConfigError
from sage.inference.gateway import UnifiedAPIServer, UnifiedServerConfig
from sage.inference.gateway.access_log import AccessLog
from sage.inference.gateway.keys import ApiKey, KeyRing

pytestmark = pytest.mark.anyio

KEY = "access-log-key-1"
SECRET = "what nobody may read"
CHAT = {"model": "m", "messages": [{"role": "user", "content": SECRET}]}
PATH = "/v1/chat/completions"


async def post(url: str, path: str = PATH, body: Any = CHAT, **headers: str) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        return await client.post(url + path, json=body, headers=headers)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def written(kit: Any, path: Path, count: int) -> list[dict[str, Any]]:
    await kit.eventually(lambda: len(lines(path)) == count)
    return lines(path)


async def test_a_request_is_one_line(kit: Any, tmp_path: Path) -> None:
    """Who, what, where and how long; neither the key nor a word of prompt or answer."""
    path = tmp_path / "access.log"
    ring = KeyRing([ApiKey(KEY, "ci")])
    served = await kit.gateway(access_log=str(path), keys=ring)
    served.add(await kit.engine())
    before = datetime.now(UTC)
    bearer = {"authorization": f"Bearer {KEY}", "x-request-id": "mine-1"}
    await post(served.url, **bearer, **{"x-request-priority": "HIGH"})
    (line,) = await written(kit, path, 1)
    assert abs((datetime.fromisoformat(line.pop("time")) - before).total_seconds()) < 5
    assert 0 <= line.pop("queue_ms") <= line.pop("e2e_ms") < 5000
    assert line == {
        "request_id": "mine-1",
        "method": "POST",
        "path": PATH,
        "model": "m",
        "class": "high",
        "tenant": "ci",
        "instance": "a",
        "status": 200,
        "outcome": "done",
        "ttft_ms": None,
        "prompt_tokens": 3,
        "completion_tokens": 1,
    }
    text = path.read_text()
    assert KEY not in text
    assert SECRET not in text
    assert "four" not in text
    assert path.stat().st_mode & 0o007 == 0


async def test_requests_that_fail_have_lines_too(kit: Any, tmp_path: Path) -> None:
    """Refused, unknown, and streamed and broken off: with the status the client saw."""

    async def broken(request: Any, writer: Any) -> None:
        writer.write(kit.STREAM_HEAD + kit.chunk(b'data: {"x":1}\n\n'))
        await writer.drain()
        writer.close()

    path = tmp_path / "access.log"
    served = await kit.gateway(access_log=str(path), keys=KeyRing([KEY]))
    served.add(await kit.engine(broken))
    bearer = {"authorization": f"Bearer {KEY}"}
    await post(served.url)
    await post(served.url, body={"model": "x" * 5000}, **bearer)
    await post(served.url, **bearer)
    refused, unknown, cut = await written(kit, path, 3)
    assert (refused["status"], refused["outcome"], refused["model"]) == (401, "rejected", None)
    assert (unknown["status"], unknown["outcome"]) == (404, "rejected")
    assert len(unknown["model"]) == 200
    assert (cut["status"], cut["outcome"], cut["instance"]) == (200, "failed", "a")
    assert cut["ttft_ms"] > 0


async def test_it_is_flushed_when_the_gateway_stops(kit: Any, tmp_path: Path) -> None:
    """Every request has its line, however many came just before."""
    path = tmp_path / "access.log"
    served = await kit.gateway(access_log=str(path))
    served.add(await kit.engine())
    await asyncio.gather(*(post(served.url) for _ in range(20)))
    await served.gateway.aclose()
    assert len(lines(path)) == 20


async def test_a_moved_file_is_left_alone_after_a_reload(kit: Any, tmp_path: Path) -> None:
    """As logrotate does it: rename, reload; another target and none come in by reload too."""
    path, moved, other = tmp_path / "a.log", tmp_path / "a.log.1", tmp_path / "b.log"
    server = UnifiedAPIServer(UnifiedServerConfig(port=0, access_log=str(path)))
    async with server:
        await post(server.url)
        await written(kit, path, 1)
        path.rename(moved)
        server.reload(server.config)
        await post(server.url)
        await written(kit, path, 1)
        server.reload(UnifiedServerConfig(port=0, access_log=str(other)))
        await post(server.url)
        await written(kit, other, 1)
        with pytest.raises(ConfigError, match=r"access_log: .* cannot be opened"):
            server.reload(UnifiedServerConfig(port=0, access_log=str(tmp_path / "no" / "x")))
        server.reload(UnifiedServerConfig(port=0))
        assert server.gateway._desk.edge is None
    assert [len(lines(file)) for file in (moved, path, other)] == [1, 1, 1]


async def test_a_log_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    """The message names the file."""
    server = UnifiedAPIServer(UnifiedServerConfig(port=0, access_log=str(tmp_path / "no" / "x")))
    with pytest.raises(ConfigError, match="no/x cannot be opened: No such file"):
        await server.run_async()


FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


@needs_full
async def test_a_full_disk_drops_lines_and_says_so_once(
    kit: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests are served all the same, and the lines are counted."""
    served = await kit.gateway(access_log=str(FULL))
    served.add(await kit.engine())
    log = served.gateway._edge.access_log
    for count in (1, 2, 3):
        assert (await post(served.url)).status_code == 200
        await kit.eventually(lambda count=count: log.dropped == count)
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        page = (await client.get(served.url + "/metrics")).text
    assert "sage_access_log_dropped_lines_total 3" in page.splitlines()
    said = [r.getMessage() for r in caplog.records if "access log" in r.getMessage()]
    assert said == [f"access log: {os.strerror(errno.ENOSPC)}; lines are dropped and counted"]


@needs_full
async def test_writing_goes_on_when_there_is_room_again(
    kit: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And how many lines are missing is said then."""
    caplog.set_level(logging.WARNING)
    path = tmp_path / "access.log"
    path.symlink_to(FULL)
    served = await kit.gateway(access_log=str(path))
    served.add(await kit.engine())
    log = served.gateway._edge.access_log
    await post(served.url)
    await kit.eventually(lambda: log.dropped == 1)
    path.unlink()
    log.reopen()
    await post(served.url)
    await written(kit, path, 1)
    await kit.eventually(lambda: "1 lines were dropped" in caplog.text)


def test_sighup_reopens_it_without_a_configuration_file(tmp_path: Path) -> None:
    """A program's own server, in a process of its own."""
    path, moved, ready = tmp_path / "a.log", tmp_path / "a.log.1", tmp_path / "ready"
    program = (
        "import sys, pathlib\n"
        "from sage.inference.gateway import UnifiedAPIServer, UnifiedServerConfig\n"
        "config = UnifiedServerConfig(port=0, access_log=sys.argv[1])\n"
        "server = UnifiedAPIServer(config, on_ready=lambda: "
        "pathlib.Path(sys.argv[2]).write_text('yes'))\n"
        "server.start()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(path), str(ready)])
    try:
        wait_until(ready.exists)
        path.rename(moved)
        process.send_signal(signal.SIGHUP)
        wait_until(path.exists)
    finally:
        process.terminate()
        assert process.wait(timeout=10) == 0


def test_stderr_is_a_target(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Opening and closing it leaves stderr itself open; an empty name is refused."""
    log = AccessLog("stderr", lambda: 0.0)
    log.open()
    log.open()
    log.close()
    log.close()
    print("still here", file=sys.stderr)
    assert "still here" in capfd.readouterr().err
    with pytest.raises(ConfigError, match="access_log is empty"):
        UnifiedServerConfig(access_log="")

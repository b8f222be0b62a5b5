"""UnifiedAPIServer: started every way, reloaded, stopped."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sage.errors import ConfigError, InferenceError, PortInUseError
from sage.inference.gateway import BackendInstanceConfig, UnifiedAPIServer, UnifiedServerConfig
from sage.inference.gateway.probe import ProbeRule
from sage.inference.scheduling.policy_types import SchedulingPolicyType

CHAT = {"model": "m", "messages": []}
PROBE = ProbeRule(interval=0.1, first_retry=0.05)

pytestmark = pytest.mark.anyio


def config(*engines: Any, **options: Any) -> UnifiedServerConfig:
    backends = [
        BackendInstanceConfig(
            host="localhost",
            port=int(engine.url.rsplit(":", 1)[1]),
            model_name="m",
            instance_id=f"e{number}",
        )
        for number, engine in enumerate(engines)
    ]
    return UnifiedServerConfig(
        **{"port": 0, "llm_backends": backends, "probe": PROBE, "shutdown_timeout": 1, **options}
    )


async def chat(url: str) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        return await client.post(f"{url}/v1/chat/completions", json=CHAT)


async def test_async_with(kit: Any) -> None:
    """Serves on the running loop at once, over every backend that is there, then is gone."""
    async with UnifiedAPIServer(config(await kit.engine(), await kit.engine())) as server:
        replies = [await chat(server.url) for _ in range(4)]
        assert {reply.headers["x-sage-instance"] for reply in replies} == {"e0", "e1"}
        url = server.url
    with pytest.raises(httpx2.ConnectError):
        await chat(url)


async def test_run_async_ends_with_stop_or_cancellation(kit: Any) -> None:
    """stop() on the same loop lets it return; a cancelled one has closed its port."""
    engine = await kit.engine()
    server = UnifiedAPIServer(config(engine))
    running = asyncio.create_task(server.run_async())
    await server.started()
    assert (await chat(server.url)).status_code == 200
    with pytest.raises(InferenceError, match="runs already"):
        await server.run_async()
    server.stop()
    await asyncio.wait_for(running, 5)

    again = asyncio.create_task(server.run_async())
    await server.started()
    assert (await chat(server.url)).status_code == 200
    again.cancel()
    with pytest.raises(asyncio.CancelledError):
        await again
    with pytest.raises(httpx2.ConnectError):
        await chat(server.url)


async def test_start_in_a_thread(kit: Any) -> None:
    """start(block=False) and with return when it answers; stop() when it does no more."""
    engine = await kit.engine()
    server = UnifiedAPIServer(config(engine))
    await asyncio.to_thread(server.start, block=False)
    assert (await chat(server.url)).status_code == 200
    await asyncio.to_thread(server.stop)
    server.stop()
    with pytest.raises(httpx2.ConnectError):
        await chat(server.url)
    with UnifiedAPIServer(config()) as other:
        assert (await chat(other.url)).status_code == 404


async def test_a_blocking_start_ends_with_stop_from_elsewhere(kit: Any) -> None:
    """The thread that called start() goes on when another one calls stop()."""
    server = UnifiedAPIServer(config(await kit.engine()))
    thread = threading.Thread(target=server.start)
    thread.start()
    await server.started()
    assert (await chat(server.url)).status_code == 200
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(thread.join, 5)
    assert not thread.is_alive()


async def test_a_held_port_is_named_with_its_holder(kit: Any) -> None:
    """Whichever way the server is started."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        server = UnifiedAPIServer(config(port=port))
        with pytest.raises(PortInUseError, match=f"port {port} for the gateway"):
            server.start(block=False)
        with pytest.raises(PortInUseError):
            await server.run_async()
        with pytest.raises(PortInUseError):
            async with UnifiedAPIServer(config(port=port)):
                pass


async def test_any_asgi_server_runs_the_app(kit: Any) -> None:
    """The app's own lifespan brings the backends in."""
    sent: list[str] = []
    inbox: asyncio.Queue[dict[str, str]] = asyncio.Queue()

    async def send(message: Any) -> None:
        sent.append(message["type"])

    server = UnifiedAPIServer(config(await kit.engine()))
    life = asyncio.create_task(server.app({"type": "lifespan"}, inbox.get, send))
    inbox.put_nowait({"type": "lifespan.startup"})
    await kit.eventually(lambda: sent == ["lifespan.startup.complete"])
    transport = httpx2.ASGITransport(app=server.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://g") as client:
        assert (await client.get("/ready")).status_code == 200
    inbox.put_nowait({"type": "lifespan.shutdown"})
    await asyncio.wait_for(life, 5)
    assert sent[-1] == "lifespan.shutdown.complete"


async def test_slo_aware_over_both_kinds_is_hybrid_slo(kit: Any) -> None:
    """As the documentation says; over one kind it is itself, and without a plane round robin."""
    embedding = [BackendInstanceConfig(port=1, model_name="e")]
    policy = SchedulingPolicyType.SLO_AWARE
    llm = [BackendInstanceConfig(port=2, model_name="m")]
    one = UnifiedServerConfig(scheduling_policy=policy, llm_backends=llm)
    mixed = dataclasses.replace(one, embedding_backends=embedding)
    plain = dataclasses.replace(mixed, enable_control_plane=False)
    policies = [UnifiedAPIServer(c).gateway.policy for c in (one, mixed, plain)]
    assert policies == ["slo_aware", "hybrid_slo", "round_robin"]


async def test_without_a_control_plane_nothing_waits(kit: Any) -> None:
    """More requests than max_concurrent_requests are passed on at once, in turn."""
    gate = asyncio.Event()

    async def slow(request: Any, writer: asyncio.StreamWriter) -> None:
        if request.line.startswith("POST"):
            await gate.wait()
        await kit.answer(request, writer)

    engines = [await kit.engine(slow), await kit.engine(slow)]
    plain = config(*engines, enable_control_plane=False)
    limited = [dataclasses.replace(b, max_concurrent_requests=1) for b in plain.llm_backends]
    async with UnifiedAPIServer(dataclasses.replace(plain, llm_backends=limited)) as server:
        replies = [asyncio.ensure_future(chat(server.url)) for _ in range(6)]

        def posted() -> list[int]:
            return [sum(r.line.startswith("POST") for r in e.requests) for e in engines]

        await kit.eventually(lambda: posted() == [3, 3])
        gate.set()
        assert [(await reply).status_code for reply in replies] == [200] * 6


async def test_reload_drops_no_request(kit: Any) -> None:
    """A backend that leaves answers what it has; one that comes serves; a kept one stays."""
    gate = asyncio.Event()

    async def slow(request: Any, writer: asyncio.StreamWriter) -> None:
        if request.line.startswith("POST"):
            await gate.wait()
        await kit.answer(request, writer)

    old, new = await kit.engine(slow), await kit.engine()
    first = config(old)
    second = dataclasses.replace(
        config(new, scheduling_policy="fifo"),
        llm_backends=[dataclasses.replace(config(new).llm_backends[0], instance_id="new")],
    )
    async with UnifiedAPIServer(first, on_reload=lambda: second) as server:
        running = asyncio.ensure_future(chat(server.url))
        await kit.eventually(lambda: any(r.line.startswith("POST") for r in old.requests))
        async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
            reply = await client.post(f"{server.url}/v1/management/reload")
        assert reply.status_code == 200
        assert reply.json()["policy"] == "fifo"
        await kit.eventually(lambda: server.gateway.instance("new")["up"])
        assert (await chat(server.url)).headers["x-sage-instance"] == "new"
        server.reload(first)  # the old one is wanted again before it is gone
        await kit.eventually(lambda: server.gateway.instance_ids() == {"e0"})
        gate.set()
        assert (await running).status_code == 200
        assert (await chat(server.url)).headers["x-sage-instance"] == "e0"
        with pytest.raises(ConfigError, match="port cannot change"):
            server.reload(dataclasses.replace(first, port=1))


SCRIPT = """
import sys
from pathlib import Path
from sage.inference.gateway import UnifiedAPIServer, load_config

path = Path(sys.argv[1])
server = UnifiedAPIServer(
    load_config(path), on_reload=lambda: load_config(path),
    on_ready=lambda: print(server.url, flush=True),
)
server.start()
print("ended", flush=True)
"""


async def test_signals(kit: Any, tmp_path: Path) -> None:
    """SIGHUP reads the file again, a broken file changes nothing, SIGTERM ends start()."""
    engine = await kit.engine()
    port = engine.url.rsplit(":", 1)[1]
    path = tmp_path / "gateway.toml"
    path.write_text("port = 0\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SCRIPT, str(path), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        assert (await chat(url)).status_code == 404
        path.write_text(f'port = 0\n[[llm_backends]]\nport = {port}\nmodel_name = "m"\n')
        process.send_signal(signal.SIGHUP)
        while (await chat(url)).status_code != 200:  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.05)
        path.write_text("prot = 0\n")
        process.send_signal(signal.SIGHUP)
        assert (await chat(url)).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.stdout.read(), 10) == b"ended\n"
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()

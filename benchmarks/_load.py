"""A load client small enough not to be what is measured: HTTP/1.1 over asyncio streams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit


class Connection:
    """One keep-alive connection; one request at a time."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or 80
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def _send(self, path: str, payload: dict[str, Any]) -> dict[str, str]:
        body = json.dumps(payload).encode()
        self._writer.write(
            f"POST {path} HTTP/1.1\r\nhost: {self._host}:{self._port}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
        status = int(head[0].split()[1])
        if status != 200:
            body = await self._reader.read(2000)
            raise RuntimeError(f"{path} answered {status}: {body.decode(errors='replace')}")
        return headers

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := int(await self._reader.readline(), 16):
            yield (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readline()

    async def post(self, path: str, payload: dict[str, Any]) -> bytes:
        """Send one request and return the whole body."""
        headers = await self._send(path, payload)
        if "content-length" in headers:
            return await self._reader.readexactly(int(headers["content-length"]))
        return b"".join([chunk async for chunk in self._chunks()])

    async def stream(self, path: str, payload: dict[str, Any]) -> AsyncIterator[bytes]:
        """Send one request and yield the data of each server-sent event."""
        await self._send(path, payload)
        pending = b""
        async for chunk in self._chunks():
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                if line.startswith(b"data: "):
                    yield line[6:]


async def run_all(url: str, jobs: list[Any], concurrency: int, work: Any) -> list[Any]:
    """Run ``work(connection, job)`` over all jobs with so many connections; results in order."""
    results: list[Any] = [None] * len(jobs)
    queue = iter(enumerate(jobs))

    async def worker() -> None:
        async with Connection(url) as connection:
            for index, job in queue:
                results[index] = await work(connection, job)

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(worker())
    return results

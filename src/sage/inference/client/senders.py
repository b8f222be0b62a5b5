"""The two drivers that perform a flow's effects: in the calling thread, and in an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import httpx2

from sage.errors import RequestTimeoutError, SageError, UpstreamError
from sage.inference.client.calls import Call, Reply
from sage.inference.client.errors import HTTP_ERRORS, from_exception, from_status
from sage.inference.client.flow import Effect, Flow, Gather, Once, Open, Send, Sleep
from sage.inference.client.pools import Pools
from sage.inference.client.session import Timing

T = TypeVar("T")


class _Body:
    """Collects an answer's bytes within the call's time and size."""

    def __init__(self, call: Call, timing: Timing) -> None:
        self._call = call
        self._clock = timing.clock
        self._ends = timing.clock() + call.timeout_s
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, part: bytes) -> None:
        call = self._call
        self._parts.append(part)
        self._size += len(part)
        if call.max_bytes is not None and self._size > call.max_bytes:
            raise UpstreamError(f"{call.url}: the answer is larger than {call.max_bytes} bytes")
        if self._clock() > self._ends:
            raise RequestTimeoutError(
                f"{call.url}: the answer was not whole within {call.timeout_s:g} s; "
                "give a larger timeout, or ask for less at once"
            )

    def reply(self, response: httpx2.Response) -> Reply:
        headers, body = dict(response.headers), b"".join(self._parts)
        if response.status_code >= 300:
            raise from_status(self._call, response.status_code, headers, body)
        return Reply(headers, body)


def _request(client: httpx2.Client | httpx2.AsyncClient, call: Call) -> httpx2.Request:
    return client.build_request(
        call.method,
        call.url,
        content=call.body,
        headers=call.headers(),
        timeout=httpx2.Timeout(call.timeout_s, connect=call.connect_timeout_s),
    )


class SyncSender:
    """Performs flows in the calling thread; any number of threads may use one."""

    def __init__(self, pools: Pools, timing: Timing) -> None:
        self._pools = pools
        self._timing = timing

    def run(self, flow: Flow[T]) -> T:
        """Run the flow to its end and return its result."""
        outcome: Any = None
        error: SageError | None = None
        while True:
            try:
                effect = flow.send(outcome) if error is None else flow.throw(error)
            except StopIteration as stop:
                result: T = stop.value
                return result
            try:
                outcome, error = self._perform(effect), None
            except SageError as raised:
                error = raised

    def _perform(self, effect: Effect) -> Any:
        match effect:
            case Send(call):
                return self._send(call)
            case Open(call):
                return self._open(call)
            case Sleep(seconds):
                return self._timing.sleep(seconds)
            case Gather(flows, limit):
                return self._gather(flows, limit)
            case Once(key, flow):
                with self._pools.locks[key]:
                    return self.run(flow())

    def _send(self, call: Call) -> Reply:
        client = self._pools.sync()
        body = _Body(call, self._timing)
        try:
            response = client.send(_request(client, call), stream=True)
            try:
                for part in response.iter_bytes():
                    body.add(part)
            finally:
                response.close()
        except HTTP_ERRORS as error:
            raise from_exception(call, error) from error
        return body.reply(response)

    def _open(self, call: Call) -> httpx2.Response:
        client = self._pools.sync()
        try:
            response = client.send(_request(client, call), stream=True)
            if response.status_code >= 300:
                response.read()
        except HTTP_ERRORS as error:
            raise from_exception(call, error) from error
        if response.status_code >= 300:
            raise from_status(call, response.status_code, response.headers, response.content)
        return response

    def _gather(self, flows: Sequence[Flow[Any]], limit: int) -> list[Any]:
        if not flows:
            return []
        with ThreadPoolExecutor(min(limit, len(flows)), "sage-client") as threads:
            futures = [threads.submit(self.run, flow) for flow in flows]
            try:
                return [future.result() for future in futures]
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise


class AsyncSender:
    """Performs flows in the running event loop; several loops may use one."""

    def __init__(self, pools: Pools, timing: Timing) -> None:
        self._pools = pools
        self._timing = timing

    async def run(self, flow: Flow[T]) -> T:
        """Run the flow to its end and return its result."""
        outcome: Any = None
        error: SageError | None = None
        while True:
            try:
                effect = flow.send(outcome) if error is None else flow.throw(error)
            except StopIteration as stop:
                result: T = stop.value
                return result
            try:
                outcome, error = await self._perform(effect), None
            except SageError as raised:
                error = raised

    async def _perform(self, effect: Effect) -> Any:
        match effect:
            case Send(call):
                return await self._send(call)
            case Open(call):
                return await self._open(call)
            case Sleep(seconds):
                return await self._timing.async_sleep(seconds)
            case Gather(flows, limit):
                return await self._gather(flows, limit)
            case Once(key, flow):
                pool = await self._pools.asynchronous()
                async with pool.locks[key]:
                    return await self.run(flow())

    async def _send(self, call: Call) -> Reply:
        client = (await self._pools.asynchronous()).client
        body = _Body(call, self._timing)
        try:
            response = await client.send(_request(client, call), stream=True)
            try:
                async for part in response.aiter_bytes():
                    body.add(part)
            finally:
                await response.aclose()
        except HTTP_ERRORS as error:
            raise from_exception(call, error) from error
        return body.reply(response)

    async def _open(self, call: Call) -> httpx2.Response:
        client = (await self._pools.asynchronous()).client
        try:
            response = await client.send(_request(client, call), stream=True)
            if response.status_code >= 300:
                await response.aread()
        except HTTP_ERRORS as error:
            raise from_exception(call, error) from error
        if response.status_code >= 300:
            raise from_status(call, response.status_code, response.headers, response.content)
        return response

    async def _gather(self, flows: Sequence[Flow[Any]], limit: int) -> list[Any]:
        gate = asyncio.Semaphore(limit)

        async def one(flow: Flow[Any]) -> Any:
            async with gate:
                return await self.run(flow)

        tasks = [asyncio.ensure_future(one(flow)) for flow in flows]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

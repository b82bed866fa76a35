"""The whole worker over real gRPC and HTTP: drain, hand-backs, and how the process ends."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import web

from control_plane.runtime.clock import SystemClock
from protos.lease.v1 import lease_pb2
from tests.fakes.lease_server import TOKEN, FakeLeaseServer, lease_of, lease_server
from workers.app import serve
from workers.metrics import WorkerMetrics
from workers.settings import WorkerSettings

USER = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "ada", "active": True}
LIMIT_S = 4.0


class SlowTarget:
    """A SCIM target whose POSTs wait until the test lets them go."""

    def __init__(self) -> None:
        self.url = ""
        self.go = asyncio.Event()
        self.posts: list[dict[str, Any]] = []
        self.waiting = 0
        self.changed = asyncio.Event()

    async def handle(self, request: web.Request) -> web.Response:
        if request.path == "/ServiceProviderConfig":
            return web.Response(status=404)
        if request.method == "GET":
            return _scim({"totalResults": 0, "Resources": []})
        self.waiting += 1
        self.changed.set()
        await self.go.wait()
        self.posts.append(await request.json())
        return _scim({"id": f"r{len(self.posts)}"}, 201)

    async def busy(self, count: int) -> None:
        async with asyncio.timeout(LIMIT_S):
            while self.waiting < count:
                self.changed.clear()
                await self.changed.wait()


def _scim(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/scim+json")


@pytest.fixture
async def slow_target() -> AsyncIterator[SlowTarget]:
    target = SlowTarget()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", target.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    target.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield target
    target.go.set()
    await runner.cleanup()


@asynccontextmanager
async def working(server: FakeLeaseServer, drain_s: float, slots: int = 2) -> AsyncIterator[Callable[[], Any]]:
    """Run a worker; the value given drains it and waits for its end."""
    settings = WorkerSettings(
        worker_token=TOKEN,
        control_plane=server.address,
        worker_id="worker-1",
        worker_slots=slots,
        worker_drain_s=drain_s,
        plaintext=True,
        allowed_networks="127.0.0.0/8",
        metrics_listen="127.0.0.1:0",
    )
    stopping = asyncio.Event()
    worker = asyncio.create_task(serve(settings, stopping, SystemClock(), WorkerMetrics()))

    async def stop() -> None:
        stopping.set()
        async with asyncio.timeout(drain_s + 2):
            await worker

    try:
        await server.connected()
        yield stop
    finally:
        await stop()


def three_users() -> list[lease_pb2.Lease]:
    return [lease_of(fence, document=USER | {"userName": f"u{fence}"}, resource=fence) for fence in (1, 2, 3)]


async def test_drain_finishes_what_runs_and_hands_back_what_waits(slow_target: SlowTarget) -> None:
    async with lease_server(heartbeat_s=0.1) as server, working(server, drain_s=3) as stop:
        server.scim_url = slow_target.url
        await server.give(*three_users())
        await slow_target.busy(2)
        stopping = asyncio.create_task(stop())
        released = await server.result(3)
        assert isinstance(released, lease_pb2.Nack)
        assert released.failure_class == lease_pb2.FAILURE_CLASS_RELEASED
        assert server.turns[-1].draining
        assert server.turns[-1].credit == 0
        slow_target.go.set()
        await stopping
        assert {done.effect for fence in (1, 2) if isinstance(done := server.results(fence)[0], lease_pb2.Done)} == {
            lease_pb2.EFFECT_CREATED
        }
        await server.until(lambda: server.goodbyes == 1, "the worker ends its stream")
        assert len(slow_target.posts) == 2


async def test_a_lease_that_crosses_the_drain_is_handed_back(slow_target: SlowTarget) -> None:
    async with lease_server(heartbeat_s=20) as server:
        server.scim_url = slow_target.url
        server.parting = three_users()[:1]
        async with working(server, drain_s=0):
            pass
        [nack] = server.results(1)
        assert isinstance(nack, lease_pb2.Nack)
        assert nack.failure_class == lease_pb2.FAILURE_CLASS_RELEASED
        assert slow_target.waiting == 0


async def test_drain_hands_back_what_does_not_finish(slow_target: SlowTarget) -> None:
    async with lease_server(heartbeat_s=0.1) as server, working(server, drain_s=0.2) as stop:
        server.scim_url = slow_target.url
        await server.give(*three_users()[:1])
        await slow_target.busy(1)
        await stop()
        [nack] = server.results(1)
        assert isinstance(nack, lease_pb2.Nack)
        assert nack.failure_class == lease_pb2.FAILURE_CLASS_RELEASED


async def test_a_lost_lease_stops_its_handler_and_frees_its_slot(slow_target: SlowTarget) -> None:
    async with lease_server(heartbeat_s=0.1) as server, working(server, drain_s=1, slots=1):
        server.scim_url = slow_target.url
        await server.give(*three_users()[:1])
        await slow_target.busy(1)
        await server.until(lambda: server.turns[-1].credit == 0, "the slot is taken")
        await server.lose(1)
        await server.until(lambda: server.turns[-1].credit == 1, "the slot is free again")
        slow_target.go.set()
        await server.give(*three_users()[1:2])
        assert isinstance(await server.result(2), lease_pb2.Done)
        assert server.results(1) == []


async def test_a_defect_in_the_stream_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_given: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("workers.stream.open_channel", broken)
    settings = WorkerSettings(
        worker_token=TOKEN, control_plane="127.0.0.1:1", plaintext=True, metrics_listen="127.0.0.1:0"
    )
    async with asyncio.timeout(3):
        with pytest.raises(ExceptionGroup) as caught:
            await serve(settings, asyncio.Event(), SystemClock(), WorkerMetrics())
    assert caught.group_contains(ZeroDivisionError)


async def test_a_worker_process_ends_on_sigterm() -> None:
    async with lease_server() as server:
        environment = os.environ | {
            "MUSTER_CONTROL_PLANE": server.address,
            "MUSTER_WORKER_TOKEN": TOKEN,
            "MUSTER_PLAINTEXT": "true",
            "MUSTER_METRICS_LISTEN": "127.0.0.1:0",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "workers", env=environment, stderr=asyncio.subprocess.PIPE
        )
        try:
            await server.connected()
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(3):
                _, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == 0
        lines = [orjson.loads(line) for line in errors.splitlines()]
        [ready] = [line for line in lines if line["event"] == "ready"]
        assert ready["metrics_port"] > 0
        assert TOKEN.encode() not in errors

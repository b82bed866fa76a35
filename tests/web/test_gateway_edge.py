"""What every answer carries, how many connections one address may have, and where health is told."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from tests.fixtures.gateway import RunningGateway, StartGateway, eventually

SOON_S = 1.5
HSTS = "Strict-Transport-Security"
PATHS = ("/Users", "/nowhere", "/Me", "//livez", "//outside", "/Bulk")


async def raw(gateway: RunningGateway, sent: bytes) -> bytes:
    """Send bytes on a connection of their own and read to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.gateway.port)
    try:
        writer.write(sent)
        async with asyncio.timeout(SOON_S):
            return await reader.read()
    finally:
        writer.transport.abort()


@pytest.mark.parametrize(("url", "hsts"), [("https://scim.example", "max-age=31536000"), ("", None)])
async def test_every_answer_carries_the_headers(start_gateway: StartGateway, url: str, hsts: str | None) -> None:
    gateway = await start_gateway(gateway_public_url=url)
    for path in PATHS:
        for token in ("", None):
            headers = (await gateway.send("GET", path, token=token)).headers
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Cache-Control"] == "no-store"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert headers.get(HSTS) == hsts
            assert "Server" not in headers
            assert len(headers["X-Request-Id"]) == 32
    broken = await raw(gateway, b"nonsense\r\n\r\n")
    assert (HSTS.encode() in broken) is bool(hsts)
    for name in (b"X-Content-Type-Options: nosniff", b"Cache-Control: no-store", b"Referrer-Policy: no-referrer"):
        assert broken.count(name) == 1
    assert b"\r\nServer:" not in broken


async def test_one_address_cannot_take_all_connections(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(gateway_max_connections_per_source=2)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.gateway.port)
            stack.callback(writer.transport.abort)
        refused = await raw(gateway, b"")
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in refused
        assert b"X-Content-Type-Options: nosniff" in refused
        # From another address of the loopback network there is room.
        connector = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
        other = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        async with other.get(f"{gateway.origin}/livez") as answer:
            assert answer.status == 200

    async def is_let_in() -> bool:
        return (await raw(gateway, b"GET /livez HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.0 200 ")

    async with asyncio.timeout(SOON_S):  # the gateway sees the closed connections a little later than the test
        while not await is_let_in():
            await asyncio.sleep(0.005)


async def test_a_trusted_proxy_brings_as_many_as_there_are(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(gateway_max_connections_per_source=1, gateway_trusted_proxies="127.0.0.1")
    async with AsyncExitStack() as stack:
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.gateway.port)
            stack.callback(writer.transport.abort)
        assert (await gateway.send("GET", "/Users")).status == 200


async def test_health_shares_the_port_unless_it_has_its_own(gateway: RunningGateway) -> None:
    assert gateway.gateway.admin_port == gateway.gateway.port
    for path in ("//livez", "//readyz", "//startupz"):
        answer = await gateway.send("GET", path, token=None)
        assert (answer.status, list(answer.json)) == (200, ["status"])


async def test_with_a_port_of_its_own_health_is_nowhere_else(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(gateway_admin_listen="127.0.0.1:0")
    assert gateway.gateway.admin_port != gateway.gateway.port
    for path in ("//livez", "//readyz", "//startupz", "//metrics"):
        assert (await gateway.send("GET", path, token=None)).status == 404
    status = await _statuses(gateway, "/livez", "/readyz", "/startupz", "/metrics", "/scim/v2/Users")
    assert status == [200, 200, 200, 404, 404]
    gateway.control_plane.sever_watch(refuse_new=True)
    await eventually(lambda: not gateway.gateway.verifier.is_watched)
    assert await _statuses(gateway, "/livez", "/readyz", "/startupz") == [200, 503, 200]


async def test_started_means_heard_of_the_control_plane_once(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(gateway_token="wrong", wait_ready=False)
    assert (await gateway.send("GET", "//startupz", token=None)).status == 503


async def _statuses(gateway: RunningGateway, *paths: str) -> list[Any]:
    found = []
    for path in paths:
        async with gateway.session.get(f"http://127.0.0.1:{gateway.gateway.admin_port}{path}") as answer:
            found.append(answer.status)
            assert "Server" not in answer.headers
    return found

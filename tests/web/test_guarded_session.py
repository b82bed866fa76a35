"""A guarded session connects to the address that was checked, and to no other; real sockets on loopback."""

import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from control_plane.outgoing.guard import Guard, Refused
from control_plane.outgoing.http import guarded_session, refusal_in

# Of docs/hardening.md.
pytestmark = pytest.mark.row(15)


@pytest_asyncio.fixture
async def port() -> AsyncIterator[int]:
    """A server on 127.0.0.1 that answers, and redirects from /away to an address of its choice."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    async def away(request: web.Request) -> web.Response:
        raise web.HTTPFound(request.query["to"])

    app = web.Application()
    app.router.add_get("/", answer)
    app.router.add_get("/away", away)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield site.port
    await runner.cleanup()


def names(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Let every name resolve to one of ``answers`` after the other, the last for ever; return who was asked for."""
    asked: list[str] = []

    async def getaddrinfo(_loop: Any, host: str, port: int, **_: Any) -> list[Any]:
        address = answers[min(len(asked), len(answers) - 1)]
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr("asyncio.base_events.BaseEventLoop.getaddrinfo", getaddrinfo)
    return asked


async def test_an_allowed_name_is_resolved_once_and_pinned(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = names(monkeypatch, "127.0.0.1", "10.0.0.1")
    async with guarded_session(Guard.parse("127.0.0.0/8"), connections=1, headers={}) as session:
        for _ in range(2):
            async with session.get(f"http://app.example:{port}/") as response:
                assert await response.text() == "hello"
    assert asked == ["app.example"]


async def test_a_name_that_turns_private_is_refused(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the name was public when the target was saved."""
    names(monkeypatch, "127.0.0.1")
    async with guarded_session(Guard(), connections=1, headers={}) as session:
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await session.get(f"http://rebind.example:{port}/")
    assert refusal_in(caught.value) is not None


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"])
async def test_an_address_is_refused_however_it_is_written(port: int, host: str) -> None:
    async with guarded_session(Guard(), connections=1, headers={}) as session:
        with pytest.raises(Refused):
            await session.get(f"http://{host}:{port}/")


async def test_a_redirect_leads_nowhere_private(port: int) -> None:
    async with guarded_session(Guard.parse("127.0.0.1/32"), connections=1, headers={}) as session:
        for to in ("http://127.0.0.2/", "http://169.254.169.254/latest/"):
            with pytest.raises(Refused):
                await session.get(f"http://127.0.0.1:{port}/away", params={"to": to})
        with pytest.raises(aiohttp.NonHttpUrlRedirectClientError):
            await session.get(f"http://127.0.0.1:{port}/away", params={"to": "file:///etc/passwd"})


async def test_proxies_of_the_environment_are_ignored(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with (
        guarded_session(Guard.parse("127.0.0.0/8"), connections=1, headers={}) as session,
        session.get(f"http://127.0.0.1:{port}/") as response,
    ):
        assert response.status == 200

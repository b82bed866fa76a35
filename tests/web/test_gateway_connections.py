"""Deadlines and broken HTTP, with raw sockets: the part that leans on aiohttp's insides (connections.py)."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from tests.fixtures.gateway import RunningGateway, StartGateway, eventually

SHORT_S = 0.2
# Far above the short deadline, far below the long ones.
SOON_S = 1.5


@asynccontextmanager
async def raw(gateway: RunningGateway) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a plain TCP connection to the gateway."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.gateway.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def to_the_end(reader: asyncio.StreamReader) -> bytes:
    """Read until the gateway closes, within SOON_S."""
    read = b""
    async with asyncio.timeout(SOON_S):
        with contextlib.suppress(ConnectionResetError):
            while piece := await reader.read(65536):
                read += piece
    return read


async def one_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one answer with a Content-Length and leave the connection open."""
    async with asyncio.timeout(SOON_S):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().splitlines() if line.startswith(b"content-length:"))
        return int(head.split()[1]), await reader.readexactly(length)


def request(gateway: RunningGateway, method: str = "GET", path: str = "/Users", extra: str = "") -> bytes:
    head = f"{method} /scim/v2{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.token}\r\n{extra}\r\n"
    return head.encode()


def assert_scim(answer: bytes, status: int) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert b"application/scim+json; charset=utf-8" in head
    assert b"server:" not in head.lower()
    assert orjson.loads(body)["status"] == str(status)


async def test_a_connection_that_says_nothing_is_closed(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(gateway_header_timeout_s=SHORT_S)
    began = time.monotonic()
    async with raw(gateway) as (reader, _):
        assert await to_the_end(reader) == b""
    assert time.monotonic() - began >= SHORT_S


@pytest.mark.parametrize("sent", [b"G", b"\r\n", b"GET /scim/v2/Users HTTP/1.1\r\nHost: x\r\nX-Slow"])
async def test_half_a_header_is_408(start_gateway: StartGateway, sent: bytes) -> None:
    gateway = await start_gateway(gateway_header_timeout_s=SHORT_S)
    async with raw(gateway) as (reader, writer):
        writer.write(sent)
        assert_scim(await to_the_end(reader), 408)


async def test_dripping_headers_do_not_extend_the_deadline(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(gateway_header_timeout_s=SHORT_S)
    async with raw(gateway) as (reader, writer):
        writer.write(b"GET /scim/v2/Users HTTP/1.1\r\nX-Slow: ")
        answer = asyncio.ensure_future(to_the_end(reader))
        while not answer.done():
            writer.write(b"a")
            await asyncio.wait([answer], timeout=SHORT_S / 20)
        # A byte that crosses the gateway's close makes the kernel reset the connection, which may swallow the answer.
        if received := await answer:
            assert_scim(received, 408)


async def test_the_deadline_is_armed_again_for_the_next_request(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(gateway_header_timeout_s=SHORT_S)
    async with raw(gateway) as (reader, writer):
        for _ in range(3):
            writer.write(request(gateway)[:40])
            await writer.drain()
            writer.write(request(gateway)[40:])
            assert (await one_answer(reader))[0] == 200
        writer.write(request(gateway)[:40])
        assert_scim(await to_the_end(reader), 408)


async def test_an_idle_connection_outlives_the_header_deadline_but_not_its_own(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(gateway_header_timeout_s=SHORT_S, gateway_keepalive_timeout_s=3 * SHORT_S)
    async with raw(gateway) as (reader, writer):
        writer.write(request(gateway))
        await one_answer(reader)
        idle_since = time.monotonic()
        assert await to_the_end(reader) == b""
        assert time.monotonic() - idle_since > 2 * SHORT_S


async def test_a_request_longer_than_the_header_deadline_is_not_cut(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(gateway_header_timeout_s=SHORT_S, gateway_body_timeout_s=10.0)
    async with raw(gateway) as (reader, writer):
        body = b'{"userName":"ada"}'
        writer.write(request(gateway, "POST", extra=f"Content-Length: {len(body)}\r\n"))
        began = time.monotonic()
        await eventually(lambda: time.monotonic() - began > 2 * SHORT_S)
        writer.write(body)
        assert (await one_answer(reader))[0] == 201


@pytest.mark.parametrize("framing", ["Content-Length: 100\r\n", "Transfer-Encoding: chunked\r\n"])
async def test_a_slow_body_is_408(start_gateway: StartGateway, framing: str) -> None:
    gateway = await start_gateway(gateway_body_timeout_s=SHORT_S)
    async with raw(gateway) as (reader, writer):
        writer.write(request(gateway, "POST", extra=framing) + (b"{" if "Length" in framing else b"1\r\n{\r\n"))
        status, body = await one_answer(reader)
        assert (status, orjson.loads(body)["status"]) == (408, "408")
    assert not gateway.control_plane.calls("CreateResource")


async def test_slow_connections_do_not_slow_others(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(gateway_header_timeout_s=10.0, gateway_max_connections_per_source=500)
    pairs = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", gateway.gateway.port) for _ in range(200)))
    try:
        for _, writer in pairs:
            writer.write(b"GET /scim/v2/Users HTTP/1.1\r\nX-Slow: ")
        began = time.monotonic()
        assert (await gateway.send("GET", "/Users")).status == 200
        assert time.monotonic() - began < 1
    finally:
        for _, writer in pairs:
            writer.transport.abort()


async def test_an_answer_that_nobody_reads_is_cut(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(gateway_write_timeout_s=SHORT_S)
    group = gateway.control_plane.add_group(100_000)
    async with raw(gateway) as (reader, writer):
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport reads too
        writer.write(request(gateway, path=f"/Groups/{group}"))
        await eventually(lambda: gateway.metric("scim_http_inflight") == 1)
        await eventually(lambda: gateway.metric("scim_http_inflight") == 0)
        del reader


async def test_one_connection_too_many_is_told_so(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(gateway_max_connections=2)
    async with raw(gateway) as (first, first_writer), raw(gateway) as (second, second_writer):
        for reader, writer in ((first, first_writer), (second, second_writer)):
            writer.write(request(gateway))
            assert (await one_answer(reader))[0] == 200
        async with raw(gateway) as (third, _):
            answer = await to_the_end(third)
            assert_scim(answer, 503)
            assert b"Retry-After: 1" in answer
    await eventually(
        lambda: gateway.metric("scim_http_requests_total", route="bad_http", method="other", code="503") == 1
    )
    # The gateway sees the two closed connections a little later than the test that closed them.
    status = 503
    began = time.monotonic()
    while status == 503:
        assert time.monotonic() - began < SOON_S
        async with raw(gateway) as (reader, writer):
            writer.write(request(gateway))
            status = (await one_answer(reader))[0]
    assert status == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400),
        (b"GET /scim/v2/Users HTTP/9.9\r\nHost: x\r\n\r\n", 400),
        (b"GET /scim/v2/Users HTTP/1.1\r\nHost: x\r\nBad Name: 1\r\n\r\n", 400),
        (b"GET /scim/v2/Users HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"POST /scim/v2/Users HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", 400),
        (b"POST /scim/v2/Users HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 400),
        (b"GET /scim/v2/Users?filter=" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET /scim/v2/Users HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 9_000 + b"\r\n\r\n", 431),
        (b"GET /scim/v2/Users HTTP/1.1\r\nHost: x\r\n" + b"X-Many: 1\r\n" * 200 + b"\r\n", 431),
    ],
)
async def test_broken_http_is_a_scim_error_and_closes(
    gateway: RunningGateway, sent: bytes, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async with raw(gateway) as (reader, writer):
        writer.write(sent)
        answer = await to_the_end(reader)
    assert_scim(answer, status)
    assert b"X-Request-Id" in answer
    assert "Traceback" not in "".join(capsys.readouterr())


async def test_a_broken_transfer_coding_is_400(gateway: RunningGateway) -> None:
    async with raw(gateway) as (reader, writer):
        writer.write(request(gateway, "POST", extra="Transfer-Encoding: chunked\r\n") + b"zz\r\n")
        assert (await one_answer(reader))[0] == 400


async def test_no_body_is_asked_for_before_the_token_is_known(gateway: RunningGateway) -> None:
    async with raw(gateway) as (reader, writer):
        writer.write(b"POST /scim/v2/Users HTTP/1.1\r\nHost: x\r\nContent-Length: 18\r\nExpect: 100-continue\r\n\r\n")
        assert (await one_answer(reader))[0] == 401
    async with raw(gateway) as (reader, writer):
        writer.write(request(gateway, "POST", extra="Content-Length: 18\r\nExpect: 100-continue\r\n"))
        async with asyncio.timeout(SOON_S):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b'{"userName":"ada"}')
        assert (await one_answer(reader))[0] == 201


async def test_a_client_that_leaves_is_no_error(gateway: RunningGateway, capsys: pytest.CaptureFixture[str]) -> None:
    async with raw(gateway) as (_, writer):
        writer.write(request(gateway, "POST", extra="Content-Length: 100\r\n") + b"{")
        await eventually(lambda: gateway.metric("scim_http_inflight") == 1)
        writer.transport.abort()
    await eventually(lambda: gateway.metric("scim_http_inflight") == 0)
    assert gateway.metric("scim_http_requests_total", route="/scim/v2/Users", method="POST", code="499") == 1
    assert "Traceback" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("line", [b"OPTIONS * HTTP/1.1", b"CONNECT /scim/v2/Users HTTP/1.1", b"CONNECT x:1 HTTP/1.1"])
async def test_what_no_route_can_see_is_refused_in_scim_form(gateway: RunningGateway, line: bytes) -> None:
    async with raw(gateway) as (reader, writer):
        head = f"\r\nHost: x\r\nAuthorization: Bearer {gateway.token}\r\nConnection: close\r\n\r\n"
        writer.write(line + head.encode())
        answer = await to_the_end(reader)
        status = int(answer.split()[1])
        assert 400 <= status < 500
        assert_scim(answer, status)

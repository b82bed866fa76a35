"""Rows 1, 2, 7 and 19: connections, bodies and headers, before SCIM begins."""

import asyncio
import gzip
import time

import pytest

from tests.conformance.client import Idp
from tests.conformance.service import Service
from tests.hardening.conftest import BODY_TIMEOUT_S, HEADER_TIMEOUT_S
from tests.hardening.sockets import Heard, hear, request, say, wire

MIB = 1024 * 1024
JSON = "Content-Type: application/scim+json"
SLOW_CLIENTS = 500
# Far above what a request takes, far below what anybody would wait for.
P99_S = 1.0


async def status_of(idp: Idp, site: Service, *headers: str, body: bytes = b"", method: str = "POST") -> Heard:
    return await say(
        site.origin, request(idp.token, method, "/scim/v2/Users", "Connection: close", *headers, body=body)
    )


@pytest.mark.row(1)
@pytest.mark.parametrize("sent", [b"", b"GET /scim/v2/Us", b"GET /scim/v2/Users HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_who_does_not_finish_a_header_is_sent_away(site: Service, sent: bytes) -> None:
    heard = await say(site.origin, sent, limit_s=HEADER_TIMEOUT_S + 5)
    assert heard.was_closed
    assert heard.statuses == ([408] if sent else [])


@pytest.mark.row(1)
async def test_the_header_deadline_holds_for_the_next_request_too(site: Service, idp: Idp) -> None:
    async with wire(site.origin) as (reader, writer):
        writer.write(request(idp.token))
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"GET /scim/v2/Us")
        heard = await hear(reader, HEADER_TIMEOUT_S + 5)
    assert heard.was_closed


@pytest.mark.row(1)
async def test_a_body_that_drips_is_408(site: Service, idp: Idp) -> None:
    async with wire(site.origin) as (reader, writer):
        writer.write(request(idp.token, "POST", "/scim/v2/Users", JSON, "Content-Length: 1000"))
        answer = asyncio.ensure_future(hear(reader, BODY_TIMEOUT_S + 5))
        while not answer.done():
            writer.write(b" ")
            await asyncio.wait([answer], timeout=0.2)
    assert (await answer).statuses == [408]


@pytest.mark.row(1)
async def test_slow_clients_do_not_slow_the_others(
    site: Service, idp: Idp, record_property: pytest.FixtureRequest
) -> None:
    """500 half-open requests at a time, and beside them one identity provider at work."""
    halves = [
        await asyncio.open_connection("127.0.0.1", int(site.origin.rpartition(":")[2])) for _ in range(SLOW_CLIENTS)
    ]
    for number, (_, writer) in enumerate(halves):
        writer.write(
            (b"", b"GET /scim", request(idp.token, "POST", "/scim/v2/Users", JSON, "Content-Length: 9"))[number % 3]
        )
    took = []
    for _ in range(100):
        began = time.perf_counter()
        await asyncio.to_thread(idp.get, "/Users?count=1")
        took.append(time.perf_counter() - began)
    for _, writer in halves:
        writer.close()
    took.sort()
    record_property("figure", f"p99 beside {SLOW_CLIENTS} slow clients: {took[98] * 1000:.0f} ms")  # type: ignore[operator]
    assert took[98] < P99_S


BIG = b'{"userName":"' + b"a" * MIB + b'"}'


@pytest.mark.row(2)
async def test_a_body_above_the_limit_is_413_by_its_length(site: Service, idp: Idp) -> None:
    assert (await status_of(idp, site, JSON, f"Content-Length: {len(BIG)}")).statuses == [413]


@pytest.mark.row(2)
async def test_a_body_above_the_limit_is_413_by_chunks(site: Service, idp: Idp) -> None:
    chunks = b"".join(
        b"10000\r\n" + BIG[at : at + 0x10000].ljust(0x10000) + b"\r\n" for at in range(0, len(BIG), 0x10000)
    )
    heard = await status_of(idp, site, JSON, "Transfer-Encoding: chunked", body=chunks + b"0\r\n\r\n")
    assert heard.statuses == [413]
    assert heard.error["detail"]


@pytest.mark.row(2)
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x-unknown"])
async def test_a_compressed_body_is_not_unpacked(site: Service, idp: Idp, encoding: str) -> None:
    bomb = gzip.compress(b" " * (50 * MIB))
    heard = await status_of(idp, site, JSON, f"Content-Encoding: {encoding}", f"Content-Length: {len(bomb)}", body=bomb)
    assert heard.statuses == [415]


@pytest.mark.row(2)
async def test_a_bulk_above_the_limit_is_413(site: Service, idp: Idp) -> None:
    head = request(idp.token, "POST", "/scim/v2/Bulk", JSON, f"Content-Length: {2 * MIB + 1}", "Connection: close")
    assert (await say(site.origin, head)).statuses == [413]


# What one server may read in another way than the proxy in front of it: request smuggling (CWE-444).
SMUGGLED = {
    "length, chunks": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "a list of lengths": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4, 5\r\n\r\nabcde",
    "a signed length": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +4\r\n\r\nabcd",
    "a hex length": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x4\r\n\r\nabcd",
    "bare LF": "GET / HTTP/1.1\nHost: x\n\n",
    "bare LF in a header": "GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
    "bare CR": "GET / HTTP/1.1\r\nHost: x\rX: y\r\n\r\n",
    "obs-fold": "GET / HTTP/1.1\r\nHost: x\r\nX: y\r\n z\r\n\r\n",
    "two hosts": "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "no host": "GET / HTTP/1.1\r\n\r\n",
    "another host in the target": "GET http://other.test/scim/v2/Users HTTP/1.1\r\nHost: x\r\n\r\n",
    "a blank before the colon": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 4\r\n\r\nabcd",
    "chunked twice": "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a chunk that is no number": "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "NUL in a header": "GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
    "HTTP/0.9": "GET /\r\n\r\n",
    "HTTP/3.0": "GET / HTTP/3.0\r\nHost: x\r\n\r\n",
}


@pytest.mark.row(7)
@pytest.mark.parametrize("sent", SMUGGLED.values(), ids=SMUGGLED.keys())
async def test_what_could_be_read_in_two_ways_is_refused(site: Service, sent: str) -> None:
    # The second request is what an attacker would smuggle: it must never be answered.
    heard = await say(
        site.origin, sent.encode() + b"GET /scim/v2/ServiceProviderConfig HTTP/1.1\r\nHost: x\r\n\r\n", limit_s=5
    )
    assert heard.was_closed
    assert heard.statuses == [400]
    assert heard.error["detail"]
    assert b"other.test" not in heard.raw


@pytest.mark.row(19)
@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/scim/v2/Users", 200),
        ("GET", "/scim/v2/Users/1", 404),
        ("GET", "/scim/v2/ServiceProviderConfig", 200),
        ("POST", "/scim/v2/Users", 400),
        ("GET", "/nowhere", 404),
        ("TRACE", "/scim/v2/Users", 405),
    ],
)
async def test_every_answer_has_the_security_headers(
    site: Service, idp: Idp, method: str, target: str, status: int
) -> None:
    sent = request(idp.token, method, target, JSON, "Content-Length: 0", "Connection: close")
    heard = await say(site.origin, sent)
    head = heard.raw.partition(b"\r\n\r\n")[0].decode().lower()
    assert heard.statuses == [status]
    for header in ("cache-control: no-store", "x-content-type-options: nosniff", "referrer-policy: no-referrer"):
        assert header in head, head
    assert "x-request-id: " in head
    for banner in ("\r\nserver:", "x-powered-by", "aiohttp", "python", "set-cookie"):
        assert banner not in head

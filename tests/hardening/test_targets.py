"""Row 29: a target app that means harm: its job fails with a clean text, in bounded time and memory, and nobody else's.

What it may say in correct HTTP stands in tests/web/test_scim_connector_faults.py; here it is bytes.
"""

import asyncio
import threading
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest

from tests.conformance.client import Idp
from tests.conformance.service import ADMIN, Service
from tests.fixtures.scim_target import TOKEN, ScimTargetApp
from tests.hardening.calls import call
from tests.hardening.sockets import until
from tests.hardening.test_scim import resident_kib
from tests.web.test_scim_connector import connected, user
from workers.connectors.base import TargetError

Record = Callable[[str, object], None]
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
MIB = 1024 * 1024
GIB = 1024 * MIB
TIME_S = 1.0
# The connector reads at most 8 MiB of an answer; parsed, and with the allocator's slack, that is not much more.
GROWTH_KIB = 64 * 1024
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/scim+json\r\n"


def plain(*pieces: bytes) -> Answer:
    """Say these, and hang up."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return answer


def body(text: bytes, head: bytes = HEAD) -> Answer:
    return plain(head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(text), text)


async def silence(_writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


def endless(head: bytes, piece: bytes, total: int = GIB) -> Answer:
    """Send ``piece`` over and over, until it is ``total`` bytes or nobody listens."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        for _ in range(total // len(piece)):
            writer.write(piece)
            await writer.drain()

    return answer


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Content-Length: 1000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def reset(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def reset_in_the_middle(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b'Content-Length: 1000\r\n\r\n{"Resources":[')
    await writer.drain()
    writer.transport.abort()


def bomb() -> bytes:
    """Return gzip of a MiB of blanks that may be repeated: it ends with a full flush."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(b" " * MIB) + packer.flush(zlib.Z_FULL_FLUSH)


GZIP_HEADER = b"\x1f\x8b\x08" + bytes(7)
PACKED = bomb()
CHUNK = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
ATTACKS: dict[str, Answer] = {
    "a length of 1 GB": endless(HEAD + b"Content-Length: %d\r\n\r\n" % GIB, b" " * 65536),
    "chunks without end": endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", CHUNK),
    "until the connection ends": endless(HEAD + b"Connection: close\r\n\r\n", b" " * 65536),
    "a gzip bomb, unasked for": endless(
        HEAD + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n" + GZIP_HEADER, PACKED, 1024 * len(PACKED)
    ),
    "one byte at a time": drip,
    "headers without end": endless(HEAD, b"X-Padding: " + b"x" * 4000 + b"\r\n"),
    "one header without end": endless(HEAD + b"X-Padding: ", b"x" * 65536),
    "a status line without end": endless(b"HTTP/1.1 200 ", b"x" * 65536),
    "interim answers without end": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a chunk's extension without end": endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;", b"x" * 65536),
    "a trailer without end": endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"x" * 65536),
    "no answer": silence,
    "nothing, and goodbye": plain(),
    "a reset": reset,
    "a reset in the middle": reset_in_the_middle,
    "another protocol": plain(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "another protocol, switched to": plain(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
    ),
    "two lengths": plain(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}}"),
    "a negative length": plain(HEAD + b"Content-Length: -1\r\n\r\n{}"),
    "half a body": plain(HEAD + b"Content-Length: 100\r\nConnection: close\r\n\r\n{}"),
    "broken JSON": body(b'{"Resources": ['),
    "deep JSON": body(b"[" * MIB),
    "deep JSON that is whole": body(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "a number without end": body(b'{"totalResults":' + b"9" * MIB + b"}"),
    "no UTF-8": body(b'{"Resources":["\xff\xfe"]}'),
    "a list": body(b"[]"),
    "nothing at all": body(b""),
    "HTML and 200": body(b"<html>Sign in</html>", b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"),
    "a redirect inside": plain(b"HTTP/1.1 307 x\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"),
    "a redirect to a file": plain(b"HTTP/1.1 302 x\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n"),
    "wrong types": body(b'{"totalResults":"many","Resources":{"id":1},"itemsPerPage":[]}'),
    "resources that are none": body(b'{"totalResults":3,"Resources":[null,7,"x"]}'),
    "come back in a million years": plain(
        b"HTTP/1.1 429 x\r\nRetry-After: 99999999999999999999\r\nContent-Length: 0\r\n\r\n"
    ),
    "a date that is none": plain(b"HTTP/1.1 503 x\r\nRetry-After: Fri, 99 Foo 0000\r\nContent-Length: 0\r\n\r\n"),
}


@asynccontextmanager
async def target(answer: Answer) -> AsyncIterator[str]:
    """Listen, and give ``answer`` to each request; gives the URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await reader.readuntil(b"\r\n\r\n")
            await answer(writer)
        writer.close()

    # Those who still wait for something are cancelled with the test's loop.
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def peak_kib(*, begin: bool = False) -> int:
    """Return the most memory that this process has had since it last began to count."""
    if begin:
        Path("/proc/self/clear_refs").write_text("5")
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise AssertionError("no high-water mark")


@pytest.mark.row(29)
@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_malicious_answer_is_a_clean_failure(attack: str, record_property: Record) -> None:
    before, began = peak_kib(begin=True), time.monotonic()
    async with target(ATTACKS[attack]) as url:
        with pytest.raises(TargetError) as failed:
            async with asyncio.timeout(20), connected(url, timeout_s=TIME_S) as run:
                await run.converge(user())
    grown = peak_kib() - before
    text = str(failed.value)
    assert 0 < len(text) <= 500
    assert text.isprintable(), text
    assert grown < GROWTH_KIB
    if grown > GROWTH_KIB // 4:
        record_property("figure", f"{attack}: {grown // 1024} MiB, {time.monotonic() - began:.1f} s")


class Malice:
    """A target on a thread of its own that answers each request with the next attack."""

    def __init__(self) -> None:
        self.url, self.served = "", 0
        self._loop, self._ready = asyncio.new_event_loop(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Malice":
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/scim"
        self._ready.set()
        self._loop.run_forever()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        attacks = list(ATTACKS.values())
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await reader.readuntil(b"\r\n\r\n")
            self.served += 1
            await attacks[self.served % len(attacks)](writer)
        writer.close()


@pytest.mark.row(29)
@pytest.mark.harden
def test_a_worker_outlives_them_all_and_serves_the_others(
    site: Service,
    worker: str,
    new_idp: Callable[[], Idp],
    scim_server: str,
    record_property: Record,
) -> None:
    attacked, neighbour = new_idp(), new_idp()
    good = [ScimTargetApp(f"{scim_server}/t{uuid4().hex[:12]}/v2", TOKEN) for _ in range(2)]
    pid = site.pid_of(worker)
    before = resident_kib(pid)
    with grpc.insecure_channel(site.control_plane) as channel, Malice() as malice:
        evil = attached(channel, attacked, malice.url, "never-to-be-seen")
        attached(channel, neighbour, good[1].url, TOKEN)
        names = {attacked.user()["userName"] for _ in range(len(ATTACKS))}
        until(lambda: malice.served >= len(ATTACKS), limit_s=60)
        # Meanwhile the same worker does its work for another tenant.
        took = until_arrived(good[1], {neighbour.user()["userName"]})
        grown = resident_kib(pid) - before
        status = asked(channel, "GetTargetStatus", {"tenantId": attacked.tenant, "id": evil})
        assert status.pending == status.total == len(names)
        assert status.failing > 0
        assert status.last_error.isprintable()
        assert "never-to-be-seen" not in status.last_error
        mended = {
            "tenantId": attacked.tenant,
            "id": evil,
            "scim": {"baseUrl": good[0].url, "bearerToken": TOKEN},
            "updateMask": "scim.baseUrl,scim.bearerToken",
        }
        asked(channel, "UpdateTarget", mended)
        until_arrived(good[0], names)
    assert site.is_running(worker)
    assert "never-to-be-seen" not in site.log_of(worker)
    record_property("figure", f"worker grown by {grown // 1024} MiB; a neighbour's user arrived after {took:.1f} s")
    assert grown < 3 * GROWTH_KIB


def attached(channel: grpc.Channel, idp: Idp, url: str, secret: str) -> str:
    """Give a tenant an active target and return its id."""
    scim = {"baseUrl": url, "bearerToken": secret}
    made = asked(channel, "CreateTarget", {"tenantId": idp.tenant, "displayName": "app", "scim": scim}).target.id
    asked(channel, "ActivateTarget", {"tenantId": idp.tenant, "id": made})
    return str(made)


def asked(channel: grpc.Channel, name: str, request: dict[str, Any]) -> Any:
    said = call(channel, f"/muster.tenancy.v1.TargetService/{name}", ADMIN, request)
    assert said.code is grpc.StatusCode.OK, said
    return said.response


def until_arrived(app: ScimTargetApp, names: set[str]) -> float:
    return until(lambda: names <= {one["userName"] for one in app.users()}, limit_s=30)

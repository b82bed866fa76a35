"""Plain TCP to a gateway: bytes as they are, until it hangs up."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson

Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]
LIMIT_S = 20.0


@dataclass(frozen=True)
class Heard:
    """What came back on a connection."""

    raw: bytes
    was_closed: bool

    @property
    def statuses(self) -> list[int]:
        """The status of each answer, in order."""
        return [int(one) for one in re.findall(rb"HTTP/1[.][01] ([0-9]{3}) ", self.raw)]

    @property
    def error(self) -> dict[str, str]:
        """The body of the only answer, which must be a SCIM error without a banner."""
        head, _, body = self.raw.partition(b"\r\n\r\n")
        assert b"application/scim+json" in head, head
        assert b"\r\nserver:" not in head.lower()
        error: dict[str, str] = orjson.loads(body)
        assert error["status"] == str(self.statuses[0])
        return error


@asynccontextmanager
async def wire(origin: str) -> AsyncIterator[Wire]:
    """Open a connection."""
    place = urlsplit(origin)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def hear(reader: asyncio.StreamReader, limit_s: float = LIMIT_S) -> Heard:
    """Read until the other end closes, for at most ``limit_s`` seconds."""
    raw = b""
    try:
        async with asyncio.timeout(limit_s):
            with contextlib.suppress(ConnectionResetError):
                while piece := await reader.read(65536):
                    raw += piece
            return Heard(raw, was_closed=True)
    except TimeoutError:
        return Heard(raw, was_closed=False)


async def say(origin: str, *pieces: bytes, limit_s: float = LIMIT_S) -> Heard:
    """Send ``pieces`` on a new connection and return what came back until it was closed."""
    async with wire(origin) as (reader, writer):
        for piece in pieces:
            writer.write(piece)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
        return await hear(reader, limit_s)


def request(token: str, method: str = "GET", target: str = "/scim/v2/Users", *headers: str, body: bytes = b"") -> bytes:
    """Return a request; ``headers`` as written, Host and token added, nothing else."""
    lines = [f"{method} {target} HTTP/1.1", "Host: muster.test", f"Authorization: Bearer {token}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def until(check: Callable[[], bool], limit_s: float = 5.0) -> float:
    """Ask until it is so, within ``limit_s``; return how long it took."""
    began = time.monotonic()
    while not check():
        assert time.monotonic() - began < limit_s, "it did not come to that in time"
    return time.monotonic() - began

"""The load generator: HTTP/1.1 over keep-alive connections, in a process of its own.

It knows nothing of SCIM, so that baseline and subject are measured by the very same client. Requests are bytes made
before the clock runs; a connection sends the next one when it has the whole answer to the last. An answer other than
2xx fails the run: refusals are fast, and would look like speed.
"""

import asyncio
import subprocess
import sys
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import orjson
import uvloop

from tests.bench.errors import BenchError

# After the last request should have been sent: how long the answers to those under way may take.
GRACE_S = 30.0
KEY_DIGITS = 12
SHOWN_BYTES = 600


@dataclass(frozen=True, slots=True)
class Load:
    """What to send: for ``seconds``, after ``warm_up_s`` that do not count, or ``requests`` times.

    Each of ``templates`` is one request cut where its key belongs: the parts are joined by a number that no other
    request has. One part alone is a request that is the same each time. They are sent in turn.
    """

    port: int
    connections: int
    templates: Sequence[Sequence[bytes]] = field(repr=False)
    seconds: float = 0.0
    warm_up_s: float = 0.0
    requests: int = 0
    first_key: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of a load: ``requests`` answered in ``seconds``, and how long one took."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    statuses: dict[str, int]
    next_key: int

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return self.requests / self.seconds


def measure(load: Load) -> Measured:
    """Run ``load`` in a new process; BenchError if any answer was not 2xx."""
    command = [sys.executable, "-m", "tests.bench.http_load"]
    limit_s = load.warm_up_s + load.seconds + load.requests / 50 + 2 * GRACE_S
    done = subprocess.run(command, input=_encode(load), capture_output=True, timeout=limit_s, check=False)
    if done.returncode != 0:
        raise BenchError(f"load generator: {done.stderr.decode(errors='replace').strip()}")
    return Measured(**orjson.loads(done.stdout))


def answer_end(data: bytes) -> tuple[int, int] | None:
    """Return the status and the length of the HTTP answer at the start of ``data``; None if it is not complete."""
    head_end = data.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    status, body_start = int(data[9:12]), head_end + 4
    head = data[:head_end].lower()
    if status == 204:
        return status, body_start
    if (at := head.find(b"\r\ncontent-length:")) >= 0:
        end = body_start + int(head[at + 17 :].split(b"\r\n", 1)[0])
        return (status, end) if len(data) >= end else None
    if b"\r\ntransfer-encoding: chunked" in head:
        # JSON never has a line break of this form inside, so this can only be the last chunk.
        end = data.find(b"\r\n0\r\n\r\n", head_end + 2)
        return (status, end + 7) if end >= 0 else None
    raise BenchError(f"an answer of unknown length: {data[:SHOWN_BYTES]!r}")


class _Run:
    """The requests still to be sent, and what came of the others."""

    def __init__(self, load: Load) -> None:
        self._templates, self._key, self._left = load.templates, load.first_key, load.requests
        self.began = time.perf_counter()
        self._counts_from = self.began + load.warm_up_s
        self._until = self._counts_from + load.seconds if load.seconds else float("inf")
        self._latencies = array("d")
        self._statuses: Counter[str] = Counter()
        self.failure: str | None = None

    def next(self) -> bytes | None:
        """Return the next request, None when there is none left."""
        if self.failure is not None or time.perf_counter() >= self._until:
            return None
        if self._until == float("inf"):
            if self._left == 0:
                return None
            self._left -= 1
        parts = self._templates[self._key % len(self._templates)]
        self._key += 1
        return (b"%0*d" % (KEY_DIGITS, self._key)).join(parts)

    def answered(self, status: int, sent: float, answer: bytes) -> None:
        """Note one answer."""
        if not 200 <= status < 300:
            self.failure = self.failure or answer[:SHOWN_BYTES].decode(errors="replace")
        now = time.perf_counter()
        if self._counts_from <= now <= self._until:
            self._latencies.append(now - sent)
            self._statuses[str(status)] += 1

    def measured(self) -> Measured:
        """Return the figures."""
        end = min(time.perf_counter(), self._until)
        ordered = sorted(self._latencies)
        if not ordered:
            raise BenchError("no request was answered in time")
        return Measured(
            requests=len(ordered),
            seconds=end - self._counts_from,
            p50_ms=1000 * ordered[len(ordered) // 2],
            p99_ms=1000 * ordered[min(len(ordered) * 99 // 100, len(ordered) - 1)],
            statuses=dict(self._statuses),
            next_key=self._key,
        )


class _Connection(asyncio.Protocol):
    """One connection, with one request under way at a time."""

    def __init__(self, run: _Run) -> None:
        self._run, self._buffer, self._sent = run, b"", 0.0
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods, but not the class.
        self._transport = cast("asyncio.WriteTransport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            found = answer_end(self._buffer)
        except (BenchError, ValueError) as err:
            self._run.failure, found = str(err), None
            self._transport.close()
        if found is None:
            return
        status, end = found
        self._run.answered(status, self._sent, self._buffer)
        self._buffer = self._buffer[end:]
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.finished.done():
            self._run.failure = self._run.failure or f"the server closed a connection ({exc})"
            self.finished.set_result(None)

    def _send(self) -> None:
        request = self._run.next()
        if request is None:
            self.finished.set_result(None)
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(request)


async def _run(load: Load) -> Measured:
    run, loop = _Run(load), asyncio.get_running_loop()
    limit_s = load.warm_up_s + load.seconds + GRACE_S if load.seconds else load.requests / 50 + GRACE_S
    async with asyncio.timeout(limit_s):
        opened = [
            await loop.create_connection(lambda: _Connection(run), "127.0.0.1", load.port)
            for _ in range(load.connections)
        ]
        await asyncio.gather(*(connection.finished for _, connection in opened))
    if run.failure is not None:
        raise BenchError(run.failure)
    return run.measured()


def _encode(load: Load) -> bytes:
    # JSON has no bytes; latin-1 maps each byte to one character and back.
    templates = [[part.decode("latin-1") for part in parts] for parts in load.templates]
    return orjson.dumps(
        {
            "port": load.port,
            "connections": load.connections,
            "seconds": load.seconds,
            "warm_up_s": load.warm_up_s,
            "requests": load.requests,
            "first_key": load.first_key,
            "templates": templates,
        }
    )


def _decode(text: bytes) -> Load:
    fields = orjson.loads(text)
    templates = [[part.encode("latin-1") for part in parts] for parts in fields.pop("templates")]
    return Load(templates=templates, **fields)


def main() -> None:
    """Read a load from standard input, run it, write what was measured to standard output."""
    load = _decode(sys.stdin.buffer.read())
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            measured = runner.run(_run(load))
    except (BenchError, OSError, TimeoutError) as err:
        sys.exit(f"{type(err).__name__}: {err}")
    sys.stdout.buffer.write(orjson.dumps(measured))


if __name__ == "__main__":
    main()

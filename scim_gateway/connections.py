"""Connections with deadlines: aiohttp has none for headers, nor for answers that nobody reads.

This file leans on aiohttp internals (``RequestHandler``'s idle waiter and request count, ``Server``'s connections,
``AppRunner._make_server``): requirements are locked, and tests/web/test_gateway_connections.py tries each rule with a
raw socket.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import StreamReader, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_server import Server

from control_plane.runtime.context import accept_request_id
from control_plane.runtime.logs import get_logger
from control_plane.scim.errors import BadRequest, ScimError, ServiceUnavailable
from scim_gateway.edge import dress
from scim_gateway.errors import (
    SCIM_JSON,
    HeadersTooLarge,
    RequestTimeout,
    TargetTooLong,
    error_bytes,
    error_response,
)
from scim_gateway.forwarded import Proxies, source_of
from scim_gateway.metrics import GatewayMetrics

log = get_logger(__name__)

# The route label of what never became a request.
BAD_HTTP = "bad_http"
PHRASES = {408: "Request Timeout", 503: "Service Unavailable"}


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What one connection, and all together, may do."""

    max_connections: int
    max_per_source: int
    max_line_bytes: int
    header_timeout_s: float
    write_timeout_s: float


@dataclass(frozen=True, slots=True)
class Edge:
    """What holds for connections: their limits, who is exempt from that per source, the headers of every answer."""

    limits: ConnectionLimits
    proxies: Proxies
    headers: Mapping[str, str]


class _BareResponse(web.Response):
    """A response without aiohttp's version banner, for requests so broken that no signal runs for them."""

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self._headers.popall(hdrs.SERVER, None)


class GuardedConnection(RequestHandler):
    """One connection: a deadline for each request's headers, another for each answer to be read."""

    __slots__ = ("_body", "_guard", "_header_deadline", "_saw_bytes", "_source", "_write_deadline")

    def __init__(self, guard: "GuardedServer", *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(guard, loop=loop, **options)
        self._guard = guard
        self._saw_bytes = False
        # Of the last request whose headers are read: bytes after its end are the next one's.
        self._body: StreamReader | None = None
        self._source: str | None = None  # whose connection it counts as, while it does
        self._header_deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, unless there are too many."""
        if self._guard.is_full:
            self._turn_away(cast("asyncio.Transport", transport), "too many connections, try again later")
            return
        self._source = self._guard.count(_peer(transport))
        if self._source is None:
            self._turn_away(cast("asyncio.Transport", transport), "too many connections from this address")
            return
        super().connection_made(transport)
        self._arm_headers()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop the clocks."""
        self._disarm_headers()
        self._disarm_write()
        if self._source is not None:
            self._guard.discount(self._source)
            self._source = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; the clock stops with a request's last header and starts with the next request's first byte."""
        before, is_head = self._request_count, self._body is None or self._body.is_eof()
        super().data_received(data)
        if self._request_count > before:
            self._body = self._messages[-1][1]
            self._disarm_headers()
        elif data and is_head:
            # Also while the request before is at work: its answer would else be followed by no deadline at all.
            self._saw_bytes = True
            self._arm_headers()

    def pause_writing(self) -> None:
        """The client does not read: it has until the deadline."""
        super().pause_writing()
        self._write_deadline = self._loop.call_later(self._guard.limits.write_timeout_s, self._cut)

    def resume_writing(self) -> None:
        """The client reads again."""
        self._disarm_write()
        super().resume_writing()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the SCIM error for what the parser refused, or for what broke outside the middlewares."""
        if isinstance(exc, ConnectionError) or request.writer.output_size > 0:
            # Nobody is there to be told, or half an answer is out: the connection ends, visibly unfinished.
            raise ConnectionResetError("the answer broke off") from exc
        reference = accept_request_id(None)
        refusal = self._refusal(exc) if status < 500 else exc if isinstance(exc, Exception) else RuntimeError()
        if status >= 500:
            log.error("request failed outside the middlewares", exc_info=exc)
        plain = error_response(refusal)
        response = _BareResponse(status=plain.status, body=plain.body, headers=plain.headers)
        response.headers["X-Request-Id"] = reference
        dress(response, self._guard.edge.headers)
        response.force_close()
        self._guard.metrics.answered(BAD_HTTP, "other", response.status, 0.0)
        log.info("request", route=BAD_HTTP, code=response.status)
        return response

    def _refusal(self, exc: BaseException | None) -> ScimError:
        """Name what is wrong without repeating the bytes that were."""
        if isinstance(exc, LineTooLong):
            if exc.args[1] == self._guard.limits.max_line_bytes:
                return TargetTooLong("the request target is too long")
            return HeadersTooLarge("a header field is too long")
        if isinstance(exc, HttpProcessingError) and exc.message.startswith("Too many headers"):
            return HeadersTooLarge("there are too many header fields")
        return BadRequest("this is not a well-formed HTTP request")

    def _is_idle(self) -> bool:
        waiter = self._waiter
        return waiter is not None and not waiter.done()

    def _arm_headers(self) -> None:
        if self._header_deadline is None:
            self._header_deadline = self._loop.call_later(self._guard.limits.header_timeout_s, self._headers_late)

    def _disarm_headers(self) -> None:
        self._saw_bytes = False
        if self._header_deadline is not None:
            self._header_deadline.cancel()
            self._header_deadline = None

    def _disarm_write(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None

    def _headers_late(self) -> None:
        self._header_deadline = None
        if self._request_count and not self._is_idle():
            # The request before is still at work: its answer must not be broken into.
            self._arm_headers()
            return
        if self.transport is not None and self._saw_bytes:
            self.transport.write(
                _raw(self._guard.edge.headers, RequestTimeout("the request's headers did not arrive in time"))
            )
        self._guard.metrics.answered(BAD_HTTP, "other", 408, self._guard.limits.header_timeout_s)
        self.force_close()

    def _cut(self) -> None:
        self._write_deadline = None
        if self.transport is not None:
            log.warning("answer left unread", limit_s=self._guard.limits.write_timeout_s)
            self.transport.abort()

    def _turn_away(self, transport: asyncio.Transport, why: str) -> None:
        self._force_close = True  # whatever it sends is not parsed
        transport.write(_raw({**self._guard.edge.headers, hdrs.RETRY_AFTER: "1"}, ServiceUnavailable(why)))
        transport.close()
        self._guard.metrics.answered(BAD_HTTP, "other", 503, 0.0)


class GuardedServer(Server):
    """aiohttp's protocol factory, with guarded connections and a limit on their number."""

    def __init__(self, plain: Server, edge: Edge, metrics: GatewayMetrics) -> None:
        super().__init__(plain.request_handler, request_factory=plain.request_factory, loop=plain._loop)
        self.edge, self.limits, self.metrics = edge, edge.limits, metrics
        self._open: Counter[str] = Counter()
        self._options = plain._kwargs

    @property
    def is_full(self) -> bool:
        """Whether no further connection is taken."""
        return len(self._connections) >= self.limits.max_connections

    def count(self, peer: str) -> str | None:
        """Count one more connection and return whose it is; None if that source has as many as it may."""
        source = source_of(peer)
        if self._open[source] >= self.limits.max_per_source and not self.edge.proxies.is_trusted(peer):
            return None
        self._open[source] += 1
        return source

    def discount(self, source: str) -> None:
        """Count one less."""
        self._open[source] -= 1
        if not self._open[source]:
            del self._open[source]

    def __call__(self) -> GuardedConnection:
        """Return the protocol of a new connection."""
        return GuardedConnection(self, loop=self._loop, **self._options)


class GuardedRunner(web.AppRunner):
    """An AppRunner whose server is guarded."""

    __slots__ = ("_edge", "_metrics")

    def __init__(self, app: web.Application, edge: Edge, metrics: GatewayMetrics, **options: Any) -> None:
        super().__init__(app, max_line_size=edge.limits.max_line_bytes, **options)
        self._edge, self._metrics = edge, metrics

    async def _make_server(self) -> Server:
        return GuardedServer(await super()._make_server(), self._edge, self._metrics)


def _peer(transport: asyncio.BaseTransport) -> str:
    """Return the address at the other end; "" on a socket without addresses."""
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else ""


def _raw(headers: Mapping[str, str], refusal: ScimError) -> bytes:
    """Return a whole answer for a connection that has no request to answer."""
    body = error_bytes(refusal)
    lines = [
        f"HTTP/1.1 {refusal.status} {PHRASES[refusal.status]}",
        f"Content-Type: {SCIM_JSON}",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
        "Connection: close",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

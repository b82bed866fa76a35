"""Connections with deadlines: aiohttp has none for headers, nor for answers that nobody reads.

This file leans on aiohttp internals (``RequestHandler``'s idle waiter and request count, ``Server``'s connections,
``AppRunner._make_server``): requirements are locked, and tests/web/test_gateway_connections.py tries each rule with a
raw socket.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_server import Server

from control_plane.runtime.context import accept_request_id
from control_plane.runtime.logs import get_logger
from control_plane.scim.errors import BadRequest, ScimError, ServiceUnavailable
from scim_gateway.errors import HeadersTooLarge, RequestTimeout, TargetTooLong, error_bytes, error_response
from scim_gateway.metrics import GatewayMetrics

log = get_logger(__name__)

# The route label of what never became a request.
BAD_HTTP = "bad_http"
PHRASES = {408: "Request Timeout", 503: "Service Unavailable"}


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What one connection, and all together, may do."""

    max_connections: int
    max_line_bytes: int
    header_timeout_s: float
    write_timeout_s: float


class _BareResponse(web.Response):
    """A response without aiohttp's version banner, for requests so broken that no signal runs for them."""

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self._headers.popall(hdrs.SERVER, None)


class GuardedConnection(RequestHandler):
    """One connection: a deadline for each request's headers, another for each answer to be read."""

    __slots__ = ("_guard", "_header_deadline", "_saw_bytes", "_write_deadline")

    def __init__(self, guard: "GuardedServer", *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(guard, loop=loop, **options)
        self._guard = guard
        self._saw_bytes = False
        self._header_deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, unless there are too many."""
        if self._guard.is_full:
            self._turn_away(cast("asyncio.Transport", transport))
            return
        super().connection_made(transport)
        self._arm_headers()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop the clocks."""
        self._disarm_headers()
        self._disarm_write()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; the clock stops with a request's last header and starts with the next request's first byte."""
        before = self._request_count
        super().data_received(data)
        if self._request_count > before:
            self._disarm_headers()
        elif data and (self._header_deadline is not None or self._is_idle()):
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
        response.headers[hdrs.CACHE_CONTROL] = "no-store"
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
        if self.transport is not None and self._saw_bytes:
            self.transport.write(_raw(RequestTimeout("the request's headers did not arrive in time")))
        self._guard.metrics.answered(BAD_HTTP, "other", 408, self._guard.limits.header_timeout_s)
        self.force_close()

    def _cut(self) -> None:
        self._write_deadline = None
        if self.transport is not None:
            log.warning("answer left unread", limit_s=self._guard.limits.write_timeout_s)
            self.transport.abort()

    def _turn_away(self, transport: asyncio.Transport) -> None:
        self._force_close = True  # whatever it sends is not parsed
        transport.write(_raw(ServiceUnavailable("too many connections, try again later"), "Retry-After: 1\r\n"))
        transport.close()
        self._guard.metrics.answered(BAD_HTTP, "other", 503, 0.0)


class GuardedServer(Server):
    """aiohttp's protocol factory, with guarded connections and a limit on their number."""

    def __init__(self, plain: Server, limits: ConnectionLimits, metrics: GatewayMetrics) -> None:
        super().__init__(plain.request_handler, request_factory=plain.request_factory, loop=plain._loop)
        self.limits, self.metrics = limits, metrics
        self._options = plain._kwargs

    @property
    def is_full(self) -> bool:
        """Whether no further connection is taken."""
        return len(self._connections) >= self.limits.max_connections

    def __call__(self) -> GuardedConnection:
        """Return the protocol of a new connection."""
        return GuardedConnection(self, loop=self._loop, **self._options)


class GuardedRunner(web.AppRunner):
    """An AppRunner whose server is guarded."""

    __slots__ = ("_limits", "_metrics")

    def __init__(self, app: web.Application, limits: ConnectionLimits, metrics: GatewayMetrics, **options: Any) -> None:
        super().__init__(app, max_line_size=limits.max_line_bytes, **options)
        self._limits, self._metrics = limits, metrics

    async def _make_server(self) -> Server:
        return GuardedServer(await super()._make_server(), self._limits, self._metrics)


def _raw(refusal: ScimError, more: str = "") -> bytes:
    """Return a whole answer for a connection that has no request to answer."""
    body = error_bytes(refusal)
    head = (
        f"HTTP/1.1 {refusal.status} {PHRASES[refusal.status]}\r\n"
        f"Content-Type: application/scim+json; charset=utf-8\r\n{more}"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body

"""Outermost: the request id, one log line and the metrics of each request, and the headers of every answer."""

import asyncio
import time
from collections.abc import Mapping

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from control_plane.runtime.context import REQUEST_ID_HEADER, accept_request_id, begin_trace
from control_plane.runtime.log_limit import LogLimit
from control_plane.runtime.logs import get_logger
from scim_gateway.edge import dress
from scim_gateway.metrics import GatewayMetrics
from scim_gateway.requests import CALLER

log = get_logger(__name__)

REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
_UNKNOWN = "unknown"
# nginx's number for "the client went away before the answer"; never sent.
CLIENT_GONE = 499


class Observer:
    """Sees every request that the HTTP parser accepted."""

    def __init__(self, metrics: GatewayMetrics, headers: Mapping[str, str]) -> None:
        """``headers`` are those of every answer (edge.py)."""
        self.metrics, self._headers = metrics, headers
        self.inflight = 0
        self.is_stopping = False
        self._unknown_lines = LogLimit(log, "requests without a good token left out")
        self._idle = asyncio.Event()
        self._idle.set()

    @web.middleware
    async def observe(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Give the request its id, count it, and write one line when it is answered."""
        given = request.headers.get(REQUEST_ID_HEADER)
        # gRPC metadata carries ASCII only.
        request[REQUEST_ID] = accept_request_id(given if given and given.isascii() else None)
        # What the public says in "traceparent" decides neither how our traces look nor which are kept.
        trace = begin_trace()
        started_at = time.perf_counter()
        code = CLIENT_GONE
        self._count(+1)
        try:
            response = await handler(request)
            code = response.status
            if self.is_stopping or (hdrs.EXPECT in request.headers and not request.content.at_eof()):
                # A client that was promised "100 Continue" and did not get it may send the body or not:
                # what comes next on this connection would be ambiguous.
                response.force_close()
            return response
        finally:
            self._count(-1)
            duration_s = time.perf_counter() - started_at
            route = route_of(request)
            self.metrics.answered(route, request.method, code, duration_s)
            caller = request.get(CALLER)
            if caller is not None or self._unknown_lines.allows():
                log.info(
                    "request",
                    route=route,
                    method=request.method,
                    code=code,
                    duration_ms=round(duration_s * 1000, 2),
                    trace_id=trace,
                    tenant=caller.tenant_id if caller else _UNKNOWN,
                    key_id=caller.key_id if caller else "",
                )

    async def set_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Set the headers that every answer has, and take off the version banner."""
        response.headers[REQUEST_ID_HEADER] = request.get(REQUEST_ID, "")
        dress(response, self._headers)

    async def wait_until_idle(self, limit_s: float) -> bool:
        """Wait until no request is at work, at most ``limit_s``; return whether it came to that."""
        try:
            async with asyncio.timeout(limit_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def _count(self, change: int) -> None:
        self.inflight += change
        self.metrics.inflight.inc(change)
        if self.inflight:
            self._idle.clear()
        else:
            self._idle.set()


def route_of(request: web.Request) -> str:
    """Return the route's template, never the path: a label must have few values."""
    resource = request.match_info.route.resource
    return resource.canonical.rstrip("/") if resource is not None else "unknown"

"""Outermost: gives each call its request id and sends it back. And what to believe of a trace."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from control_plane.api.interceptors.wrapping import AroundInterceptor, Context
from control_plane.runtime.context import REQUEST_ID_HEADER, accept_request_id

# W3C Trace Context, section 3.2: of a later version the first four fields count.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_VERSION_0_LENGTH = 55


class RequestIdInterceptor(AroundInterceptor):
    """Accepts the caller's ``x-request-id`` or makes one."""

    @asynccontextmanager
    async def around(self, details: grpc.HandlerCallDetails, context: Context) -> AsyncIterator[None]:
        """Set the context's request id and answer with it."""
        given = next((value for key, value in details.invocation_metadata or () if key == REQUEST_ID_HEADER), None)
        chosen = accept_request_id(given if isinstance(given, str) else None)
        # Trailing metadata travels with the status anyway; initial metadata would be a write of its own.
        context.set_trailing_metadata(((REQUEST_ID_HEADER, chosen),))
        yield


def trace_of(traceparent: str) -> str:
    """Return the trace id in a ``traceparent``; "" if it is none. Ask it of authenticated callers only."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None or (traceparent.startswith("00-") and len(traceparent) != _VERSION_0_LENGTH):
        return ""
    return found[1]

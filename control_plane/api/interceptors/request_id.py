"""Outermost: gives each call its request id and sends it back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from control_plane.api.interceptors.wrapping import AroundInterceptor, Context
from control_plane.runtime.context import REQUEST_ID_HEADER, accept_request_id


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

"""Answers: whole when they are small, streamed as they come when they are not."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from aiohttp import hdrs, web

from control_plane.runtime.logs import get_logger
from scim_gateway.errors import SCIM_JSON

log = get_logger(__name__)

# Up to here an answer is held back: it gets a Content-Length, and an error can still become an error.
SPOOL_BYTES = 256 * 1024


def scim_response(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a whole answer."""
    return web.Response(status=status, body=body, headers={hdrs.CONTENT_TYPE: SCIM_JSON, **(headers or {})})


async def stream(
    request: web.Request,
    pieces: AsyncGenerator[bytes, None],
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """Answer with ``pieces``.

    An error after :data:`SPOOL_BYTES` cuts the connection, so that nobody takes a half for the whole. HEAD ends there,
    without a Content-Length: nobody renders a hundred thousand members to count their bytes.
    """
    held = bytearray()
    response: web.StreamResponse | None = None
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                held += piece
                if len(held) < SPOOL_BYTES:
                    continue
                if request.method == hdrs.METH_HEAD:
                    return web.Response(status=status, headers={hdrs.CONTENT_TYPE: SCIM_JSON, **(headers or {})})
                if response is None:
                    response = web.StreamResponse(
                        status=status, headers={hdrs.CONTENT_TYPE: SCIM_JSON, **(headers or {})}
                    )
                    await response.prepare(request)
                await response.write(bytes(held))
                held.clear()
    except ConnectionError:
        raise  # the client is gone
    except Exception as err:
        if response is None:
            raise
        log.exception("answer cut short", cause=type(err).__name__)
        if request.transport is not None:
            request.transport.abort()
        return response
    if response is None:
        return scim_response(bytes(held), status, headers)
    await response.write(bytes(held))
    await response.write_eof()
    return response

"""Exceptions become SCIM errors here, and are logged once if they are our fault."""

from aiohttp import web
from aiohttp.typedefs import Handler

from control_plane.client.errors import CallFailed
from control_plane.runtime.logs import get_logger
from scim_gateway.errors import error_response

log = get_logger(__name__)


@web.middleware
async def errors_as_scim(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every exception in SCIM form; a client that went away gets no answer."""
    try:
        return await handler(request)
    except ConnectionError:
        raise
    except Exception as err:
        response = error_response(err)
        if response.status == 500:
            log.exception("request failed", cause=type(err).__name__)
        elif isinstance(err, CallFailed):
            log.warning("call failed", cause=type(err).__name__, code=err.code.name, reason=err.reason)
        return response

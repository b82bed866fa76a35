"""Every error as a SCIM error body (RFC 7644 section 3.12). The one place where exceptions become status codes."""

import math

import grpc
import orjson
from aiohttp import hdrs, web

from control_plane.client.errors import CallFailed, Overloaded, Unavailable
from control_plane.runtime.context import request_id
from control_plane.scim import errors as scim
from control_plane.scim.errors import ScimError, error_body

# RFC 8259 has no charset parameter, but slack-scim breaks without one and nobody minds it.
SCIM_JSON = "application/scim+json; charset=utf-8"
DEFAULT_RETRY_AFTER_S = 1.0


class AuthenticationFailed(Exception):
    """The bearer token is missing, malformed or refused; ``reason`` and ``tenant`` are for metrics only."""

    def __init__(self, reason: str, tenant: str = "unknown") -> None:
        super().__init__(reason)
        self.reason, self.tenant = reason, tenant


class Throttled(scim.TooManyRequests):
    """A limit on requests is reached (RFC 6585 section 4). Try again after ``retry_after_s`` seconds."""

    def __init__(self, detail: str, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Busy(scim.ServiceUnavailable):
    """The gateway has enough to do. Try again after ``retry_after_s`` seconds."""

    def __init__(self, detail: str, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class AmbiguousRequest(scim.BadRequest):
    """Another server might take the request for another one (RFC 9112 section 11.2): the connection ends with it."""


class RequestTimeout(ScimError):
    """The client took too long to send its request (RFC 9110 section 15.5.9)."""

    status, scim_type = 408, None


class TargetTooLong(ScimError):
    """The request target is longer than the stated limit (RFC 9110 section 15.5.15)."""

    status, scim_type = 414, None


class ExpectationFailed(ScimError):
    """Another expectation than 100-continue (RFC 9110 section 15.5.18)."""

    status, scim_type = 417, None


class HeadersTooLarge(ScimError):
    """A header, or their number, passes the stated limit (RFC 6585 section 5)."""

    status, scim_type = 431, None


class WrongMethod(scim.MethodNotAllowed):
    """The resource exists but not with this method; ``allowed`` says which it has."""

    def __init__(self, allowed: str) -> None:
        super().__init__(f"this resource allows {allowed}")
        self.allowed = allowed


def refusal_of(err: Exception) -> ScimError:
    """Return the SCIM error that the client sees for ``err``; texts from inside stay inside."""
    match err:
        case ScimError():
            return err
        case AuthenticationFailed():
            # One text for missing, malformed, unknown, revoked and expired: nothing to learn by trying.
            return scim.Unauthorized("a valid bearer token is required")
        case Overloaded():
            return scim.TooManyRequests("too many requests, try again later")
        case Unavailable():
            return scim.ServiceUnavailable("the service is unavailable just now, try again later")
        case CallFailed(code=grpc.StatusCode.INVALID_ARGUMENT):
            # A rule of the wire that our own checks do not repeat, such as NUL in a filter.
            return scim.BadRequest(err.message)
        case CallFailed(code=grpc.StatusCode.CANCELLED):
            # A control plane that stops cancels what it cannot finish.
            return scim.ServiceUnavailable("the service is unavailable just now, try again later")
        case web.HTTPNotFound() | web.HTTPMethodNotAllowed():
            # aiohttp's router refuses "CONNECT x" and "OPTIONS *" before any of our routes sees them.
            return scim.ResourceNotFound("there is no such endpoint")
        case _:
            return scim.InternalError(f"internal error, reference {request_id.get()}")


def error_response(err: Exception) -> web.Response:
    """Return ``err`` as an answer: SCIM body, and the headers that belong to its status."""
    refusal = refusal_of(err)
    headers = {hdrs.CONTENT_TYPE: SCIM_JSON}
    match refusal.status:
        case 401:
            headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
        case 429 | 503:
            retry_after_s = getattr(err, "retry_after_s", DEFAULT_RETRY_AFTER_S)
            headers[hdrs.RETRY_AFTER] = str(max(1, math.ceil(retry_after_s)))
    if isinstance(err, WrongMethod):
        headers[hdrs.ALLOW] = err.allowed
    response = web.Response(status=refusal.status, body=error_bytes(refusal), headers=headers)
    if refusal.status in (408, 413) or isinstance(err, AmbiguousRequest):
        # What is left of the body is not waited for, and where the next request begins is not guessed.
        response.force_close()
    return response


def error_bytes(refusal: ScimError) -> bytes:
    """Return the body of a SCIM error."""
    return orjson.dumps(error_body(refusal))

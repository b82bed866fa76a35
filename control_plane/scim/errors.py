"""One class for each way the SCIM protocol says no (RFC 7644 section 3.12, table 9), and the JSON body of an error."""

from typing import Any

ERROR_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:Error"


class ScimError(Exception):
    """Base of all. ``detail`` is for the person who reads the identity provider's log; it never holds a secret."""

    status: int = 500
    scim_type: str | None = None

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class BadRequest(ScimError):
    """The request is wrong in a way that table 9 has no word for."""

    status = 400


class InvalidFilter(ScimError):
    """A filter is malformed, passes a limit, or compares what cannot be compared."""

    status, scim_type = 400, "invalidFilter"


class TooMany(ScimError):
    """The request asks for more work than one request may."""

    status, scim_type = 400, "tooMany"


class Uniqueness(ScimError):
    """A value that must be unique is in use."""

    status, scim_type = 409, "uniqueness"


class Mutability(ScimError):
    """The request changes what its mutability forbids to change."""

    status, scim_type = 400, "mutability"


class InvalidSyntax(ScimError):
    """The body is not JSON, or not shaped like the message it should be."""

    status, scim_type = 400, "invalidSyntax"


class InvalidPath(ScimError):
    """The path of a PATCH operation is malformed or names no attribute."""

    status, scim_type = 400, "invalidPath"


class NoTarget(ScimError):
    """The path of a PATCH operation leads to nothing that could be operated on."""

    status, scim_type = 400, "noTarget"


class InvalidValue(ScimError):
    """A required value is missing, or a value does not fit its attribute."""

    status, scim_type = 400, "invalidValue"


class InvalidCursor(ScimError):
    """The cursor was not made by this server for this tenant and query (RFC 9865 section 2.1)."""

    status, scim_type = 400, "invalidCursor"


class ExpiredCursor(ScimError):
    """The cursor is older than the advertised cursorTimeout (RFC 9865 section 2.1)."""

    status, scim_type = 400, "expiredCursor"


class InvalidCount(ScimError):
    """The count of a page by cursor is no number (RFC 9865 section 2.1)."""

    status, scim_type = 400, "invalidCount"


class InvalidVers(ScimError):
    """The SCIM protocol version is not supported."""

    status, scim_type = 400, "invalidVers"


class Sensitive(ScimError):
    """The request would put sensitive data into a URL."""

    status, scim_type = 400, "sensitive"


class Unauthorized(ScimError):
    """There is no valid token; one text for every cause."""

    status = 401


class Forbidden(ScimError):
    """The token does not allow this."""

    status = 403


class ResourceNotFound(ScimError):
    """There is no such resource for this tenant."""

    status = 404


class MethodNotAllowed(ScimError):
    """The endpoint exists but does not know this method."""

    status = 405


class PreconditionFailed(ScimError):
    """The resource has another version than If-Match asks for."""

    status = 412


class PayloadTooLarge(ScimError):
    """The body passes the size limit."""

    status = 413


class UnsupportedMediaType(ScimError):
    """The body is not declared as JSON, or is encoded in a way we do not read."""

    status = 415


class TooManyRequests(ScimError):
    """A rate limit is reached; the answer carries Retry-After."""

    status = 429


class InternalError(ScimError):
    """Our fault."""

    status = 500


class NotImplementedHere(ScimError):
    """A part of the protocol that this server does not speak."""

    status = 501


class ServiceUnavailable(ScimError):
    """The truth cannot be reached just now; the answer carries Retry-After."""

    status = 503


_CLASSES: tuple[type[ScimError], ...] = (
    BadRequest,
    InvalidFilter,
    TooMany,
    Uniqueness,
    Mutability,
    InvalidSyntax,
    InvalidPath,
    NoTarget,
    InvalidValue,
    InvalidCursor,
    ExpiredCursor,
    InvalidCount,
    InvalidVers,
    Sensitive,
    Unauthorized,
    Forbidden,
    ResourceNotFound,
    MethodNotAllowed,
    PreconditionFailed,
    PayloadTooLarge,
    UnsupportedMediaType,
    TooManyRequests,
    InternalError,
    NotImplementedHere,
    ServiceUnavailable,
)
_BY_WIRE = {(cls.status, cls.scim_type or ""): cls for cls in _CLASSES}


def from_wire(status: int, scim_type: str, detail: str) -> ScimError:
    """Return the error that ``status`` and ``scim_type`` ("" for none) stand for.

    An unknown pair becomes a plain ScimError that carries both, so that a newer peer's error is passed on as it is.
    """
    cls = _BY_WIRE.get((status, scim_type))
    if cls is not None:
        return cls(detail)
    err = ScimError(detail)
    err.status, err.scim_type = status, scim_type or None
    return err


def error_body(err: ScimError) -> dict[str, Any]:
    """Return the JSON object of RFC 7644 section 3.12; ``status`` is a string there."""
    body: dict[str, Any] = {"schemas": [ERROR_SCHEMA]}
    if err.scim_type:
        body["scimType"] = err.scim_type
    return {**body, "detail": err.detail, "status": str(err.status)}

"""What each exception is on the wire: the one table. ``control_plane/client/errors.py`` is its inverse."""

import math

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from control_plane.client.names import SCIM_REASON
from control_plane.domain import errors
from control_plane.scim.errors import ScimError

DOMAIN = "muster"

_CODES: dict[type[errors.MusterError], grpc.StatusCode] = {
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.TokenRefused: grpc.StatusCode.UNAUTHENTICATED,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.Contended: grpc.StatusCode.UNAVAILABLE,
    errors.LeaseLost: grpc.StatusCode.ABORTED,
}
_SCIM_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ALREADY_EXISTS,
    412: grpc.StatusCode.ABORTED,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    501: grpc.StatusCode.UNIMPLEMENTED,
}


class CallRefused(Exception):
    """The call as such is refused, before any use case runs: credential, role, or a broken message."""

    def __init__(self, code: grpc.StatusCode, reason: str, message: str, *details: Message) -> None:
        super().__init__(message)
        self.code, self.reason, self.details = code, reason, details


def to_status(err: Exception, reference: str) -> tuple[grpc.StatusCode, status_pb2.Status]:
    """Return the status of ``err``; an exception that is not in the table tells only the ``reference`` to the log."""
    match err:
        case ScimError():
            code = _SCIM_CODES.get(err.status, grpc.StatusCode.INVALID_ARGUMENT)
            metadata = {"status": str(err.status), "scim_type": err.scim_type or ""}
            return _status(code, err.detail, _info(SCIM_REASON, metadata))
        case errors.TokenRefused():
            info = _info(err.reason, {"cause": err.cause, "tenant": err.tenant})
            return _status(grpc.StatusCode.UNAUTHENTICATED, str(err), info)
        case errors.InvalidArgument():
            return _status(_CODES[type(err)], str(err), _info(err.reason), bad_request({err.field: err.description}))
        case errors.Overloaded() | errors.Unavailable():
            return _status(_CODES[type(err)], str(err), _info(err.reason), _retry(err.retry_after_s))
        case errors.MusterError() if type(err) in _CODES:
            return _status(_CODES[type(err)], str(err), _info(err.reason))
        case CallRefused():
            return _status(err.code, str(err), _info(err.reason), *err.details)
        case TimeoutError():
            return _status(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed", _info("DEADLINE_EXCEEDED"))
        case _:
            text = f"internal error, reference {reference}"
            return _status(grpc.StatusCode.INTERNAL, text, _info("INTERNAL", {"reference": reference}))


def bad_request(violations: dict[str, str]) -> error_details_pb2.BadRequest:
    """Return the detail that names each wrong field by its path."""
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=field, description=text)
            for field, text in violations.items()
        ]
    )


def _info(reason: str, metadata: dict[str, str] | None = None) -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata or {})


def _retry(seconds: float) -> error_details_pb2.RetryInfo:
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(math.ceil(seconds * 1000))
    return retry


def _status(code: grpc.StatusCode, message: str, *details: Message) -> tuple[grpc.StatusCode, status_pb2.Status]:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return code, status

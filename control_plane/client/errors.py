"""What went wrong at the control plane, as classes again: the inverse of ``control_plane/api/errors.py``."""

import grpc
from google.rpc import error_details_pb2, status_pb2

from control_plane.client.names import DETAILS_KEY, SCIM_REASON
from control_plane.scim.errors import from_wire


class CallFailed(Exception):
    """The control plane refused or failed a call. ``code`` is gRPC's, ``reason`` the stable name of the cause."""

    def __init__(self, code: grpc.StatusCode, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.reason = code, message, reason


class Unavailable(CallFailed):
    """The control plane, or the truth behind it, cannot be reached. Try again after ``retry_after_s`` seconds."""

    def __init__(self, code: grpc.StatusCode, message: str, reason: str = "", retry_after_s: float = 1.0) -> None:
        super().__init__(code, message, reason)
        self.retry_after_s = retry_after_s


class Overloaded(Unavailable):
    """A limit is reached. Try again after ``retry_after_s`` seconds."""


class DeadlineExceeded(Unavailable):
    """No answer within the deadline; whether it took effect is unknown."""


class NotFound(CallFailed):
    """There is no such thing, or no longer. What SCIM knows by an id is a ScimError instead."""


class TokenRefused(CallFailed):
    """The bearer token asked about is not valid. ``cause`` and ``tenant`` are for metrics only."""

    def __init__(self, message: str, cause: str, tenant: str) -> None:
        super().__init__(grpc.StatusCode.UNAUTHENTICATED, message, "TOKEN_REFUSED")
        self.cause, self.tenant = cause, tenant


def decode(err: grpc.RpcError) -> Exception:
    """Return the exception that ``err`` stands for: a ScimError, or one of the classes here."""
    if not isinstance(err, grpc.aio.AioRpcError):
        return CallFailed(grpc.StatusCode.UNKNOWN, str(err))
    code, message = err.code(), err.details() or ""
    info, retry = _details(err)
    if info.reason == SCIM_REASON:
        return from_wire(int(info.metadata["status"]), info.metadata.get("scim_type", ""), message)
    if info.reason == "TOKEN_REFUSED":
        return TokenRefused(message, info.metadata.get("cause", ""), info.metadata.get("tenant", "unknown"))
    retry_after_s = retry.retry_delay.ToTimedelta().total_seconds() if retry is not None else 1.0
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            return Unavailable(code, message, info.reason, retry_after_s)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(code, message, info.reason, retry_after_s)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return Overloaded(code, message, info.reason, retry_after_s)
        case grpc.StatusCode.NOT_FOUND:
            return NotFound(code, message, info.reason)
        case _:
            return CallFailed(code, message, info.reason)


def _details(err: grpc.aio.AioRpcError) -> tuple[error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo | None]:
    """Return the google.rpc details of ``err``; empty ones if it has none."""
    info, retry = error_details_pb2.ErrorInfo(), None
    for key, value in err.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
                    detail.Unpack(info)
                elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
                    retry = error_details_pb2.RetryInfo()
                    detail.Unpack(retry)
    return info, retry

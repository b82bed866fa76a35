"""PURE. What a failed lease is called on the wire."""

from workers.connectors.base import (
    CredentialRefused,
    Rejected,
    TargetError,
    TargetFailed,
    Throttled,
    Unreachable,
)
from workers.limits import shortened
from workers.messages import Failure, Nack

_FAILURES: dict[type[TargetError], Failure] = {
    TargetFailed: Failure.TRANSIENT,
    Throttled: Failure.THROTTLED,
    CredentialRefused: Failure.AUTH,
    Rejected: Failure.INVALID,
    Unreachable: Failure.UNREACHABLE,
}


def nack_of(error: Exception, fence: int, remote_id: str) -> Nack:
    """Return the nack that tells ``error``.

    ``remote_id`` is the account's id if it became known before the failure, else "". A defect of ours is TRANSIENT: it
    says nothing about the resource.
    """
    if not isinstance(error, TargetError):
        # The type only: the text of an arbitrary exception may hold anything.
        return Nack(fence, Failure.TRANSIENT, f"defect in the worker: {type(error).__name__}", None, remote_id)
    failure = _FAILURES.get(type(error), Failure.TRANSIENT)
    return Nack(fence, failure, shortened(error.text), error.retry_after_s, remote_id)

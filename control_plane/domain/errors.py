"""One class for each way our own rules say no. The SCIM language has its own in ``control_plane.scim.errors``."""


class MusterError(Exception):
    """Base of all. ``reason`` is the stable UPPER_SNAKE name that travels in google.rpc.ErrorInfo."""

    reason = "INTERNAL"


class NotFound(MusterError):
    """There is no such thing for this tenant; the same answer as for another tenant's."""

    reason = "NOT_FOUND"

    def __init__(self, what: str, which: object) -> None:
        super().__init__(f"{what} {which} not found")
        self.what, self.which = what, str(which)


class InvalidArgument(MusterError):
    """A field of the request breaks a rule that the wire contract cannot express."""

    reason = "INVALID_ARGUMENT"

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field}: {description}")
        self.field, self.description = field, description


class TokenRefused(MusterError):
    """A bearer token is missing, malformed, unknown, revoked or expired.

    The message never says which: ``cause`` is for metrics and audit only.
    """

    reason = "TOKEN_REFUSED"

    def __init__(self, cause: str, tenant: str = "unknown") -> None:
        super().__init__("the bearer token is missing, malformed or not valid")
        self.cause, self.tenant = cause, tenant


class AlreadyExists(MusterError):
    """A value that only one may have is taken."""

    reason = "ALREADY_EXISTS"


class PermissionDenied(MusterError):
    """The caller's role allows the method, but not for this."""

    reason = "PERMISSION_DENIED"


class FailedPrecondition(MusterError):
    """The thing is not in a state that allows this."""

    reason = "FAILED_PRECONDITION"


class Overloaded(MusterError):
    """A stated limit is reached; nothing was done. Try again after ``retry_after_s`` seconds."""

    reason = "OVERLOADED"

    def __init__(self, what: str, retry_after_s: float) -> None:
        super().__init__(f"{what} is at its limit, try again in {retry_after_s:g} s")
        self.retry_after_s = retry_after_s


class Unavailable(MusterError):
    """The truth cannot be reached just now; it may have been done. Try again after ``retry_after_s`` seconds."""

    reason = "UNAVAILABLE"

    def __init__(self, what: str, retry_after_s: float = 1.0) -> None:
        super().__init__(f"{what} cannot be reached, try again in {retry_after_s:g} s")
        self.retry_after_s = retry_after_s


class Contended(Unavailable):
    """Another transaction was in the way (a deadlock, say): nothing was done, and the same may work at once."""

    def __init__(self) -> None:
        super().__init__("what other writers hold")


class LeaseLost(MusterError):
    """The lease ran out, was taken over, or belongs to an earlier life of the queue."""

    reason = "LEASE_LOST"

"""The request id that travels through logs, gRPC metadata, audit and back to the caller."""

from contextvars import ContextVar
from uuid import uuid4

REQUEST_ID_HEADER = "x-request-id"
MAX_LENGTH = 64

request_id: ContextVar[str] = ContextVar("request_id", default="")


def accept_request_id(given: str | None) -> str:
    """Return the caller's id if it is short and harmless, else a new one; it becomes the context's."""
    short = given is not None and given.isascii() and 0 < len(given) <= MAX_LENGTH
    fit = short and all(char.isalnum() or char in "-_.:" for char in given or "")
    chosen = given if fit and given else uuid4().hex
    request_id.set(chosen)
    return chosen

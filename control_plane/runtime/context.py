"""The request id and the trace id that travel through logs, gRPC metadata and audit; the former back to the caller."""

import random
from contextvars import ContextVar
from uuid import uuid4

REQUEST_ID_HEADER = "x-request-id"
MAX_LENGTH = 64

request_id: ContextVar[str] = ContextVar("request_id", default="")
# 32 hexadecimal digits (W3C Trace Context); empty: no trace was begun.
trace_id: ContextVar[str] = ContextVar("trace_id", default="")


def accept_request_id(given: str | None) -> str:
    """Return the caller's id if it is short and harmless, else a new one; it becomes the context's."""
    short = given is not None and given.isascii() and 0 < len(given) <= MAX_LENGTH
    fit = short and all(char.isalnum() or char in "-_.:" for char in given or "")
    chosen = given if fit and given else uuid4().hex
    request_id.set(chosen)
    return chosen


def begin_trace() -> str:
    """Begin a trace and return its id, which becomes the context's. What the outside says of traces is not believed."""
    chosen = f"{random.getrandbits(128) or 1:032x}"
    trace_id.set(chosen)
    return chosen


def traceparent() -> str:
    """Return the context's trace with a new span of it, as gRPC metadata and HTTP carry it; "" without a trace."""
    current = trace_id.get()
    return f"00-{current}-{random.getrandbits(64) or 1:016x}-01" if current else ""

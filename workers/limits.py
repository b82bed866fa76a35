"""PURE. What lease.proto takes of a worker's results. A turn that breaks a rule is refused whole, again and again."""

import math
import re
from dataclasses import replace
from typing import assert_never

from workers.messages import Done, Effect, Failure, Nack, Result

# Done.remote_id and Nack.remote_id.
MAX_ID_BYTES = 1024
# Nack.error. UTF-8 has at most 4 bytes for a character, so an error is at most 1,200 bytes long.
MAX_ERROR_CHARACTERS = 300
# A target may not park a resource for longer than this.
RETRY_AFTER_MAX_S = 3600.0

# Control characters, NUL among them, and lone surrogates: PostgreSQL refuses NUL, UTF-8 has no surrogates.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def id_fault(remote_id: str) -> str:
    """Return why a target's id cannot be kept, as the end of a sentence that begins with "the id"; "" if it can."""
    if _UNPRINTABLE.search(remote_id):
        return "contains control characters"
    if len(remote_id.encode()) > MAX_ID_BYTES:
        return f"is longer than {MAX_ID_BYTES} bytes"
    return ""


def shortened(text: str) -> str:
    """Return ``text`` on one line, without control characters, in at most 300 characters."""
    # Spaces in their place: closing the gap could put together a credential that was not recognised in pieces.
    line = " ".join(_UNPRINTABLE.sub(" ", text).split())
    return line if len(line) <= MAX_ERROR_CHARACTERS else line[: MAX_ERROR_CHARACTERS - 1] + "…"


def acceptable(result: Result) -> Result:
    """Return ``result`` such that the control plane can take it.

    A Done that breaks the wire's rules is a connector's defect that comes again at every attempt, so it becomes an
    INVALID nack, for people to see. Of a nack only what cannot travel is changed.
    """
    match result:
        case Done():
            if fault := id_fault(result.remote_id):
                return Nack(result.fence, Failure.INVALID, f"the target's id cannot be kept: it {fault}")
            if not _is_a(Effect, result.effect):
                text = shortened(f"the connector told an effect that does not exist: {result.effect!r}")
                return Nack(result.fence, Failure.INVALID, text, None, result.remote_id)
            return result
        case Nack():
            return replace(
                result,
                failure=result.failure if _is_a(Failure, result.failure) else Failure.TRANSIENT,
                error=shortened(result.error),
                retry_after_s=_wait_s(result.retry_after_s),
                remote_id="" if id_fault(result.remote_id) else result.remote_id,
            )
        case _:
            assert_never(result)


def _is_a(kind: type[Effect] | type[Failure], value: object) -> bool:
    # A connector need not be typed; the type of `value` says what it should be.
    return isinstance(value, kind)


def _wait_s(asked_s: float | None) -> float | None:
    if asked_s is None or math.isnan(asked_s):
        return None
    return min(max(asked_s, 0.0), RETRY_AFTER_MAX_S)

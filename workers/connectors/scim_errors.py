"""PURE. What a SCIM target's refusal means."""

import email.utils
from datetime import UTC, datetime

from workers.connectors.base import CredentialRefused, Rejected, TargetError, TargetFailed, Throttled
from workers.limits import RETRY_AFTER_MAX_S


def retry_after_s(header: str | None, now: datetime) -> float | None:
    """Return the wait in seconds that a Retry-After header asks for, 0 to 3600; None if it says nothing usable.

    RFC 9110 section 10.2.3: a number of seconds or an HTTP-date.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        # Nobody means a number with 20 digits; int() of a very long one would even raise.
        return min(float(text), RETRY_AFTER_MAX_S) if len(text) <= 10 else RETRY_AFTER_MAX_S
    try:
        at = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    # "-0000" gives a naive time; RFC 9110 dates are always GMT.
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max((at - now).total_seconds(), 0.0), RETRY_AFTER_MAX_S)


def error_of(status: int, text: str, wait_s: float | None) -> TargetError:
    """Return the error that an unwanted HTTP ``status`` stands for."""
    match status:
        case 429:
            return Throttled(text, wait_s)
        case 401 | 403:
            return CredentialRefused(text)
        # 408 and 425 are timeouts by another name.
        case 408 | 425:
            return TargetFailed(text, wait_s)
        case _ if status >= 500:
            return TargetFailed(text, wait_s)
        case _ if 300 <= status < 400:
            # Followed, it would carry the credential to wherever the answer points.
            return Rejected(f"{text}: redirects are not followed, correct the target's base URL")
        case _:
            return Rejected(text)

"""Spans and moments as people type them: ``90s``, ``24h``, ``7d``; ``2026-11-23T10:00:00Z`` or ``2h`` (ago)."""

import re
from datetime import UTC, datetime, timedelta

SPAN = re.compile(r"(\d{1,9})([smhd])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_span(text: str) -> timedelta:
    """Return the span; ValueError says how to write one."""
    match = SPAN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a span such as 90s, 15m, 24h or 7d")
    return timedelta(**{UNITS[match[2]]: int(match[1])})


def parse_moment(text: str, now: datetime) -> datetime:
    """Return the moment, or ``now`` less a span; without an offset it is UTC. ValueError says how to write one."""
    if SPAN.fullmatch(text.strip()):
        return now - parse_span(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither a time such as 2026-11-23T10:00:00Z nor a span such as 2h") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)

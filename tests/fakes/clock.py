"""A Clock whose time stands still until a test moves it, and whose dice are loaded."""

import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """Satisfies control_plane.runtime.clock.Clock; the same seed gives the same random bytes."""

    def __init__(self, now: datetime = NEW_YEAR, seed: int = 0, jitters: Iterable[float] = ()) -> None:
        self._now, self._monotonic = now, 1000.0
        self._dice = random.Random(seed)
        self._jitters = list(jitters)

    def now(self) -> datetime:
        """Return the time, UTC."""
        return self._now

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return self._monotonic

    def random_bytes(self, count: int) -> bytes:
        """Return bytes that the seed decides."""
        return self._dice.randbytes(count)

    def jitter(self) -> float:
        """Return the next of the given jitters, then 0.5 for ever."""
        return self._jitters.pop(0) if self._jitters else 0.5

    def advance(self, seconds: float) -> None:
        """Let time pass, on both clocks."""
        if seconds < 0:
            raise ValueError("time passes forwards; use set_wall_clock to move the wall clock back")
        self._monotonic += seconds
        self._now += timedelta(seconds=seconds)

    def set_wall_clock(self, now: datetime) -> None:
        """Move the wall clock, as an administrator would; the monotonic clock does not notice."""
        self._now = now

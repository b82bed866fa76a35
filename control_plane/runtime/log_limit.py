"""A bound on the log lines that strangers can cause: they must not fill the disk, nor spend the time."""

import time
from collections.abc import Callable

import structlog

from control_plane.runtime.buckets import Allowance, Buckets

LINES = Allowance(burst=100, permits=50)
# How often it is told at most how many lines there would have been.
TELL_EVERY_S = 10.0


class LogLimit:
    """Counts the lines of one kind. ``event`` is what the log says of those that were left out."""

    def __init__(
        self, log: "structlog.stdlib.BoundLogger", event: str, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._log, self._event, self._monotonic = log, event, monotonic
        self._lines, self._left_out, self._told_at = Buckets(1), 0, float("-inf")

    def allows(self) -> bool:
        """Whether one more line may be written now."""
        now = self._monotonic()
        if not self._lines.take(self._event, now, LINES):
            self._left_out += 1
            return False
        if self._left_out and now - self._told_at >= TELL_EVERY_S:
            self._log.warning(self._event, count=self._left_out)
            self._left_out, self._told_at = 0, now
        return True

"""A lease's right to call its target: the self-fencing of a worker.

No call starts unless the lease lasts longer than the call may take plus a margin, all on our own monotonic clock. So
when the lease has ended and somebody else works on the resource, none of our calls is under way.
"""

import asyncio
from collections.abc import Callable

from control_plane.runtime.clock import Clock

# A call takes at most this share of a lease's life, whatever the settings say: with heartbeats each third of it, two
# thirds are left when one has just been missed.
CALL_SHARE = 1 / 3
# The margin covers what our clock cannot see: the time in which the server made up the message with the lease, and the
# time between a call's time limit and the connection being closed. A tenth of a lease's life, at most a second.
MARGIN_SHARE, MARGIN_MAX_S = 0.1, 1.0


class LeaseExpired(Exception):
    """The lease ended on our own clock: stop, and report nothing."""


class LeasePermit:
    """Gives and counts the calls of one lease. Lives on the handlers' loop."""

    def __init__(
        self, clock: Clock, deadline: float, ttl_s: float, call_timeout_s: float, on_call: Callable[[int], None]
    ) -> None:
        self._clock, self._deadline, self._on_call = clock, deadline, on_call
        self._timeout_s = min(call_timeout_s, ttl_s * CALL_SHARE)
        self._margin_s = min(MARGIN_MAX_S, ttl_s * MARGIN_SHARE)
        self._renewed = asyncio.Event()
        self.calls = 0

    def renew(self, deadline: float) -> None:
        """Take a later deadline."""
        self._deadline = deadline
        self._renewed.set()

    async def call(self) -> float:
        """Return the time limit in seconds of one more call; LeaseExpired if the lease does not last that long.

        A lease that is short of time waits here for its next confirmed heartbeat.
        """
        while (remaining_s := self._deadline - self._clock.monotonic()) <= self._timeout_s + self._margin_s:
            if remaining_s <= 0:
                raise LeaseExpired("the lease ran out before its next call")
            self._renewed.clear()
            try:
                async with asyncio.timeout(remaining_s):
                    await self._renewed.wait()
            except TimeoutError:
                raise LeaseExpired("no heartbeat was confirmed before the next call") from None
        self.calls += 1
        self._on_call(self.calls)
        return self._timeout_s

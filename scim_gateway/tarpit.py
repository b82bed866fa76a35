"""Answers to those who try tokens are held back: who waits for an answer sends less, and good requests get the time.

Whoever has a good token never waits, even behind the same address. The number of answers held back is bounded: beyond
it they go out at once, so that an attack cannot take the connections instead.
"""

import asyncio

from control_plane.runtime.buckets import Allowance, Buckets
from control_plane.runtime.clock import Clock
from scim_gateway.forwarded import source_of

# Refusals of one source that are answered at once: a person who tries, a client that is set up wrong.
ALLOWANCE = Allowance(burst=100, permits=20)
MAX_SOURCES = 10_000
# A quarter of MUSTER_GATEWAY_MAX_CONNECTIONS as it is by default.
MAX_HELD = 500


class Tarpit:
    """Holds back the answers to refused tokens."""

    def __init__(self, clock: Clock, delay_s: float) -> None:
        """``delay_s`` 0 holds back nothing."""
        self._clock, self._delay_s = clock, delay_s
        self._sources = Buckets(MAX_SOURCES)
        self.held = 0

    async def refused(self, address: str) -> None:
        """Return at once, unless many tokens from ``address`` were refused lately."""
        if not self._sources.take(source_of(address), self._clock.monotonic(), ALLOWANCE):
            await self.hold()

    async def hold(self) -> None:
        """Return after half the delay to one and a half, or at once if too many are held already."""
        if not self._delay_s or self.held >= MAX_HELD:
            return
        self.held += 1
        try:
            # Spread, else all who were refused in one moment come back in one moment.
            await asyncio.sleep(self._delay_s * (0.5 + self._clock.jitter()))
        finally:
            self.held -= 1

"""How many questions about unknown tokens the control plane is asked: bogus tokens must not cost others anything.

A question about a token that was good before is always asked, as long as there is room for it: neither an attack nor
a neighbour behind the same address keeps it out. For all others three limits hold. In the end only refusals count, so
that an identity provider may push for a thousand tenants from one address.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from cachetools import LRUCache

from control_plane.client.errors import TokenRefused
from control_plane.runtime.buckets import Allowance, Buckets
from control_plane.runtime.clock import Clock
from scim_gateway.errors import Busy, Throttled

# Refused tokens of one source (an IPv4 address, an IPv6 /64): beyond it 429, without asking.
SOURCE_PER_S, SOURCE_BURST = 5, 50
OF_SOURCE = Allowance(SOURCE_BURST, SOURCE_PER_S)
MAX_SOURCES = 10_000
# Refused tokens of all sources together, for an attack from many: beyond it 503 for tokens never seen before, unless
# they come from where good ones came from.
OF_ALL = Allowance(burst=100, permits=20)
# Questions at a time; those about tokens that were good before have as many places again.
MAX_QUESTIONS = 64
BUSY_RETRY_S = 1.0

_ALL = "all"


class Questions:
    """Decides which questions are asked, and learns from the answers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sources, self._gateway = Buckets(MAX_SOURCES), Buckets(1)
        self._good_sources: LRUCache[str, bool] = LRUCache(MAX_SOURCES)
        self._asked = 0

    @contextmanager
    def asking(self, source: str, *, was_good: bool) -> Iterator[None]:
        """Ask within; Throttled or Busy if it may not be asked now. Only a TokenRefused that passes through counts."""
        if self._asked >= MAX_QUESTIONS * (2 if was_good else 1):
            raise Busy("too many tokens to verify, try again later", BUSY_RETRY_S)
        # Counted before the answer, so that those who come at once do not all pass.
        counted = None if was_good else self._count(source)
        self._asked += 1
        try:
            yield
            self._good_sources[source] = True
        except TokenRefused:
            raise
        except BaseException:
            # Nobody's fault.
            self._give_back(source, counted)
            raise
        else:
            self._give_back(source, counted)
        finally:
            self._asked -= 1

    def _count(self, source: str) -> int:
        """Take a permit of the source, and one that all share if there is one; return how many of these it were."""
        now = self._clock.monotonic()
        if wait_s := self._sources.wait_s(source, now, OF_SOURCE):
            raise Throttled("too many bearer tokens from this address were refused, try again later", wait_s)
        shared = self._gateway.take(_ALL, now, OF_ALL)
        if not shared and source not in self._good_sources:
            wait_s = self._gateway.wait_s(_ALL, now, OF_ALL)
            raise Busy("too many tokens to verify, try again later", max(wait_s, BUSY_RETRY_S))
        self._sources.take(source, now, OF_SOURCE)
        return shared

    def _give_back(self, source: str, counted: int | None) -> None:
        if counted is not None:
            self._sources.give_back(source, OF_SOURCE)
            self._gateway.give_back(_ALL, OF_ALL, counted)

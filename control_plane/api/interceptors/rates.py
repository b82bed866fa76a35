"""How often one caller may call one control plane, and how many streams it may have there at a time."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext

import grpc

from control_plane.api.interceptors.auth import identity
from control_plane.api.interceptors.wrapping import AroundInterceptor, Context
from control_plane.api.policy import POLICY, RateClass
from control_plane.domain.errors import Overloaded
from control_plane.domain.identities import Identity, Role
from control_plane.runtime.buckets import Allowance, Buckets
from control_plane.runtime.clock import Clock

# Generous: they keep one script that went wild from taking the control plane away from everybody else.
ALLOWANCES = {
    RateClass.ADMIN: Allowance(burst=400, permits=200),
    RateClass.STREAM: Allowance(burst=400, permits=200),
    RateClass.READ: Allowance(burst=4_000, permits=2_000),
    RateClass.WRITE: Allowance(burst=4_000, permits=2_000),
}
# Streams of one caller at a time, on one control plane.
MAX_STREAMS = 50
STREAM_RETRY_S = 5.0
# They carry everybody's traffic: tenants are limited one by one, at the gateway.
UNLIMITED = frozenset({Role.GATEWAY, Role.WORKER})


class RateInterceptor(AroundInterceptor):
    """RESOURCE_EXHAUSTED with RetryInfo for an identity that calls too often."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets = Buckets()
        self._streams: Counter[tuple[Role, str]] = Counter()

    def ignores(self, method: str) -> bool:
        """Leave alone what the policy table does not know: it is refused anyway, or open to everybody."""
        return method not in POLICY

    @asynccontextmanager
    async def around(self, details: grpc.HandlerCallDetails, _context: Context) -> AsyncIterator[None]:
        """Take a permit, and a place for a stream while it lasts."""
        me, rate_class = identity(), POLICY[details.method].rate_class
        if me.role in UNLIMITED:
            yield
            return
        key, now_s, allowance = (me.role, me.id, rate_class), self._clock.monotonic(), ALLOWANCES[rate_class]
        if not self._buckets.take(key, now_s, allowance):
            wait_s = self._buckets.wait_s(key, now_s, allowance)
            raise Overloaded(f"the rate of {rate_class.value} calls of this credential", round(wait_s + 0.005, 2))
        with self._place(me) if rate_class is RateClass.STREAM else nullcontext():
            yield

    @contextmanager
    def _place(self, me: Identity) -> Iterator[None]:
        key = me.role, me.id
        if self._streams[key] >= MAX_STREAMS:
            raise Overloaded("the number of streams of this credential", STREAM_RETRY_S)
        self._streams[key] += 1
        try:
            yield
        finally:
            self._streams[key] -= 1
            if not self._streams[key]:
                del self._streams[key]

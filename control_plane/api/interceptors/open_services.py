"""What everybody may call without a credential: so few at once that nothing is taken from those who have one."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from control_plane.api.errors import CallRefused
from control_plane.api.interceptors.addresses import address_of
from control_plane.api.interceptors.wrapping import AroundInterceptor, Context, Found, read_late, split_method, wrap
from control_plane.api.policy import OPEN_SERVICES

# Calls of one method at a time, from one address and from all. A server serves 1,000 calls at a time, whoever calls.
FROM_ONE, FROM_ALL = 20, 100
# Seconds that a call may last, but for the one that is there to last.
LASTS_S = 60.0
UNENDING = "/grpc.health.v1.Health/Watch"


class OpenInterceptor(AroundInterceptor):
    """RESOURCE_EXHAUSTED for those who call more of these services at a time than anybody needs."""

    def __init__(self) -> None:
        self._calls: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def wrapped(self, handler: Found, details: grpc.HandlerCallDetails) -> Found:
        """Wrap the handlers of the open services: also a call that never sends its request is one."""
        if handler is None or self.ignores(details.method):
            return handler
        return wrap(read_late(handler), lambda context: self.around(details, context))

    def ignores(self, method: str) -> bool:
        """Leave alone what needs a credential."""
        return split_method(method)[0] not in OPEN_SERVICES

    @asynccontextmanager
    async def around(self, details: grpc.HandlerCallDetails, context: Context) -> AsyncIterator[None]:
        """Count the call while it lasts."""
        address, calls = address_of(context.peer()), self._calls[details.method]
        if calls[address] >= FROM_ONE or calls.total() >= FROM_ALL:
            text = "too many calls without a credential at a time"
            raise CallRefused(grpc.StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED", text)
        calls[address] += 1
        try:
            async with asyncio.timeout(None if details.method == UNENDING else LASTS_S):
                yield
        finally:
            calls[address] -= 1
            if not calls[address]:
                del calls[address]

"""The rate limit of a tenant, which all gateways share: permits are taken from the control plane in batches.

A batch is what the tenant may send in about 100 ms: most requests cost no call, and few permits lie with a gateway
that does not need them. If nobody can be asked, this gateway holds to the tenant's limits alone for a second, and then
asks again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import grpc
from cachetools import LRUCache

from control_plane.client.control_plane import ControlPlane
from control_plane.client.errors import CallFailed, NotFound, decode
from control_plane.runtime.buckets import Allowance, Buckets
from control_plane.runtime.clock import Clock
from control_plane.runtime.logs import get_logger
from protos.tenancy.v1.tenancy_pb2 import TakePermitsRequest
from scim_gateway.caller import Caller, Limits
from scim_gateway.errors import Throttled
from scim_gateway.metrics import GatewayMetrics

log = get_logger(__name__)

BATCHES_PER_S = 10
# The most that tenancy.proto lets a call want.
MAX_BATCH = 10_000
# The least recently used tenant loses its permits first.
MAX_TENANTS = 10_000
# So long a request waits for permits at most, before this gateway decides alone; it does so for ALONE_S.
TAKE_TIMEOUT_S = 1.0
ALONE_S = 1.0
# A control plane that gives nothing, and does not say until when.
DEFAULT_WAIT_S = 0.1


@dataclass(frozen=True, slots=True)
class Batch:
    """What a call brought: so many permits, good for ``valid_for_s``; if none, when to ask again."""

    granted: int
    valid_for_s: float
    retry_after_s: float


Take = Callable[[str, int], Awaitable[Batch]]


@dataclass(slots=True)
class _Purse:
    """What is known of one tenant; times are monotonic seconds."""

    left: int = 0
    good_until: float = 0.0
    empty_until: float = 0.0
    alone_until: float = 0.0
    flight: asyncio.Future[None] | None = None


class Permits:
    """Gives one permit for each request, or says when there will be one."""

    def __init__(self, take: Take, clock: Clock, metrics: GatewayMetrics) -> None:
        """``take`` raises client errors when there is no answer."""
        self._take, self._clock, self._metrics = take, clock, metrics
        self._purses: LRUCache[str, _Purse] = LRUCache(MAX_TENANTS)
        self._alone = Buckets(MAX_TENANTS)

    async def spend(self, caller: Caller) -> None:
        """Take a permit of the caller's tenant; Throttled if there is none, NotFound if there is no such tenant."""
        purse = self._purse(caller.tenant_id)
        while True:
            now = self._clock.monotonic()
            if purse.left > 0 and now < purse.good_until:
                purse.left -= 1
                return
            if now < purse.alone_until:
                self._spend_alone(caller, now)
                return
            if now < purse.empty_until:
                raise self._throttled(caller, purse.empty_until - now)
            if purse.flight is None:
                await self._fill(purse, caller)
            else:
                # Not its outcome: what is left after those who came before is looked at anew.
                await asyncio.wait([purse.flight])

    def _purse(self, tenant_id: str) -> _Purse:
        purse = self._purses.get(tenant_id)
        if purse is None:
            purse = self._purses[tenant_id] = _Purse()
        return purse

    async def _fill(self, purse: _Purse, caller: Caller) -> None:
        """Ask for a batch; those who come meanwhile wait for it."""
        flight: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        purse.flight = flight
        try:
            batch = await self._take(caller.tenant_id, batch_of(caller.limits))
        except NotFound:
            raise
        except CallFailed as err:
            log.warning("permits not to be had", tenant=caller.tenant_id, cause=type(err).__name__, code=err.code.name)
            purse.alone_until = self._clock.monotonic() + ALONE_S
        else:
            now = self._clock.monotonic()
            purse.left, purse.good_until = batch.granted, now + batch.valid_for_s
            if batch.granted == 0:
                purse.empty_until = now + (batch.retry_after_s or DEFAULT_WAIT_S)
        finally:
            purse.flight = None
            flight.set_result(None)

    def _spend_alone(self, caller: Caller, now: float) -> None:
        allowance = Allowance(caller.limits.burst, caller.limits.requests_per_second)
        if not self._alone.take(caller.tenant_id, now, allowance):
            raise self._throttled(caller, self._alone.wait_s(caller.tenant_id, now, allowance))

    def _throttled(self, caller: Caller, wait_s: float) -> Throttled:
        self._metrics.rate_limited(caller.tenant_id)
        return Throttled("the tenant sends more requests than it may, try again later", wait_s)


def batch_of(limits: Limits) -> int:
    """Return how many permits are asked for at a time."""
    return max(1, min(MAX_BATCH, limits.requests_per_second // BATCHES_PER_S))


async def take_permits(control_plane: ControlPlane, timeout_s: float, tenant_id: str, want: int) -> Batch:
    """Ask the control plane for permits; client errors if it does not say."""
    try:
        answer = await control_plane.tenants.TakePermits(
            TakePermitsRequest(tenant_id=tenant_id, want=want),
            metadata=control_plane.metadata(),
            timeout=min(timeout_s, TAKE_TIMEOUT_S),
        )
    except grpc.aio.AioRpcError as err:
        raise decode(err) from err
    valid_for_s = answer.valid_for.ToTimedelta().total_seconds()
    return Batch(answer.granted, valid_for_s, answer.retry_after.ToTimedelta().total_seconds())

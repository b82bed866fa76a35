"""Permits for SCIM requests, out of each tenant's limit, which all gateways share."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from cachetools import TTLCache

from control_plane.domain.errors import Unavailable
from control_plane.domain.ids import TenantId
from control_plane.domain.tenants import Limits
from control_plane.queue.rates import Taken
from control_plane.runtime.buckets import Allowance, Buckets
from control_plane.runtime.clock import Clock
from control_plane.runtime.logs import get_logger
from control_plane.storage import tenants
from control_plane.storage.engine import Storage

log = get_logger(__name__)

# What a gateway does not use in this time is lost: it bounds what idle gateways can hoard.
VALID_S = 1.0
# A request waits for its permit: a Redis that is slower than this counts as down.
ANSWER_WITHIN_S = 0.25
# How long a Redis that was down is left alone, so that not every request pays for finding out.
LEAVE_ALONE_S = 1.0
# A changed limit is in force after this time.
LIMITS_FOR_S = 1.0
MAX_TENANTS = 10_000


@dataclass(frozen=True, slots=True)
class Permits:
    """So many permits, good for ``valid_for_s``; if none, when the next one comes."""

    granted: int
    valid_for_s: float
    retry_after_s: float


class SharedRates(Protocol):
    """The part of queue.rates.Rates that is used here."""

    async def take(self, tenant: TenantId, want: int, per_second: int, burst: int) -> Taken:
        """Take up to ``want`` permits; Unavailable when that cannot be done now."""
        ...


class PermitService:
    """Takes permits from Redis; while that is down, from buckets of this process at the same rates.

    So a tenant is limited all the time, though to its rate at each control plane instead of over all of them.
    """

    def __init__(self, storage: Storage, rates: SharedRates, clock: Clock, limits: Limits) -> None:
        """``limits`` are the installation's."""
        self._storage, self._rates, self._clock, self._installation = storage, rates, clock, limits
        self._known: TTLCache[TenantId, Limits] = TTLCache(MAX_TENANTS, LIMITS_FOR_S, clock.monotonic)
        self._local = Buckets(MAX_TENANTS)
        self._down_until: float | None = None

    async def take(self, tenant: TenantId, want: int) -> Permits:
        """Take up to ``want`` permits of a tenant; NotFound if there is no such tenant."""
        limits = await self._limits(tenant)
        taken = await self._shared(tenant, want, limits)
        if taken is None:
            taken = self._own(tenant, want, limits)
        return Permits(taken.granted, VALID_S, taken.retry_after_s)

    async def _shared(self, tenant: TenantId, want: int, limits: Limits) -> Taken | None:
        """Take from Redis; None if it is down."""
        if self._down_until is not None and self._clock.monotonic() < self._down_until:
            return None
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                taken = await self._rates.take(tenant, want, limits.requests_per_second, limits.burst)
        except (TimeoutError, Unavailable) as err:
            if self._down_until is None:
                log.warning("rates are limited by each control plane alone", error=type(err).__name__)
            self._down_until = self._clock.monotonic() + LEAVE_ALONE_S
            return None
        if self._down_until is not None:
            log.info("rates are limited over all control planes again")
            self._down_until = None
        return taken

    def _own(self, tenant: TenantId, want: int, limits: Limits) -> Taken:
        now_s, allowance = self._clock.monotonic(), Allowance(limits.burst, limits.requests_per_second)
        granted = self._local.take(tenant, now_s, allowance, want)
        return Taken(granted, 0.0 if granted else self._local.wait_s(tenant, now_s, allowance))

    async def _limits(self, tenant: TenantId) -> Limits:
        limits = self._known.get(tenant)
        if limits is not None:
            return limits
        async with self._storage.begin_batch(()) as tx:
            found = await tenants.existing(tx, tenant)
        limits = found.effective_limits(self._installation)
        self._known[tenant] = limits
        return limits

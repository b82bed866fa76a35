"""Counts the tokens that expire soon, for an alert before an identity provider is locked out."""

import asyncio
from datetime import timedelta

from control_plane.domain.ids import TenantId
from control_plane.metrics import Metrics
from control_plane.runtime.clock import Clock
from control_plane.storage import tenants, tokens
from control_plane.storage.engine import Storage

EVERY_S = 600.0
WITHIN = {"3d": timedelta(days=3), "14d": timedelta(days=14), "30d": timedelta(days=30)}
PAGE = 1_000


class TokenExpiry:
    """The duty behind ``scim_tokens_expiring``: working tokens that nobody has replaced yet."""

    def __init__(self, storage: Storage, clock: Clock, metrics: Metrics) -> None:
        self._storage, self._clock, self._metrics = storage, clock, metrics

    async def run(self) -> None:
        """Count every ten minutes until cancelled."""
        while True:
            await self.run_once()
            await asyncio.sleep(EVERY_S)

    async def run_once(self) -> dict[str, int]:
        """Count over all tenants that are not deleted, and return the counts by span."""
        now, counts = self._clock.now(), [0, 0, 0]
        first, second, third = (now + span for span in WITHIN.values())
        after: TenantId | None = None
        while True:
            async with self._storage.begin_batch(()) as tx:
                page = [each.id for each in await tenants.list_after(tx, after, PAGE, deleted=False)]
            if not page:
                break
            async with self._storage.begin_batch(page) as tx:
                found = await tokens.count_expiring(tx, page, now, (first, second, third))
            counts = [count + more for count, more in zip(counts, found, strict=True)]
            after = page[-1]
        expiring = dict(zip(WITHIN, counts, strict=True))
        for within, count in expiring.items():
            self._metrics.tokens_expiring.labels(within=within).set(count)
        return expiring

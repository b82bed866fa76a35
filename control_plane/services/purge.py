"""Takes deleted tenants away for good when their grace is over: their keys first, the tenant itself last.

It can end at any point and begin again: until its own row is gone, a tenant is found anew.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from control_plane.domain.audit import Actor, ActorType
from control_plane.domain.errors import MusterError
from control_plane.domain.ids import SYSTEM_TENANT, TenantId
from control_plane.domain.tenants import Tenant
from control_plane.runtime.clock import Clock
from control_plane.runtime.logs import get_logger
from control_plane.services.caller import Caller, Deed, Scribe
from control_plane.services.tenant_rules import CHANNEL
from control_plane.storage import audit, purge, tenants
from control_plane.storage.engine import Storage
from control_plane.storage.purge import Step

log = get_logger(__name__)

EVERY_S = 60.0
# So long after the end of the grace: every process has heard of the deletion, a bulk request that began before has
# ended, and no other machine's clock is so far behind that it would still restore the tenant.
MARGIN = timedelta(seconds=60)
TENANTS_AT_ONCE = 10
# A walk through a table in which the tenant has no row left reads its whole index, and locks nothing.
STATEMENT_S = 600.0
PURGER = Caller(Actor(ActorType.SYSTEM, "purge"))


@dataclass(frozen=True, slots=True)
class Purged:
    """What one run took away."""

    tenants: int = 0
    rows: int = 0


class Purge:
    """The duty of every control plane; one at a time carries it out."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage, self._clock, self._scribe = storage, clock, Scribe(clock)

    async def run(self) -> None:
        """Look for tenants whose time has come until cancelled."""
        while True:
            try:
                while (await self.run_once()).tenants == TENANTS_AT_ONCE:
                    pass
            except MusterError as err:
                log.warning("the purge goes on later", error=str(err))
            await asyncio.sleep(EVERY_S)

    async def run_once(self) -> Purged:
        """Purge up to ``TENANTS_AT_ONCE`` tenants; none if another control plane is at it."""
        # Held open for the sake of its lock alone: between statements it has no snapshot, so it holds up no vacuum.
        async with self._storage.begin_batch(()) as turn:
            if not await purge.take_turn(turn):
                return Purged()
            async with self._storage.begin_keeper(()) as tx:
                due = await tenants.list_due(tx, self._clock.now() - MARGIN, TENANTS_AT_ONCE)
            rows = gone = 0
            for tenant in due:
                try:
                    rows += await self._purge(tenant)
                    gone += 1
                except MusterError as err:
                    # It must not keep the others; what is left of it goes the next time.
                    log.warning("tenant not purged", tenant=str(tenant.id), error=str(err))
            return Purged(gone, rows)

    async def _purge(self, tenant: Tenant) -> int:
        """Take one tenant away; return how many rows that were."""
        async with self._storage.begin_keeper([tenant.id]) as tx:
            await purge.wait_for_writers(tx, tenant.id)
            keys, _ = await purge.delete_some(tx, tenant.id, purge.KEYS)
        counts = {purge.KEYS.table: keys}
        for step in (*purge.STEPS, *purge.TRAIL):
            counts[step.table] = await self._clear(tenant.id, step)
        await self._finish(tenant, counts)
        log.info("tenant purged", tenant=str(tenant.id), rows=sum(counts.values()))
        return sum(counts.values())

    async def _clear(self, tenant: TenantId, step: Step) -> int:
        """Empty one table of the tenant's rows, a transaction for each few thousand."""
        count, after = 0, purge.NIL
        while True:
            async with self._storage.begin_keeper([tenant], timeout_s=STATEMENT_S) as tx:
                some, after = await purge.delete_some(tx, tenant, step, after)
            count += some
            if some < purge.ROWS:
                return count

    async def _finish(self, tenant: Tenant, counts: dict[str, int]) -> None:
        """Delete the tenant itself and write it down where it stays: in the installation's own trail."""
        async with self._storage.begin_keeper([tenant.id, SYSTEM_TENANT]) as tx:
            await purge.wait_for_writers(tx, tenant.id)
            # What is pending first: it waits for the sealer, which afterwards finds nothing to add to the chain.
            for step in purge.TRAIL:
                more = purge.ROWS
                while more == purge.ROWS:
                    more, _ = await purge.delete_some(tx, tenant.id, step)
                    counts[step.table] += more
            head = await purge.lock_head(tx, tenant.id)
            await purge.delete_tenant(tx, tenant.id)
            says = {
                "display_name": tenant.display_name,
                "rows": {table: count for table, count in counts.items() if count},
                "audit_seq": head.seq,
                "audit_hash": head.hash.hex(),
            }
            deed = Deed("tenant.purge", "tenant", str(tenant.id), says)
            await audit.append(tx, [self._scribe.event(SYSTEM_TENANT, PURGER, deed)])
            # Whoever still remembers anything of it forgets it.
            await self._storage.notify(tx, CHANNEL, str(tenant.id))

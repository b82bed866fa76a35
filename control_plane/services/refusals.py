"""Writes what was refused into the audit trail: in a transaction of its own, and as well as it can.

A refusal has no effect to share a transaction with. When the database cannot take it, the log has it. Whoever sends
nothing but refused requests fills nobody's trail: beyond ``MAX_PER_SECOND`` they are counted, and the counts written
each minute.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from control_plane.domain.audit import Actor, ActorType, AuditEvent
from control_plane.domain.errors import MusterError
from control_plane.domain.ids import SYSTEM_TENANT, TenantId
from control_plane.runtime.clock import Clock
from control_plane.runtime.logs import get_logger
from control_plane.services.caller import Caller, Deed, Scribe
from control_plane.storage import audit, tenants
from control_plane.storage.engine import Storage

log = get_logger(__name__)

# Of one tenant, in one process.
MAX_PER_SECOND = 50
FLUSH_S = 60.0
# The caller waits for its answer so long at most.
WRITE_LIMIT_S = 2.0
MAX_TENANTS, MAX_ACTIONS = 10_000, 20
CONTROL_PLANE = Caller(Actor(ActorType.SYSTEM, "control-plane"))


@dataclass(slots=True)
class _Second:
    """How much of a tenant's second is used up, and what came beyond since the last summary."""

    number: int = 0
    written: int = 0
    beyond: Counter[str] = field(default_factory=Counter)


class Refusals:
    """One for each process."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage, self._clock, self._scribe = storage, clock, Scribe(clock)
        self._seconds: OrderedDict[TenantId, _Second] = OrderedDict()

    async def record(self, caller: Caller, claimed: TenantId | None, deed: Deed, reason: str) -> None:
        """Write one refusal to the trail of the tenant that the request named; if there is none, to our own."""
        tenant = SYSTEM_TENANT if claimed is None else claimed
        if not self._takes(tenant, deed.action):
            return
        event = self._scribe.event(tenant, caller, deed, reason)
        if not await self.append(tenant, [event]) and self._takes(SYSTEM_TENANT, deed.action):
            await self.append(SYSTEM_TENANT, [self._scribe.event(SYSTEM_TENANT, caller, deed, reason)])

    async def append(self, tenant: TenantId, events: Sequence[AuditEvent]) -> bool:
        """Write failures; False if there is no such tenant. Whatever else goes wrong is only logged."""
        if not events:
            return True
        try:
            async with asyncio.timeout(WRITE_LIMIT_S), self._storage.begin(tenant) as tx:
                if not await tenants.is_owner(tx, tenant):
                    return False
                await audit.append(tx, events)
        except (MusterError, TimeoutError) as err:
            for event in events:
                log.error("a refusal is not in the trail", tenant=str(tenant), action=event.action, error=str(err))
        return True

    async def run(self) -> None:
        """Write the counts each minute until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_S)
            await self.flush()

    async def flush(self) -> None:
        """Write how many refusals came beyond the limit."""
        for tenant, second in list(self._seconds.items()):
            beyond, second.beyond = second.beyond, Counter()
            if not beyond:
                if second.number < int(self._clock.monotonic()):
                    del self._seconds[tenant]
                continue
            details = {"count": beyond.total(), "actions": dict(beyond.most_common(MAX_ACTIONS))}
            reason = f"more than {MAX_PER_SECOND} refusals in a second are counted, not listed"
            deed = Deed("audit.overflow", "tenant", str(tenant), details)
            if not await self.append(tenant, [self._scribe.event(tenant, CONTROL_PLANE, deed, reason)]):
                await self.append(SYSTEM_TENANT, [self._scribe.event(SYSTEM_TENANT, CONTROL_PLANE, deed, reason)])

    def _takes(self, tenant: TenantId, action: str) -> bool:
        """Whether a refusal is listed; if not, it is counted."""
        now = int(self._clock.monotonic())
        second = self._seconds.setdefault(tenant, _Second())
        if len(self._seconds) > MAX_TENANTS:
            _, oldest = self._seconds.popitem(last=False)
            if oldest.beyond:
                log.warning("refusals are not in the trail", count=oldest.beyond.total())
        if second.number != now:
            second.number, second.written = now, 0
        second.written += 1
        if second.written > MAX_PER_SECOND:
            second.beyond[action] += 1
            return False
        return True

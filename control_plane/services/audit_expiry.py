"""Lets the old part of each trail expire, once a day, after as many days as its tenant keeps it.

What goes is the beginning of a chain. The head keeps the hash before the rest, and an event in the trail itself says
what went: a beginning that is gone without such an event is a finding of the verification.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from control_plane.domain.audit import Actor, ActorType
from control_plane.domain.audit_chain import Head
from control_plane.domain.errors import MusterError
from control_plane.domain.ids import SYSTEM_TENANT, TenantId
from control_plane.runtime.clock import Clock
from control_plane.runtime.logs import get_logger
from control_plane.services.audit_checkpoints import AuditCheckpoints
from control_plane.services.caller import Caller, Deed, Scribe
from control_plane.storage import audit, audit_chain, audit_checkpoints
from control_plane.storage.audit_checkpoints import OldLink
from control_plane.storage.engine import Storage

log = get_logger(__name__)

EVERY_S = 24 * 3600.0
BATCH = 5_000
TIMEOUT_S = 30.0
# The installation's own trail belongs to no tenant that could say how long it is kept.
SYSTEM_RETENTION_DAYS = 400
EXPIRY = Caller(Actor(ActorType.SYSTEM, "audit expiry"))


@dataclass(frozen=True, slots=True)
class Expired:
    """What one run did."""

    tenants: int = 0
    events: int = 0


class AuditExpiry:
    """The duty."""

    def __init__(self, storage: Storage, checkpoints: AuditCheckpoints, clock: Clock) -> None:
        self._storage, self._checkpoints, self._clock, self._scribe = storage, checkpoints, clock, Scribe(clock)

    async def run(self) -> None:
        """Work once a day until cancelled."""
        while True:
            try:
                await self.run_once(self._clock.now())
            except MusterError as err:
                log.warning("old audit events did not expire", error=str(err))
            await asyncio.sleep(EVERY_S)

    async def run_once(self, now: datetime) -> Expired:
        """Let everything expire that is due at ``now``."""
        async with self._storage.begin_keeper(()) as tx:
            retentions = [(SYSTEM_TENANT, SYSTEM_RETENTION_DAYS), *await audit_checkpoints.retentions(tx)]
        covered = await self._checkpoints.covered()
        tenants = events = 0
        for tenant, days in retentions:
            count, last = 0, None if covered is None else covered.get(tenant, 0)
            try:
                while some := await self._expire(tenant, now - timedelta(days=days), last):
                    count += some
            except MusterError as err:
                # It must not keep the others; the next day tries again.
                log.warning("old audit events did not expire", tenant=str(tenant), error=str(err))
            tenants, events = tenants + (count > 0), events + count
        return Expired(tenants, events)

    async def _expire(self, tenant: TenantId, before: datetime, last: int | None) -> int:
        """Let a batch of events before ``before`` expire, none behind the seq ``last``; return how many."""
        async with self._storage.begin_keeper([tenant], timeout_s=TIMEOUT_S) as tx:
            if not await audit_chain.try_lock(tx, audit_chain.EXPIRY_LOCK):
                return 0
            head = (await audit_chain.heads(tx, [tenant])).get(tenant)
            if head is None:
                return 0
            links = _old(await audit_checkpoints.oldest(tx, head, head.seq if last is None else last, BATCH), before)
            if not links:
                return 0
            await audit_checkpoints.expire(tx, head, links)
            deed = Deed("audit.expire", "audit", str(tenant), _says(head, links))
            await audit.append(tx, [self._scribe.event(tenant, EXPIRY, deed)])
        log.info("old audit events expired", tenant=str(tenant), events=len(links), last_seq=links[-1].seq)
        return len(links)


def _old(links: Sequence[OldLink], before: datetime) -> list[OldLink]:
    """Return the links up to the first that is not old; those whose event is gone only with an old one behind."""
    found: list[OldLink] = []
    for index, link in enumerate(links):
        if link.at is not None and link.at >= before:
            break
        if link.at is not None:
            found = list(links[: index + 1])
    return found


def _says(head: Head, links: Sequence[OldLink]) -> dict[str, object]:
    end = links[-1]
    return {"events": len(links), "first_seq": head.first_seq, "last_seq": end.seq, "hash": end.hash.hex()}

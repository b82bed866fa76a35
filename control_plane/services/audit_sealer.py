"""Seals committed audit events into the chains of their tenants, shortly after their commit.

Writers take no lock of the chain: they say which events wait (``audit_pending``), and one sealer in the whole
installation gives each its place. What it does for a batch is one transaction, so a crash loses and repeats nothing.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from control_plane.domain.audit_chain import Content, Head, canonical, canonical_missing, genesis, link_hash
from control_plane.domain.errors import MusterError
from control_plane.domain.ids import SYSTEM_TENANT, EventId, TenantId
from control_plane.metrics import Metrics
from control_plane.runtime.clock import Clock
from control_plane.runtime.logs import get_logger
from control_plane.storage import audit_chain
from control_plane.storage.audit_chain import NewLink
from control_plane.storage.engine import Storage

log = get_logger(__name__)

CHANNEL = "muster_audit"
EVERY_S = 1.0
BATCH = 2_000
# The gauge says no more than this: counting a larger backlog each second would slow its end.
COUNT_LIMIT = 100_000
TIMEOUT_S = 30.0
# In one notification; for more it says "*": everybody looks.
MAX_TENANTS_TOLD = 100
EVERYBODY = "*"
# No chain gets so long: a head that says more was tampered with.
MAX_SEQ = 2**62

Waiting = Sequence[tuple[EventId, TenantId]]


@dataclass(frozen=True, slots=True)
class Sealed:
    """What one run did; ``is_standby``: another control plane is at it."""

    events: int = 0
    missing: int = 0
    is_standby: bool = False
    is_full: bool = False


class AuditSealer:
    """The duty."""

    def __init__(self, storage: Storage, metrics: Metrics, clock: Clock) -> None:
        self._storage, self._metrics, self._clock = storage, metrics, clock

    async def run(self) -> None:
        """Seal each second until cancelled."""
        while True:
            try:
                while (await self.run_once()).is_full:
                    pass
            except MusterError as err:
                # The database is away or slow: what waits goes on waiting.
                log.warning("audit events are not sealed just now", error=str(err))
            await asyncio.sleep(EVERY_S)

    async def run_once(self) -> Sealed:
        """Seal one batch."""
        async with self._storage.begin_keeper(()) as tx:
            waiting = await audit_chain.pending(tx, BATCH)
            count = len(waiting) if len(waiting) < BATCH else await audit_chain.count_pending(tx, COUNT_LIMIT)
        self._metrics.audit_pending.set(count)
        self._metrics.audit_seal_lag_s.set(self._lag_s(waiting))
        if not waiting:
            return Sealed()
        sealed = await self._seal(waiting)
        if sealed.missing:
            log.error("audit events were deleted before they were sealed", events=sealed.missing)
        return sealed

    async def _seal(self, waiting: Waiting) -> Sealed:
        async with self._storage.begin_keeper({tenant for _, tenant in waiting}, timeout_s=TIMEOUT_S) as tx:
            if not await audit_chain.try_lock(tx, audit_chain.SEALER_LOCK):
                return Sealed(is_standby=True)
            taken = await audit_chain.take(tx, waiting)
            contents = await audit_chain.contents(tx, taken)
            gone = {tenant for event, tenant in taken if str(event) not in contents}
            if gone:
                # A tenant that was purged meanwhile leaves nothing; an event that is gone by itself leaves its absence.
                purged = gone - await audit_chain.existing(tx, gone) - {SYSTEM_TENANT}
                taken = [one for one in taken if one[1] not in purged]
            if not taken:
                return Sealed()
            heads = await audit_chain.lock_heads(tx, (tenant for _, tenant in taken))
            heads = _mended(heads, await audit_chain.last_links(tx, heads))
            links, ends = await asyncio.to_thread(chain, taken, contents, heads)
            await audit_chain.add_links(tx, links, ends.values())
            await self._storage.notify(tx, CHANNEL, _told(ends))
        missing = sum(str(event) not in contents for event, _ in taken)
        return Sealed(len(taken), missing, is_full=len(waiting) == BATCH)

    def _lag_s(self, waiting: Waiting) -> float:
        if not waiting:
            return 0.0
        # The first 48 bits of a UUIDv7 are its milliseconds.
        oldest = datetime.fromtimestamp((waiting[0][0].int >> 80) / 1000, UTC)
        return max(0.0, (self._clock.now() - oldest).total_seconds())


def chain(
    taken: Waiting, contents: Mapping[str, Content], heads: Mapping[TenantId, Head]
) -> tuple[list[NewLink], dict[TenantId, Head]]:
    """Return the links of ``taken``, in its order, and where the chains end then."""
    ends, links = dict(heads), []
    for event, tenant in taken:
        head, content = ends[tenant], contents.get(str(event))
        seq = head.seq + 1
        sealed = canonical_missing(seq, tenant, str(event)) if content is None else canonical(seq, content)
        digest = link_hash(head.hash, sealed)
        ends[tenant] = replace(head, seq=seq, hash=digest)
        links.append(NewLink(tenant, seq, event, digest))
    return links, ends


def _mended(heads: Mapping[TenantId, Head], last: Mapping[TenantId, tuple[int, bytes]]) -> dict[TenantId, Head]:
    """Return where to go on: behind the last link, also where somebody set a head back or took it away.

    One tenant's tampered head must not keep the events of all others from being sealed. Where links are gone instead,
    the head is the higher one, and the gap stays.
    """
    found = {}
    for tenant, head in heads.items():
        said = head.seq, head.hash
        end = said if 0 <= head.seq < MAX_SEQ else (0, genesis(tenant))
        link = last.get(tenant, end)
        if end[0] <= link[0] < MAX_SEQ:
            end = link
        if end != said:
            log.error("the head of an audit chain is not its last link", tenant=str(tenant), seq=end[0])
        found[tenant] = replace(head, seq=end[0], hash=end[1])
    return found


def _told(tenants: Iterable[TenantId]) -> str:
    names = [str(tenant) for tenant in tenants]
    return EVERYBODY if len(names) > MAX_TENANTS_TOLD else ",".join(names)

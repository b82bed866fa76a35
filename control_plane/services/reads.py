"""Counts who reads the directory, and writes the counts into the audit trail each minute.

A read changes nothing, so its event shares no transaction with it, and one event for each would cost more than the
read. Hence one for each minute, tenant, caller, resource type and kind of read. It is kept in memory until then: a
process that crashes takes up to a minute of counts along; one that is stopped writes them first.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from control_plane.domain.audit import Actor, AuditEvent
from control_plane.domain.errors import MusterError
from control_plane.domain.ids import TenantId
from control_plane.runtime.clock import Clock
from control_plane.runtime.logs import get_logger
from control_plane.services.caller import Caller, Deed, Scribe
from control_plane.storage import audit
from control_plane.storage.engine import Storage

log = get_logger(__name__)

FLUSH_S = 60.0
# Counts that are kept; of readers beyond that, until the next minute, nothing is known but how many reads there were.
MAX_COUNTS = 20_000
BATCH = 500


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads what, in which way: "get" or "list"."""

    tenant: TenantId
    actor: Actor
    noun: str
    kind: str


@dataclass(slots=True)
class _Count:
    reads: int
    first: datetime
    last: datetime


class Reads:
    """One for each process."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage, self._clock, self._scribe = storage, clock, Scribe(clock)
        self._counts: dict[Reader, _Count] = {}
        self._beyond = 0

    def note(self, reader: Reader) -> None:
        """Count one read."""
        self._add(reader, _Count(1, now := self._clock.now(), now))

    async def run(self) -> None:
        """Write the counts each minute until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_S)
            await self.flush()

    async def flush(self) -> int:
        """Write the counts and return how many events that were; what the database does not take is kept."""
        counts, self._counts = self._counts, {}
        if self._beyond:
            log.warning("reads are not in the trail: too many different readers", reads=self._beyond)
            self._beyond = 0
        written = 0
        entries = list(counts.items())
        for batch in (entries[at : at + BATCH] for at in range(0, len(entries), BATCH)):
            try:
                async with self._storage.begin_batch({reader.tenant for reader, _ in batch}) as tx:
                    await audit.append(tx, self._events(batch))
            except MusterError as err:
                log.warning("read counts wait for the database", counts=len(batch), error=str(err))
                for reader, count in batch:
                    self._add(reader, count)
            else:
                written += len(batch)
        return written

    def _add(self, reader: Reader, count: _Count) -> None:
        known = self._counts.get(reader)
        if known is not None:
            known.reads += count.reads
            known.first, known.last = min(known.first, count.first), max(known.last, count.last)
        elif len(self._counts) < MAX_COUNTS:
            self._counts[reader] = count
        else:
            self._beyond += count.reads

    def _events(self, counts: Sequence[tuple[Reader, _Count]]) -> list[AuditEvent]:
        events = []
        for reader, count in counts:
            details = {"count": count.reads, "from": count.first.isoformat(), "to": count.last.isoformat()}
            deed = Deed(f"{reader.noun}.{reader.kind}", reader.noun, "", details)
            events.append(self._scribe.event(reader.tenant, Caller(reader.actor), deed))
        return events

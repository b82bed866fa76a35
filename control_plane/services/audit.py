"""Reads the audit trail, and erases persons from it."""

from control_plane.domain.audit import AuditQuery
from control_plane.domain.errors import FailedPrecondition, NotFound
from control_plane.domain.ids import EventId, ResourceId, TenantId
from control_plane.domain.resources import ResourceType
from control_plane.runtime.clock import Clock
from control_plane.services.caller import Caller, Deed, Scribe
from control_plane.services.trail import Entry, Trail
from control_plane.storage import audit, audit_subjects, resources
from control_plane.storage.engine import Storage


class AuditService:
    """The use cases of muster.audit.v1.AuditService that answer with one message."""

    def __init__(self, storage: Storage, trail: Trail, clock: Clock, timeout_s: float) -> None:
        """``timeout_s`` limits a search: what takes longer has to be asked for more narrowly."""
        self._storage, self._trail, self._clock, self._timeout_s = storage, trail, clock, timeout_s
        self._scribe = Scribe(clock)

    async def list(
        self, tenant: TenantId, query: AuditQuery, before: EventId | None, limit: int, *, with_personal: bool = False
    ) -> list[Entry]:
        """Return up to ``limit`` events older than ``before``, newest first; InvalidArgument if it takes too long."""
        async with self._storage.begin(tenant, read_only=True, timeout_s=self._timeout_s) as tx:
            found = await audit.list_events(tx, query, before, limit)
            return await self._trail.entries(tx, found, with_personal=with_personal)

    async def erase(self, caller: Caller, tenant: TenantId, subject: ResourceId) -> int:
        """Make the personal values of a deleted user unreadable for ever; return how many events had some.

        FailedPrecondition while the user is in the directory, NotFound if there never was one. The names that targets
        remember of the user go where the deletion has arrived; call it again for the others.
        """
        async with self._storage.begin(tenant) as tx:
            for kind in ResourceType:
                if await resources.get(tx, kind, [subject], lock=True):
                    raise FailedPrecondition(f"the {kind.noun} is in the directory: delete it first")
            traces = await audit_subjects.traces(tx, subject)
            if not traces.are_any:
                raise NotFound("user", subject)
            await audit_subjects.erase(tx, subject, self._clock.now())
            details = {"events": traces.events, "targets_to_come": traces.unsettled_targets}
            deed = Deed("audit.erase", ResourceType.USER.noun, str(subject), details)
            await audit.append(tx, [self._scribe.event(tenant, caller, deed)])
        self._trail.forget((tenant, subject))
        return traces.events

"""Reads the audit trail."""

from control_plane.domain.audit import AuditEvent, AuditQuery
from control_plane.domain.ids import EventId, TenantId
from control_plane.storage import audit
from control_plane.storage.engine import Storage


class AuditService:
    """The use case of muster.audit.v1.AuditService."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def list(self, tenant: TenantId, query: AuditQuery, before: EventId | None, limit: int) -> list[AuditEvent]:
        """Return up to ``limit`` events older than ``before``, newest first."""
        async with self._storage.begin(tenant, read_only=True) as tx:
            return await audit.list_events(tx, query, before, limit)

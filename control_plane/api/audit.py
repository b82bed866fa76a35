"""muster.audit.v1: the trail, read page by page, and the erasure of persons. Streams are in ``audit_trail.py``."""

import hashlib

from control_plane.api import convert, convert_audit
from control_plane.api.audit_trail import AuditTrailServicer, TrailUses
from control_plane.api.interceptors.auth import caller
from control_plane.api.interceptors.wrapping import Context
from control_plane.api.paging import PageTokens, page_size
from control_plane.domain.ids import EventId, ResourceId, parse_id
from control_plane.services.audit import AuditService
from protos.audit.v1 import audit_pb2 as pb


class AuditServicer(AuditTrailServicer):
    """muster.audit.v1.AuditService."""

    def __init__(self, service: AuditService, uses: TrailUses, pages: PageTokens) -> None:
        super().__init__(uses)
        self._service, self._pages = service, pages

    async def ListAuditEvents(self, request: pb.ListAuditEventsRequest, context: Context) -> pb.ListAuditEventsResponse:
        """List a tenant's events, newest first."""
        size, asked = page_size(request.page_size), _asked(request)
        before = self._pages.read(request.page_token, asked)
        found = await self._service.list(
            convert.tenant_id(request.tenant_id),
            convert_audit.query(request),
            EventId(before) if before else None,
            size,
            with_personal=request.include_personal,
        )
        return pb.ListAuditEventsResponse(
            events=[convert_audit.event(one) for one in found],
            next_page_token=self._pages.make(found[-1].event.id, asked) if len(found) == size else "",
        )

    async def EraseSubject(self, request: pb.EraseSubjectRequest, context: Context) -> pb.EraseSubjectResponse:
        """Erase a deleted user."""
        subject = ResourceId(parse_id(request.resource_id, "user"))
        events = await self._service.erase(caller(), convert.tenant_id(request.tenant_id), subject)
        return pb.EraseSubjectResponse(events=events)


def _asked(request: pb.ListAuditEventsRequest) -> str:
    """Return a digest of the conditions, to which page tokens are bound."""
    conditions = pb.ListAuditEventsRequest()
    conditions.CopyFrom(request)
    conditions.page_size, conditions.page_token = 0, ""
    return "audit " + hashlib.sha256(conditions.SerializeToString(deterministic=True)).hexdigest()

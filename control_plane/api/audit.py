"""muster.audit.v1: the trail, read-only."""

import hashlib

import orjson

from control_plane.api import convert
from control_plane.api.interceptors.wrapping import Context
from control_plane.api.paging import PageTokens, page_size
from control_plane.domain.audit import AuditQuery, Outcome
from control_plane.domain.ids import EventId
from control_plane.services.audit import AuditService
from protos.audit.v1 import audit_pb2 as pb
from protos.audit.v1 import audit_pb2_grpc as rpc


class AuditServicer(rpc.AuditServiceServicer):
    """muster.audit.v1.AuditService."""

    def __init__(self, service: AuditService, pages: PageTokens) -> None:
        self._service, self._pages = service, pages

    async def ListAuditEvents(self, request: pb.ListAuditEventsRequest, context: Context) -> pb.ListAuditEventsResponse:
        """List a tenant's events, newest first."""
        size, asked = page_size(request.page_size), _asked(request)
        before = self._pages.read(request.page_token, asked)
        query = AuditQuery(
            start=convert.moment(request.start_time, "start_time") if request.HasField("start_time") else None,
            end=convert.moment(request.end_time, "end_time") if request.HasField("end_time") else None,
            actor_id=request.actor_id or None,
            action=request.action or None,
            resource_id=request.resource_id or None,
            outcome=Outcome(request.outcome) if request.outcome else None,
        )
        tenant = convert.tenant_id(request.tenant_id)
        found = await self._service.list(tenant, query, EventId(before) if before else None, size)
        return pb.ListAuditEventsResponse(
            events=[convert.event(one, orjson.dumps(one.details).decode()) for one in found],
            next_page_token=self._pages.make(found[-1].id, asked) if len(found) == size else "",
        )


def _asked(request: pb.ListAuditEventsRequest) -> str:
    """Return a digest of the conditions, to which page tokens are bound."""
    conditions = pb.ListAuditEventsRequest()
    conditions.CopyFrom(request)
    conditions.page_size, conditions.page_token = 0, ""
    return "audit " + hashlib.sha256(conditions.SerializeToString(deterministic=True)).hexdigest()

"""Audit events and their conditions: domain <-> protobuf."""

import orjson

from control_plane.api import convert
from control_plane.domain.audit import ActorType, AuditQuery, Outcome
from control_plane.services.trail import Entry
from protos.audit.v1 import audit_pb2 as pb


def event(entry: Entry) -> pb.AuditEvent:
    """Return an event on the wire."""
    one = entry.event
    return pb.AuditEvent(
        id=str(one.id),
        tenant_id=str(one.tenant),
        time=convert.timestamp(one.at),
        actor_type=pb.ActorType.ValueType(one.actor.type),
        actor_id=one.actor.id,
        actor_address=one.actor.address,
        actor_agent=one.actor.agent,
        action=one.action,
        resource_type=one.resource_type,
        resource_id=one.resource_id,
        outcome=pb.Outcome.ValueType(one.outcome),
        reason=one.reason,
        request_id=one.request_id,
        trace_id=one.trace_id,
        details=orjson.dumps(one.details).decode(),
        personal=entry.personal,
        is_erased=entry.is_erased,
        seq=one.seq,
        hash=one.hash,
    )


def query(wire: pb.ListAuditEventsRequest | pb.AuditFilter) -> AuditQuery:
    """Return what a request asks for; both messages name the conditions alike."""
    return AuditQuery(
        start=convert.moment(wire.start_time, "start_time") if wire.HasField("start_time") else None,
        end=convert.moment(wire.end_time, "end_time") if wire.HasField("end_time") else None,
        actor_type=ActorType(wire.actor_type) if wire.actor_type else None,
        actor_id=wire.actor_id or None,
        action=wire.action or None,
        resource_type=wire.resource_type or None,
        resource_id=wire.resource_id or None,
        outcome=Outcome(wire.outcome) if wire.outcome else None,
        request_id=wire.request_id or None,
        trace_id=wire.trace_id or None,
    )

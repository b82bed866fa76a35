"""The streams of muster.audit.v1, and its checkpoints. Thin: translate, call, translate."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from control_plane.api import convert, convert_audit
from control_plane.api.interceptors.auth import caller
from control_plane.api.interceptors.wrapping import Context
from control_plane.domain.audit_check import Problem
from control_plane.domain.audit_forms import Form
from control_plane.domain.checkpoints import Statement
from control_plane.services.audit_checkpoints import AuditCheckpoints
from control_plane.services.audit_export import AuditExporter, Order
from control_plane.services.audit_tail import AuditTail
from control_plane.services.audit_verify import AuditVerifier
from protos.audit.v1 import audit_pb2 as pb
from protos.audit.v1 import audit_pb2_grpc as rpc


@dataclass(frozen=True, slots=True)
class TrailUses:
    """The use cases behind this part of the service."""

    tail: AuditTail
    exporter: AuditExporter
    verifier: AuditVerifier
    checkpoints: AuditCheckpoints


class AuditTrailServicer(rpc.AuditServiceServicer):
    """The part of muster.audit.v1.AuditService that follows the chain."""

    def __init__(self, uses: TrailUses) -> None:
        self._uses = uses

    async def TailAuditEvents(
        self, request: pb.TailAuditEventsRequest, context: Context
    ) -> AsyncIterator[pb.TailAuditEventsResponse]:
        """Send what is sealed from now on, or behind a place in the chain."""
        following = self._uses.tail.follow(
            convert.tenant_id(request.tenant_id),
            convert_audit.query(request.filter),
            request.after_seq if request.HasField("after_seq") else None,
            with_personal=request.include_personal,
        )
        async with aclosing(following) as messages:
            async for one in messages:
                events = [convert_audit.event(entry) for entry in one.entries]
                yield pb.TailAuditEventsResponse(events=events, seq=one.seq)

    async def ExportAuditEvents(
        self, request: pb.ExportAuditEventsRequest, context: Context
    ) -> AsyncIterator[pb.ExportAuditEventsResponse]:
        """Send a trail as a file."""
        order = Order(
            convert.tenant_id(request.tenant_id),
            convert_audit.query(request.filter),
            Form(request.format or pb.EXPORT_FORMAT_JSONL),
            with_personal=request.include_personal,
        )
        async with aclosing(self._uses.exporter.export(caller(), order)) as pieces:
            async for piece in pieces:
                yield pb.ExportAuditEventsResponse(data=piece.data, events=piece.events)

    async def VerifyAuditTrail(
        self, request: pb.VerifyAuditTrailRequest, context: Context
    ) -> AsyncIterator[pb.VerifyAuditTrailResponse]:
        """Verify a trail."""
        async with aclosing(self._uses.verifier.verify(convert.tenant_id(request.tenant_id))) as steps:
            async for step in steps:
                newest = step.checkpoint
                yield pb.VerifyAuditTrailResponse(
                    verified=step.verified,
                    total=step.total,
                    is_done=step.is_done,
                    problems=[_problem(one) for one in step.problems],
                    last_seq=step.last_seq,
                    checkpoint=None if newest is None else _checkpoint(newest.statement, newest.signature),
                )

    async def CreateCheckpoint(
        self, request: pb.CreateCheckpointRequest, context: Context
    ) -> pb.CreateCheckpointResponse:
        """Make a checkpoint now."""
        made = await self._uses.checkpoints.create(caller())
        return pb.CreateCheckpointResponse(checkpoint=_checkpoint(made.statement, made.signature))

    async def GetCheckpointKey(
        self, request: pb.GetCheckpointKeyRequest, context: Context
    ) -> pb.GetCheckpointKeyResponse:
        """Tell which key verifies checkpoints."""
        key = self._uses.checkpoints.public_key()
        return pb.GetCheckpointKeyResponse(key_id=key.id, public_key=key.raw)


def _problem(one: Problem) -> pb.Problem:
    return pb.Problem(
        kind=pb.ProblemKind.ValueType(one.kind), seq=one.seq, event_id=one.event_id, description=one.description
    )


def _checkpoint(statement: Statement, signature: bytes) -> pb.Checkpoint:
    return pb.Checkpoint(
        number=statement.number,
        time=convert.timestamp(datetime.fromisoformat(statement.time)),
        root=statement.root,
        heads=statement.heads,
        key_id=statement.key_id,
        signature=signature,
    )

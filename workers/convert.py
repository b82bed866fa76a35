"""Wire <-> messages. Nothing else in the worker sees the protobuf modules of leases."""

from google.protobuf import duration_pb2

from protos.directory.v1 import directory_pb2
from protos.lease.v1 import lease_pb2
from workers.leases import TurnDraft
from workers.messages import (
    DesiredResource,
    Done,
    FormerResource,
    Lease,
    Loss,
    Nack,
    ResourceKind,
    ScimTarget,
    Target,
    TargetKind,
)

PROTOCOL = 1


def hello(worker_id: str, session: bytes, kinds: list[TargetKind], slots: int, held: list[Lease]) -> lease_pb2.Hello:
    """Return the first message of a stream."""
    return lease_pb2.Hello(
        worker_id=worker_id,
        session=session,
        protocol=PROTOCOL,
        kinds=[kind.value for kind in kinds],  # type: ignore[misc]  # the enum has the wire's numbers
        slots=slots,
        held=[held_lease(lease) for lease in held],
    )


def held_lease(lease: Lease) -> lease_pb2.Held:
    """Return the wire's name of a lease."""
    return lease_pb2.Held(key=lease.key, epoch=lease.epoch, fence=lease.fence, grant=lease.grant)


def turn(draft: TurnDraft) -> lease_pb2.Turn:
    """Return a turn as it is sent."""
    return lease_pb2.Turn(
        seq=draft.seq,
        credit=draft.credit,
        done=[_done(result) for result in draft.results if isinstance(result, Done)],
        nack=[_nack(result) for result in draft.results if isinstance(result, Nack)],
        beat=[lease_pb2.Beat(fence=fence, progress=progress) for fence, progress in draft.beats],
        draining=draft.draining,
    )


def _done(done: Done) -> lease_pb2.Done:
    return lease_pb2.Done(
        fence=done.fence,
        applied_version=done.applied_version,
        remote_id=done.remote_id,
        effect=done.effect.value,  # type: ignore[arg-type]  # the enum has the wire's numbers
        calls=done.calls,
    )


def _nack(nack: Nack) -> lease_pb2.Nack:
    message = lease_pb2.Nack(
        fence=nack.fence,
        failure_class=nack.failure.value,  # type: ignore[arg-type]  # the enum has the wire's numbers
        error=nack.error,
        remote_id=nack.remote_id,
    )
    if nack.retry_after_s is not None:
        seconds = max(0.0, nack.retry_after_s)
        message.retry_after.CopyFrom(
            duration_pb2.Duration(seconds=int(seconds), nanos=int((seconds - int(seconds)) * 1_000_000_000))
        )
    return message


def target(message: lease_pb2.TargetSnapshot) -> Target | None:
    """Return the target; None if it is of a kind that this worker never said it knows."""
    if message.WhichOneof("config") != "scim" or message.kind != TargetKind.SCIM.value:
        return None
    config = ScimTarget(base_url=message.scim.base_url.rstrip("/"), bearer_token=message.scim.bearer_token)
    return Target(message.id, message.tenant_id, TargetKind.SCIM, message.revision, config)


def lease(message: lease_pb2.Lease, target: Target | None) -> Lease:
    """Return the lease with its target."""
    desired = None
    if message.HasField("desired"):
        resource = message.desired
        desired = DesiredResource(resource.id, resource.external_id, resource.document)
    is_group = message.type == directory_pb2.RESOURCE_TYPE_GROUP
    return Lease(
        key=message.key,
        epoch=message.epoch,
        fence=message.fence,
        version=message.version,
        attempt=message.attempt,
        stale=message.stale,
        kind=ResourceKind.GROUP if is_group else ResourceKind.USER,
        desired=desired,
        remote_id=message.remote_id,
        target=target,
        former=FormerResource(message.former.id, message.former.name, message.former.external_id)
        if message.HasField("former")
        else None,
        grant=message.grant,
    )


def loss(reason: int) -> Loss:
    """Return why a lease was lost."""
    known: dict[int, Loss] = {lease_pb2.LOSS_REASON_EPOCH: Loss.EPOCH, lease_pb2.LOSS_REASON_REVOKED: Loss.REVOKED}
    return known.get(reason, Loss.EXPIRED)

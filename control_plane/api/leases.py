"""muster.lease.v1: the stream of leases to workers. Translates between the wire and the lease engine."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

import grpc

from control_plane.api import convert
from control_plane.api.errors import CallRefused
from control_plane.api.interceptors.auth import identity
from control_plane.api.interceptors.wrapping import Context
from control_plane.client.names import id_in, is_name_of
from control_plane.domain.jobs import Effect, Failure, Fence, JobKey
from control_plane.domain.targets import Work
from control_plane.runtime.logs import get_logger
from control_plane.services.grants import Grants
from control_plane.services.leases import LeaseEngine
from control_plane.services.sessions import Done, Granted, Held, Nack, OpenTarget, Session, Told, Turn
from protos.lease.v1 import lease_pb2 as pb
from protos.lease.v1 import lease_pb2_grpc as rpc
from protos.tenancy.v1 import tenancy_pb2

log = get_logger(__name__)

HELLO_TIMEOUT_S = 10.0
# Workers beat three times in a lease's life, so that two lost beats do not end it.
BEATS_PER_TTL = 3
MAX_RETRY_S = 3600.0


class LeaseServicer(rpc.LeaseServiceServicer):
    """muster.lease.v1.LeaseService."""

    def __init__(self, engine: LeaseEngine, grants: Grants) -> None:
        self._engine, self._grants = engine, grants

    async def StreamLeases(self, requests: AsyncIterator[pb.StreamLeasesRequest], context: Context) -> None:  # type: ignore[override]  # the reader-writer form of grpc.aio
        """Serve one worker until either side ends the stream."""
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            first = await anext(requests, None)
        if first is None or not first.HasField("hello"):
            raise CallRefused(grpc.StatusCode.INVALID_ARGUMENT, "HELLO_EXPECTED", "the first message must be a Hello")
        hello = first.hello
        holder = _holder(hello.worker_id)
        held, foreign = self._adopted(holder, hello.held)
        session = self._engine.open(hello.worker_id, hello.slots, held, foreign)
        try:
            ttl_s = self._engine.ttl_s
            control = pb.Control(
                lease_ttl=convert.duration(ttl_s), heartbeat_period=convert.duration(ttl_s / BEATS_PER_TTL)
            )
            await context.write(pb.StreamLeasesResponse(control=control))
            await self._serve(session, holder, requests, context)
        finally:
            self._engine.close(session)

    def _adopted(self, holder: "_Holder", named: Iterable[pb.Held]) -> tuple[list[Held], list[int]]:
        """Return the leases named in a Hello that were granted to this very worker, and the fences of the others."""
        held, foreign = [], []
        for one in named:
            lease = _held(one)
            if self._grants.is_good(one.grant, holder.identity, holder.worker, lease.key, lease.fence):
                held.append(lease)
            else:
                foreign.append(one.fence)
        if foreign:
            log.warning("leases not adopted: not granted to this worker", worker=holder.worker, count=len(foreign))
        return held, foreign

    async def _serve(
        self, session: Session, holder: "_Holder", requests: AsyncIterator[pb.StreamLeasesRequest], context: Context
    ) -> None:
        """Read turns and write messages at the same time; the end of one ends the other."""

        def grant(lease: Granted) -> bytes:
            return self._grants.issue(holder.identity, holder.worker, lease.key, lease.fence)

        async def read() -> None:
            async for request in requests:
                if request.HasField("turn"):
                    self._engine.receive(session, _turn(request.turn))
            session.close()

        async def write() -> None:
            while (told := await session.outgoing.get()) is not None:
                await context.write(_told(told, grant))

        async with asyncio.TaskGroup() as group:
            reader = group.create_task(read())
            await write()
            reader.cancel()

    async def StreamLeaseMembers(
        self, request: pb.StreamLeaseMembersRequest, context: Context
    ) -> AsyncIterator[pb.StreamLeaseMembersResponse]:
        """Stream a leased group's members as ids in the target."""
        held, holder = _held(request.lease), _holder(request.worker_id)
        self._grants.check(request.lease.grant, holder.identity, holder.worker, held.key, held.fence)
        after = None
        while page := await self._engine.members(held.key, held.fence, after):
            yield pb.StreamLeaseMembersResponse(remote_ids=page)
            after = page[-1]


@dataclass(frozen=True, slots=True)
class _Holder:
    """Whom leases are granted to: the caller that was proved, and which of its workers it says to be."""

    identity: str
    worker: str


def _holder(worker: str) -> _Holder:
    """Return the holder of this call; CallRefused if a worker calls itself by another certificate's name."""
    caller = identity()
    if caller.peer and not is_name_of(worker, caller.peer):
        raise CallRefused(
            grpc.StatusCode.PERMISSION_DENIED,
            "WORKER_ID",
            f"worker_id must be the id in the certificate, {id_in(caller.peer)!r}, or begin with it and '-' or '/'",
        )
    return _Holder(caller.id, worker)


def _held(wire: pb.Held) -> Held:
    return Held(JobKey.unpack(wire.key), Fence(wire.epoch, wire.fence), attempt=1, version=0, noun="resource")


def _turn(wire: pb.Turn) -> Turn:
    return Turn(
        seq=wire.seq,
        credit=wire.credit,
        done=tuple(
            Done(one.fence, one.applied_version, one.remote_id, Effect(one.effect or Effect.NONE), one.calls)
            for one in wire.done
        ),
        nacks=tuple(_nack(one) for one in wire.nack),
        beats=tuple(one.fence for one in wire.beat),
        draining=wire.draining,
    )


def _nack(wire: pb.Nack) -> Nack:
    return Nack(
        fence=wire.fence,
        failure=Failure(wire.failure_class or Failure.TRANSIENT),
        retry_after_s=_wait_s(wire) if wire.HasField("retry_after") else None,
        error=wire.error,
        remote_id=wire.remote_id,
    )


def _wait_s(wire: pb.Nack) -> float:
    """Return how long a worker asks to leave a resource alone, within bounds: no target may name years."""
    return min(max(convert.span(wire.retry_after).total_seconds(), 0.0), MAX_RETRY_S)


def _told(told: Told, grant: Callable[[Granted], bytes]) -> pb.StreamLeasesResponse:
    return pb.StreamLeasesResponse(
        ack_seq=told.ack_seq,
        leases=[_lease(one, grant(one)) for one in told.leases],
        settled=told.settled,
        lost=[pb.Lost(fence=fence, reason=pb.LossReason.ValueType(why)) for fence, why in told.lost],
        targets=[_snapshot(one) for one in told.targets],
    )


def _lease(one: Granted, grant: bytes) -> pb.Lease:
    work = one.work
    return pb.Lease(
        key=one.key.pack(),
        epoch=one.fence.epoch,
        fence=one.fence.fence,
        version=work.desired_version,
        attempt=one.attempt,
        stale=one.stale,
        type=int(work.type),  # type: ignore[arg-type]  # the values are the wire's
        desired=convert.resource(work.desired) if work.desired else None,
        remote_id=work.remote_id,
        target_id=str(work.target),
        former=_former(work),
        grant=grant,
    )


def _former(work: Work) -> pb.FormerResource | None:
    if work.former is None:
        return None
    return pb.FormerResource(id=str(work.resource), name=work.former.name, external_id=work.former.external_id)


def _snapshot(one: OpenTarget) -> pb.TargetSnapshot:
    target = one.target
    return pb.TargetSnapshot(
        id=str(target.id),
        tenant_id=str(target.tenant),
        kind=int(target.kind),  # type: ignore[arg-type]  # the values are the wire's
        revision=target.revision,
        scim=tenancy_pb2.ScimTargetConfig(base_url=target.base_url, bearer_token=one.secret),
    )

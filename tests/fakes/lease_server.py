"""A LeaseService on a real port, moved by hand: the test decides what is leased, confirmed, settled and lost."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc
import orjson
from google.protobuf.duration_pb2 import Duration

from protos.directory.v1 import directory_pb2
from protos.lease.v1 import lease_pb2
from protos.lease.v1.lease_pb2_grpc import LeaseServiceServicer, add_LeaseServiceServicer_to_server
from protos.tenancy.v1 import tenancy_pb2

TENANT, TARGET = UUID(int=1), UUID(int=2)
TOKEN = "fake-worker-token"
WAIT_S = 4.0

Context = Any  # grpc.aio.ServicerContext; its stubs mix it with the synchronous one


def lease_of(
    fence: int,
    *,
    document: dict[str, Any] | None,
    resource: int = 100,
    group: bool = False,
    remote_id: str = "",
    attempt: int = 1,
) -> lease_pb2.Lease:
    """Return a lease on a resource; ``document`` None: it was deleted."""
    kind = directory_pb2.RESOURCE_TYPE_GROUP if group else directory_pb2.RESOURCE_TYPE_USER
    lease = lease_pb2.Lease(
        key=TENANT.bytes + TARGET.bytes + UUID(int=resource).bytes,
        epoch=1,
        fence=fence,
        version=fence * 10,
        attempt=attempt,
        type=kind,
        remote_id=remote_id,
        target_id=str(TARGET),
        grant=b"grant of %d" % fence,
    )
    if document is not None:
        desired = directory_pb2.Resource(
            id=str(UUID(int=resource)), type=kind, document=orjson.dumps(document).decode()
        )
        lease.desired.CopyFrom(desired)
    return lease


class FakeLeaseServer(LeaseServiceServicer):
    """Answers Hello with Control and confirms each turn; all else by the test's hand."""

    def __init__(self, ttl_s: float, heartbeat_s: float) -> None:
        self.ttl_s, self.heartbeat_s = ttl_s, heartbeat_s
        self.address = ""
        self.scim_url, self.scim_token = "http://127.0.0.1:9/none", "target-token"
        self.confirms = True  # whether turns are answered
        self.settles = True  # whether results are settled
        self.cuts_cleanly = False  # whether a cut is the status OK
        self.parting: list[lease_pb2.Lease] = []  # given when a turn says "draining", before that is confirmed
        self.hellos: list[lease_pb2.Hello] = []
        self.turns: list[lease_pb2.Turn] = []
        self.metadata: list[dict[str, str]] = []
        self.members: dict[int, list[str]] = {}  # by fence
        self.refused_members: set[int] = set()
        self.asked_members: list[lease_pb2.StreamLeaseMembersRequest] = []
        self.goodbyes = 0  # streams that the worker ended in order
        self._contexts: list[Context] = []
        self._cuts: dict[Context, asyncio.Event] = {}
        self._changed = asyncio.Condition()
        self._writing = asyncio.Lock()

    async def StreamLeases(self, requests: AsyncIterator[lease_pb2.StreamLeasesRequest], context: Context) -> None:  # type: ignore[override]  # the reader-writer form
        self.metadata.append(dict(context.invocation_metadata()))
        first = await anext(requests)
        self.hellos.append(first.hello)
        control = lease_pb2.Control(lease_ttl=_span(self.ttl_s), heartbeat_period=_span(self.heartbeat_s))
        await context.write(lease_pb2.StreamLeasesResponse(control=control))
        self._contexts.append(context)
        cut = self._cuts[context] = asyncio.Event()
        await self._notify()
        reading = asyncio.ensure_future(self._read(requests, context))
        cutting = asyncio.ensure_future(cut.wait())
        try:
            await asyncio.wait([reading, cutting], return_when=asyncio.FIRST_COMPLETED)
            if cut.is_set() and not self.cuts_cleanly:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "cut by the test")
        finally:
            reading.cancel()
            cutting.cancel()
            self._contexts.remove(context)

    async def _read(self, requests: AsyncIterator[lease_pb2.StreamLeasesRequest], context: Context) -> None:
        async for request in requests:
            await self._turn(request.turn, context)
        self.goodbyes += 1
        await self._notify()

    async def _turn(self, turn: lease_pb2.Turn, context: Context) -> None:
        self.turns.append(turn)
        await self._notify()
        if turn.draining and self.parting:
            leases, self.parting = self.parting, []
            await self.give(*leases, ack_seq=turn.seq - 1)
        if self.confirms:
            fences = [done.fence for done in turn.done] + [nack.fence for nack in turn.nack]
            settled = fences if self.settles else []
            await self._write(context, lease_pb2.StreamLeasesResponse(ack_seq=turn.seq, settled=settled))

    async def _write(self, context: Context, message: lease_pb2.StreamLeasesResponse) -> None:
        # gRPC takes one write at a time on a stream; the test and the answers to turns take turns.
        async with self._writing:
            await context.write(message)

    async def StreamLeaseMembers(
        self, request: lease_pb2.StreamLeaseMembersRequest, context: Context
    ) -> AsyncIterator[lease_pb2.StreamLeaseMembersResponse]:
        self.asked_members.append(request)
        if request.lease.fence in self.refused_members:
            await context.abort(grpc.StatusCode.ABORTED, "the lease is lost")
        for member in self.members.get(request.lease.fence, []):
            yield lease_pb2.StreamLeaseMembersResponse(remote_ids=[member])

    # What a test does.

    async def give(self, *leases: lease_pb2.Lease, ack_seq: int | None = None) -> None:
        """Send leases, with the snapshot of their target, confirming what was read so far or up to ``ack_seq``."""
        snapshot = lease_pb2.TargetSnapshot(
            id=str(TARGET),
            tenant_id=str(TENANT),
            kind=tenancy_pb2.TARGET_KIND_SCIM,
            revision=1,
            scim=tenancy_pb2.ScimTargetConfig(base_url=self.scim_url, bearer_token=self.scim_token),
        )
        if ack_seq is None:
            ack_seq = self.turns[-1].seq if self.turns else 0
        await self.say(lease_pb2.StreamLeasesResponse(ack_seq=ack_seq, leases=leases, targets=[snapshot]))

    async def say(self, message: lease_pb2.StreamLeasesResponse) -> None:
        """Send a message on the newest stream."""
        await self._write(self._contexts[-1], message)

    async def lose(self, fence: int) -> None:
        """Say that a lease is lost."""
        lost = lease_pb2.Lost(fence=fence, reason=lease_pb2.LOSS_REASON_EXPIRED)
        await self.say(lease_pb2.StreamLeasesResponse(lost=[lost]))

    def cut(self) -> None:
        """End the newest stream from this side, as a server that goes away does."""
        self._cuts[self._contexts[-1]].set()

    # What a test waits for.

    async def until(self, holds: Callable[[], Any], what: str) -> None:
        """Wait until ``holds()``; it is asked again after each message of the worker."""
        try:
            async with asyncio.timeout(WAIT_S), self._changed:
                await self._changed.wait_for(holds)
        except TimeoutError:
            raise AssertionError(f"did not happen within {WAIT_S} s: {what}") from None

    async def connected(self, times: int = 1) -> None:
        """Wait for the ``times``-th Hello and the first turn after it."""
        await self.until(lambda: len(self.hellos) >= times, f"Hello number {times}")
        await self.until(lambda: self._firsts() >= times, "a turn after Hello")

    def _firsts(self) -> int:
        return sum(turn.seq == 1 for turn in self.turns)

    async def result(self, fence: int) -> lease_pb2.Done | lease_pb2.Nack:
        """Wait for a result and return it."""
        await self.until(lambda: self.results(fence), f"a result of lease {fence}")
        return self.results(fence)[0]

    def results(self, fence: int) -> list[lease_pb2.Done | lease_pb2.Nack]:
        """Return every time that a result of this lease was sent."""
        said: list[lease_pb2.Done | lease_pb2.Nack] = []
        for turn in self.turns:
            said += [done for done in turn.done if done.fence == fence]
            said += [nack for nack in turn.nack if nack.fence == fence]
        return said

    def beats(self, fence: int) -> int:
        """Return how many turns carried a beat of this lease."""
        return sum(any(beat.fence == fence for beat in turn.beat) for turn in self.turns)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


@asynccontextmanager
async def lease_server(ttl_s: float = 3.0, heartbeat_s: float = 0.2, port: int = 0) -> AsyncIterator[FakeLeaseServer]:
    """Run a fake in this loop, on a free port if none is given."""
    server = grpc.aio.server()
    fake = FakeLeaseServer(ttl_s, heartbeat_s)
    add_LeaseServiceServicer_to_server(fake, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    fake.address = f"127.0.0.1:{port}"
    await server.start()
    try:
        yield fake
    finally:
        await server.stop(None)


def _span(seconds: float) -> Duration:
    span = Duration()
    span.FromTimedelta(timedelta(seconds=seconds))
    return span

"""The worker's end of LeaseService.StreamLeases: one stream, kept up for the life of the process.

Everything here runs on the stream thread's loop (see ``bridge.py``), where no handler runs, so nothing a connector does
can delay a heartbeat. All gRPC of the process happens on this loop.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

import grpc

from control_plane.client.channel import open_channel
from control_plane.client.errors import decode
from control_plane.client.tls import ClientTls
from control_plane.runtime.clock import Clock
from control_plane.runtime.logs import get_logger
from protos.lease.v1 import lease_pb2
from protos.lease.v1.lease_pb2_grpc import LeaseServiceStub
from workers import convert
from workers.leases import LeaseBook
from workers.messages import Assigned, Lease, Loss, Result, Target, TargetKind
from workers.metrics import WorkerMetrics

if TYPE_CHECKING:
    from protos.lease.v1.lease_pb2_grpc import LeaseServiceAsyncStub

# Full jitter between streams: uniform between the first and a ceiling that doubles up to the second.
RECONNECT_MIN_S, RECONNECT_MAX_S = 0.1, 3.0
# How long the server may take to answer Hello.
FIRST_MESSAGE_S = 5.0
# Heartbeat until the server tells its own.
FIRST_HEARTBEAT_S = 1.0
# How long the server may take to end the stream after we said that we have finished.
GOODBYE_S = 0.3
# Longest wait for a group's members; a group of 50,000 takes about a second.
MEMBERS_TIMEOUT_S = 30.0

SESSION_BYTES = 16

log = get_logger(__name__)

# A string: the stubs know the parameters, the class at run time does not.
LeaseCall: TypeAlias = "grpc.aio.StreamStreamCall[lease_pb2.StreamLeasesRequest, lease_pb2.StreamLeasesResponse]"


class StreamEnded(Exception):
    """The lease stream ended; the message says why."""


class LeaseGone(Exception):
    """The control plane says that the lease is no longer ours: stop, and report nothing."""


class ControlPlaneAway(Exception):
    """The control plane could not answer a question about a lease."""


class Inbox(Protocol):
    """Who works on the leases. The stream posts to it; each method returns at once."""

    def assigned(self, leases: Sequence[Assigned]) -> None:
        """Take new leases."""
        ...

    def renewed(self, deadlines: dict[int, float]) -> None:
        """Take new deadlines by fence."""
        ...

    def revoked(self, fences: Sequence[int]) -> None:
        """Stop working on these leases; report nothing about them."""
        ...


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """Where to connect, and as whom."""

    addresses: str
    token: str = field(repr=False)
    worker_id: str
    slots: int
    kinds: tuple[TargetKind, ...]
    tls: ClientTls | None = None


class LeaseStream:
    """Speaks the protocol and keeps the book; ``inbox`` gets what concerns the handlers."""

    def __init__(self, settings: StreamSettings, clock: Clock, metrics: WorkerMetrics, inbox: Inbox) -> None:
        self._settings, self._clock, self._metrics, self._inbox = settings, clock, metrics, inbox
        self._session = clock.random_bytes(SESSION_BYTES)
        self._book = LeaseBook(settings.slots)
        self._targets: dict[str, Target | None] = {}
        self._ttl_s = 0.0
        self._heartbeat_s = FIRST_HEARTBEAT_S
        self._failures = 0
        self._leases: LeaseServiceAsyncStub | None = None  # while connected
        self._metadata = (("authorization", f"Bearer {settings.token}"),) if settings.token else ()
        self._changed = asyncio.Event()  # the next turn has something to say
        self._moved = asyncio.Event()  # a result was settled
        self._closing = asyncio.Event()

    # What the handlers tell, by way of the bridge.

    def finish(self, result: Result) -> None:
        """Send a result, again and again over reconnects, until the server settles it."""
        if not self._book.finished(result):
            log.info("result dropped: the lease is no longer ours", fence=result.fence)
            return
        self._changed.set()
        self._measure()

    def progress(self, fence: int, calls: int) -> None:
        """Let the next heartbeat say that the lease moves."""
        self._book.progress(fence, calls)

    def drain(self) -> None:
        """Ask for no more leases."""
        self._book.drain()
        self._changed.set()

    async def members(self, lease: Lease) -> frozenset[str]:
        """Return the target's ids of a leased group's members; LeaseGone or ControlPlaneAway."""
        if self._leases is None:
            raise ControlPlaneAway("the lease stream is down")
        request = lease_pb2.StreamLeaseMembersRequest(
            lease=convert.held_lease(lease), worker_id=self._settings.worker_id
        )
        ids: set[str] = set()
        try:
            call = self._leases.StreamLeaseMembers(request, metadata=self._metadata, timeout=MEMBERS_TIMEOUT_S)
            async for piece in call:
                ids.update(piece.remote_ids)
        except grpc.aio.AioRpcError as err:
            if err.code() in (grpc.StatusCode.ABORTED, grpc.StatusCode.NOT_FOUND):
                raise LeaseGone("the control plane gave the lease to somebody else") from err
            raise ControlPlaneAway(f"members could not be read: {decode(err)}") from err
        except asyncio.CancelledError:
            if _cancelled_by_us():
                raise
            raise ControlPlaneAway("the connection ended while members were read") from None
        return frozenset(ids)

    async def settled(self) -> None:
        """Wait until no result is unsettled and, after ``drain``, the server knows that it may send no more leases."""
        while not self._book.is_settled:
            self._moved.clear()
            await self._moved.wait()

    def close(self) -> None:
        """Say goodbye to the server and let ``run`` return; whatever is still held is handed back."""
        self._book.drain()
        self._hand_back(self._book.fences)
        self._closing.set()
        self._changed.set()

    # The life of the stream.

    async def run(self) -> None:
        """Keep a stream standing until ``close``; enforce deadlines all the while, connected or not."""
        async with asyncio.TaskGroup() as group:
            expiry = group.create_task(self._expire_forever())
            while not self._closing.is_set():
                # A task for each stream: in Python 3.11.2 (Debian 12) a TaskGroup that failed leaves its task half
                # cancelled, and the next asyncio.timeout in that task raises CancelledError.
                await group.create_task(self._connect_once())
                await self._pause()
            expiry.cancel()

    async def _connect_once(self) -> None:
        """Open a stream and return when it has ended, for whatever reason but our own cancellation."""
        reason = ""
        # A channel for each stream: one that is half open, or sulks in its own back-off, is not met again. It takes
        # the certificate of this moment, and the control plane ends each connection after an hour or two.
        async with open_channel(self._settings.addresses, self._settings.tls) as channel:
            self._leases = LeaseServiceStub(channel)
            call: LeaseCall = self._leases.StreamLeases(metadata=self._metadata)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._write(call))
                    group.create_task(self._read(call))
                    group.create_task(self._end_when_closing())
            except* (grpc.aio.AioRpcError, StreamEnded, TimeoutError) as errors:
                reason = _why(errors.exceptions[0])
            finally:
                self._leases = None
                self._metrics.connected.set(0)
                call.cancel()
        self._failures += 1
        if not self._closing.is_set():
            self._metrics.reconnects.inc()
            log.warning("lease stream ended", reason=reason, held=self._book.working, failures=self._failures)

    async def _pause(self) -> None:
        ceiling = min(RECONNECT_MAX_S, RECONNECT_MIN_S * 2.0 ** min(self._failures, 10))
        wait_s = RECONNECT_MIN_S + (ceiling - RECONNECT_MIN_S) * self._clock.jitter()
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._closing.wait()

    async def _write(self, call: LeaseCall) -> None:
        held = self._book.connected(self._clock.monotonic())
        self._targets.clear()
        hello = convert.hello(
            self._settings.worker_id, self._session, list(self._settings.kinds), self._settings.slots, held
        )
        await _send(call, lease_pb2.StreamLeasesRequest(hello=hello))
        # The last lease may be on its way to us: it can be handed back only while this side of the stream is open.
        while not (self._closing.is_set() and self._book.is_settled):
            self._changed.clear()
            # The time of sending is taken before sending: deadlines count from it.
            turn = convert.turn(self._book.turn(self._clock.monotonic()))
            await _send(call, lease_pb2.StreamLeasesRequest(turn=turn))
            if not self._book.has_unsent:
                await self._wait_for_change()
        await call.done_writing()

    async def _end_when_closing(self) -> None:
        await self._closing.wait()
        await asyncio.sleep(GOODBYE_S)
        raise StreamEnded("closed")

    async def _wait_for_change(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._heartbeat_s):
                await self._changed.wait()
                # What else arrived in this round of the loop goes into the same turn.
                await asyncio.sleep(0)

    async def _read(self, call: LeaseCall) -> None:
        silence_s = FIRST_MESSAGE_S
        while True:
            message = await _receive(call, silence_s)
            self._take(message)
            # The server confirms each heartbeat. Silence means a half-open connection: reconnect while leases live.
            silence_s = self._ttl_s / 2 or FIRST_MESSAGE_S

    def _take(self, message: lease_pb2.StreamLeasesResponse) -> None:
        """Act on one message. Losses come before confirmations: a lost lease must not get a new deadline."""
        if message.HasField("control"):
            self._begin(message.control)
        for snapshot in message.targets:
            self._targets[snapshot.id] = convert.target(snapshot)
        self._lose([lost.fence for lost in message.lost], [convert.loss(lost.reason) for lost in message.lost])
        for fence in message.settled:
            self._book.settled(fence)
        if renewed := self._book.confirmed(message.ack_seq):
            self._inbox.renewed(renewed)
        leases = [convert.lease(lease, self._targets.get(lease.target_id)) for lease in message.leases]
        if assigned := [taken for lease in leases if (taken := self._book.take(lease))]:
            if self._book.draining:
                self._hand_back([taken.lease.fence for taken in assigned])
            else:
                self._inbox.assigned(assigned)
        if self._book.is_settled:
            self._moved.set()
            if self._closing.is_set():
                self._changed.set()
        self._measure()

    def _begin(self, control: lease_pb2.Control) -> None:
        self._ttl_s = control.lease_ttl.ToTimedelta().total_seconds()
        self._heartbeat_s = control.heartbeat_period.ToTimedelta().total_seconds() or self._ttl_s / 3
        self._book.configure(self._ttl_s)
        self._failures = 0
        self._metrics.connected.set(1)
        # The writer may be waiting for its first, longer heartbeat.
        self._changed.set()
        log.info("lease stream stands", lease_ttl_s=self._ttl_s, heartbeat_s=self._heartbeat_s)

    def _hand_back(self, fences: Sequence[int]) -> None:
        """Give leases up that nobody will finish any more."""
        if released := self._book.hand_back(fences, "the worker is stopping"):
            self._metrics.results.labels("nack", "released").inc(len(released))
            self._inbox.revoked(released)
            self._changed.set()

    def _lose(self, fences: Sequence[int], reasons: Sequence[Loss]) -> None:
        mine = []
        for fence, reason in zip(fences, reasons, strict=True):
            if self._book.lost(fence):
                mine.append(fence)
                self._metrics.lost.labels(reason.value).inc()
                log.warning("lease lost", fence=fence, reason=reason.value)
        if mine:
            self._inbox.revoked(mine)
            self._changed.set()

    async def _expire_forever(self) -> None:
        while True:
            await asyncio.sleep(min(0.5, max(0.02, self._ttl_s / 30)))
            self.expire_once()

    def expire_once(self) -> int:
        """Give up the leases whose deadline passed on our clock; return how many."""
        gone = self._book.expired(self._clock.monotonic())
        if gone:
            self._metrics.lost.labels(Loss.DEADLINE.value).inc(len(gone))
            log.warning("leases given up: no heartbeat was confirmed in time", fences=gone[:20], count=len(gone))
            self._inbox.revoked(gone)
            self._changed.set()
            self._measure()
        return len(gone)

    def _measure(self) -> None:
        self._metrics.leases_held.set(self._book.working)
        self._metrics.unsettled.set(self._book.unsettled)


async def _send(call: LeaseCall, request: lease_pb2.StreamLeasesRequest) -> None:
    try:
        await call.write(request)
    except asyncio.InvalidStateError as err:
        raise StreamEnded("the server ended the stream") from err
    except asyncio.CancelledError:
        if _cancelled_by_us():
            raise
        raise StreamEnded("the stream was cancelled by its other end") from None


async def _receive(call: LeaseCall, silence_s: float) -> lease_pb2.StreamLeasesResponse:
    try:
        async with asyncio.timeout(silence_s):
            message = await call.read()
    except asyncio.CancelledError:
        if _cancelled_by_us():
            raise
        raise StreamEnded("the stream was cancelled by its other end") from None
    except TimeoutError as err:
        raise StreamEnded(f"no answer for {silence_s:g} s") from err
    if not isinstance(message, lease_pb2.StreamLeasesResponse):
        raise StreamEnded("the server ended the stream")
    return message


def _cancelled_by_us() -> bool:
    """Return whether somebody asked this task to stop.

    grpc.aio raises CancelledError also when the *call* was cancelled by the server, which is nobody's wish to stop us.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _why(err: BaseException) -> str:
    if isinstance(err, grpc.aio.AioRpcError):
        return f"{err.code().name}: {err.details()}"[:300]
    return str(err)

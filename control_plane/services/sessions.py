"""What one connected worker holds, says and is told."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from control_plane.domain.jobs import Effect, Failure, Fence, JobKey, Loss
from control_plane.domain.targets import Target, Work

# A worker that does not read this many messages is cut off; it reconnects and names what it holds.
OUTGOING_LIMIT = 256
# Leases that ended without a result are remembered, so that a late result is known for what it is.
REMEMBERED_LOST = 1_000
# A character takes up to four bytes and a document alone up to 1 MiB, so a message stays below 2 MiB.
MESSAGE_CHARS = 512 * 1024


@dataclass(frozen=True, slots=True)
class Done:
    """The worker says that the target agrees."""

    fence: int
    applied_version: int
    remote_id: str
    effect: Effect
    calls: int


@dataclass(frozen=True, slots=True)
class Nack:
    """The worker gives a lease up."""

    fence: int
    failure: Failure
    retry_after_s: float | None
    error: str
    remote_id: str


@dataclass(frozen=True, slots=True)
class Turn:
    """What changed at the worker since its last turn."""

    seq: int
    credit: int
    done: tuple[Done, ...] = ()
    nacks: tuple[Nack, ...] = ()
    beats: tuple[int, ...] = ()
    draining: bool = False


@dataclass(frozen=True, slots=True)
class Granted:
    """A lease as sent: the key with its fence, and what is to be done."""

    key: JobKey
    fence: Fence
    attempt: int
    stale: int
    work: Work


@dataclass(frozen=True, slots=True)
class Held:
    """What the server remembers of a lease that a worker holds."""

    key: JobKey
    fence: Fence
    attempt: int
    version: int  # that the lease is about; 0: not known, after an adoption
    noun: str  # "user", "group", or "resource" after an adoption


@dataclass(frozen=True, slots=True)
class OpenTarget:
    """A target's settings with the secret opened, for the worker that holds a lease on it."""

    target: Target
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Told:
    """One message to a worker. ``lost`` are the fences of leases that ended, and why."""

    ack_seq: int
    leases: tuple[Granted, ...] = ()
    settled: tuple[int, ...] = ()
    lost: tuple[tuple[int, Loss], ...] = ()
    targets: tuple[OpenTarget, ...] = ()


class Session:
    """One stream. Only the lease engine changes it."""

    def __init__(self, worker: str, slots: int, held: list[Held]) -> None:
        self.worker, self.slots = worker, slots
        self.held = {one.fence.fence: one for one in held}
        self.gone: OrderedDict[int, Held] = OrderedDict()
        self.beats: set[int] = set(self.held)
        self.credit, self.draining, self.closed = 0, False, False
        # The last turn read; the last whose beats were extended, which is what the worker may rely on; the last told.
        self.seen_seq, self.confirmed_seq, self.acked_seq = 0, 0, 0
        self.settled: list[int] = []
        self.lost: list[tuple[int, Loss]] = []
        self.known_targets: dict[bytes, int] = {}
        self.outgoing: asyncio.Queue[Told | None] = asyncio.Queue(OUTGOING_LIMIT)

    def free(self) -> int:
        """Return how many more leases it can take: what it said, less what is on its way."""
        if self.draining or self.closed:
            return 0
        return max(0, min(self.credit, self.slots - len(self.held)))

    def end_lease(self, fence: int) -> Held | None:
        """Forget a lease that has its result, held or long lost; None if it was never known here."""
        return self.held.pop(fence, None) or self.gone.pop(fence, None)

    def lose(self, fence: int, why: Loss) -> None:
        """Tell the worker that a lease is no longer held, and remember it for a late result."""
        held = self.held.pop(fence, None)
        if held is None:
            return
        self.gone[fence] = held
        if len(self.gone) > REMEMBERED_LOST:
            self.gone.popitem(last=False)
        self.lost.append((fence, why))

    def tell(self, leases: tuple[Granted, ...] = (), targets: tuple[OpenTarget, ...] = ()) -> None:
        """Queue one message with everything that has happened; close the session if the worker does not read."""
        if not (leases or targets or self.settled or self.lost or self.confirmed_seq > self.acked_seq):
            return
        told = Told(self.confirmed_seq, leases, tuple(self.settled), tuple(self.lost), targets)
        self.settled, self.lost, self.acked_seq = [], [], self.confirmed_seq
        try:
            self.outgoing.put_nowait(told)
        except asyncio.QueueFull:
            self.close()

    def grant(self, leases: list[Granted], targets: list[OpenTarget]) -> None:
        """Hand leases over, in messages that stay far below gRPC's limit however large the documents are."""
        piece: list[Granted] = []
        size = 0
        for lease in leases:
            length = len(lease.work.desired.document) if lease.work.desired else 0
            if piece and size + length > MESSAGE_CHARS:
                self.tell(tuple(piece), tuple(targets))
                piece, size, targets = [], 0, []
            piece.append(lease)
            size += length
        self.tell(tuple(piece), tuple(targets))

    def close(self) -> None:
        """End the stream; what the worker holds stays leased until it reconnects or the lease runs out."""
        self.closed = True
        if self.outgoing.full():
            self.outgoing.get_nowait()
        self.outgoing.put_nowait(None)

"""PURE. The book of the leases a worker holds: their deadlines, what the next turn says, which results are not settled.

All times are seconds on the monotonic clock of this process and come from the caller. A lease's deadline is the time at
which we *sent* the last turn that the server confirmed, plus the lease's life: the server counts from when it read that
turn, which is later, so we stop first. Nothing here knows the wire or a thread.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from workers.limits import acceptable
from workers.messages import Assigned, Done, Failure, Lease, Nack, Result

# As in lease.proto: a turn's lists have at most this many entries; what is more waits for the next turn.
MAX_PER_TURN = 1000
# Above this many results without settlement no new leases are asked for: the control plane cannot write just now.
MAX_UNSETTLED = 1000


@dataclass(frozen=True, slots=True)
class TurnDraft:
    """What the next turn says."""

    seq: int
    credit: int
    results: tuple[Result, ...]
    beats: tuple[tuple[int, int], ...]  # (fence, calls made so far)
    draining: bool


@dataclass(slots=True)
class _Working:
    lease: Lease
    deadline: float
    progress: int = 0


@dataclass(frozen=True, slots=True)
class _Sent:
    seq: int
    at: float
    fences: tuple[int, ...]
    draining: bool


class LeaseBook:
    """The leases of one worker process, over all its connections."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._ttl_s = 0.0
        self._draining = False
        self._drain_confirmed = False  # on this stream
        self._working: dict[int, _Working] = {}
        self._unsettled: dict[int, tuple[Lease, Result]] = {}
        self._unsent: dict[int, Result] = {}
        self._sent: deque[_Sent] = deque()
        self._seq = 0
        self._confirmed_at = 0.0

    # What the connection tells.

    def connected(self, at: float) -> list[Lease]:
        """Begin a stream whose Hello is sent at ``at``; return the leases that the Hello names.

        Results without settlement are sent again: the server may or may not have got them, and takes them twice.
        """
        self._seq = 0
        self._sent.clear()
        self._drain_confirmed = False
        self._confirmed_at = at
        self._unsent = {fence: result for fence, (_, result) in self._unsettled.items()}
        held = [entry.lease for entry in self._working.values()]
        return (held + [lease for lease, _ in self._unsettled.values()])[:MAX_PER_TURN]

    def configure(self, ttl_s: float) -> None:
        """Take the life of a lease from the server."""
        self._ttl_s = ttl_s

    def take(self, lease: Lease) -> Assigned | None:
        """Take a new lease; None if we have it already (a server that adopts may send it again).

        When it was claimed is unknown, but not before the server had the turn that it last confirmed or, which is as
        good, before we could have asked: the first deadline counts from the sending of that turn.
        """
        if lease.fence in self._working or lease.fence in self._unsettled:
            return None
        deadline = self._confirmed_at + self._ttl_s
        self._working[lease.fence] = _Working(lease, deadline)
        return Assigned(lease, deadline, self._ttl_s)

    def confirmed(self, seq: int) -> dict[int, float]:
        """Note that the server read all turns up to ``seq``; return the new deadlines by fence."""
        renewed: dict[int, float] = {}
        while self._sent and self._sent[0].seq <= seq:
            turn = self._sent.popleft()
            self._confirmed_at = turn.at
            self._drain_confirmed = self._drain_confirmed or turn.draining
            for fence in turn.fences:
                if entry := self._working.get(fence):
                    entry.deadline = renewed[fence] = turn.at + self._ttl_s
        return renewed

    def settled(self, fence: int) -> None:
        """Forget a result that is durable at the server."""
        self._unsettled.pop(fence, None)
        self._unsent.pop(fence, None)

    def lost(self, fence: int) -> bool:
        """Forget a lease that is no longer ours; True if it was being worked on."""
        self.settled(fence)
        return self._working.pop(fence, None) is not None

    # What the handlers tell.

    def progress(self, fence: int, calls: int) -> None:
        """Note that a handler makes its ``calls``-th call."""
        if entry := self._working.get(fence):
            entry.progress = calls

    def finished(self, result: Result) -> bool:
        """Keep a result until it is settled; False if the lease is no longer ours, which drops the result.

        The only way into a turn, so what the wire would refuse ends here: sent again and again, it would end every
        stream and with it all other leases.
        """
        entry = self._working.pop(result.fence, None)
        if entry is None:
            return False
        kept = acceptable(result)
        self._unsettled[result.fence] = (entry.lease, kept)
        self._unsent[result.fence] = kept
        return True

    def hand_back(self, fences: Iterable[int], why: str) -> list[int]:
        """Give up those of these leases that are ours, without a result; return their fences."""
        return [fence for fence in fences if self.finished(Nack(fence, Failure.RELEASED, why))]

    def drain(self) -> None:
        """Ask for no more leases, ever."""
        self._draining = True

    # What time tells.

    def expired(self, now: float) -> list[int]:
        """End the leases whose deadline has passed and return their fences.

        They are handed back without a result. The hand-back is fenced, so it changes nothing for another holder; and if
        the server still believes them to be ours, somebody else can begin at once.
        """
        gone = [fence for fence, entry in self._working.items() if entry.deadline <= now]
        return self.hand_back(gone, "no heartbeat was confirmed in time")

    def turn(self, now: float) -> TurnDraft:
        """Return the next turn, which the caller sends at once."""
        self._seq += 1
        fences = tuple(self._working)[:MAX_PER_TURN]
        results = tuple(self._unsent.values())[:MAX_PER_TURN]
        for result in results:
            del self._unsent[result.fence]
        self._sent.append(_Sent(self._seq, now, fences, self._draining))
        beats = tuple((fence, self._working[fence].progress) for fence in fences)
        return TurnDraft(self._seq, self.credit, results, beats, self._draining)

    # What others ask.

    @property
    def credit(self) -> int:
        """Return how many leases we can take now."""
        if self._draining or len(self._unsettled) >= MAX_UNSETTLED:
            return 0
        return max(0, self._slots - len(self._working))

    @property
    def draining(self) -> bool:
        """Return whether we ask for no more leases."""
        return self._draining

    @property
    def fences(self) -> tuple[int, ...]:
        """Return the leases that are being worked on."""
        return tuple(self._working)

    @property
    def working(self) -> int:
        """Return how many leases are being worked on."""
        return len(self._working)

    @property
    def unsettled(self) -> int:
        """Return how many results are not settled."""
        return len(self._unsettled)

    @property
    def is_settled(self) -> bool:
        """Return whether nothing is unsettled; of a worker that drains, also that nothing more can come.

        A lease may be on its way until the server has confirmed a turn that says "draining", and only on this stream.
        """
        if self._draining and (self._working or not self._drain_confirmed):
            return False
        return not self._unsettled

    @property
    def has_unsent(self) -> bool:
        """Return whether results wait for a turn."""
        return bool(self._unsent)


def result_label(result: Result) -> str:
    """Return the metric label of ``result``: its effect or its failure, in lower case."""
    match result:
        case Done():
            return result.effect.name.lower()
        case Nack():
            return result.failure.name.lower()

"""One turn as the script calls that it takes, and their replies as one result. Pure: `LeaseQueue.turn` does the I/O."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from control_plane.domain.jobs import Fence, JobKey
from control_plane.queue import keys
from control_plane.queue.model import Claim, Entry, Extend, Settle, TurnResult

US_PER_S = 1_000_000
MORE_FOLLOWS = -1  # in place of `want`: only settle and extend, the last call of the turn does the rest


@dataclass(frozen=True, slots=True)
class Reply:
    """What lua/turn.lua answers."""

    settled: bytes
    extended: bytes
    reaped: int
    promoted: int
    wake_us: int
    claims: bytes


@dataclass(frozen=True, slots=True)
class Request:
    """One call of lua/turn.lua; the numbers are places in the turn's settles and extends."""

    shard: int
    want: int
    settles: list[int]
    extends: list[int]


class Turn:
    """The calls of one turn: for each shard one, and more when there are more items than a script takes."""

    def __init__(self, epoch: int, want: int, settles: Sequence[Settle], extends: Sequence[Extend]) -> None:
        self._epoch, self._want, self._settles, self._extends = epoch, want, settles, extends
        self._claims: list[Claim] = []
        self._settled, self._extended = [False] * len(settles), [False] * len(extends)
        self._reaped = self._promoted = 0
        self._wake_us: dict[int, int] = {}  # the last word of each shard

    def requests(self, first_shard: int) -> Iterator[Request]:
        """Yield the calls, each after the reply to the one before was taken."""
        settles, extends = self._places(self._settles), self._places(self._extends)
        for step in range(keys.SHARDS):
            shard = (first_shard + step) % keys.SHARDS
            calls = _calls(settles.get(shard, []), extends.get(shard, []))
            for number, (some_settles, some_extends) in enumerate(calls, start=1):
                is_last = number == len(calls)
                want = max(0, min(self._want, keys.MAX_CLAIMS) - len(self._claims))
                yield Request(shard, want if is_last else MORE_FOLLOWS, some_settles, some_extends)

    def pack(self, request: Request) -> tuple[bytes, bytes]:
        """Return the settles and the extends of a request as the script reads them."""
        return (
            b"".join(_pack_settle(self._settles[place]) for place in request.settles),
            b"".join(_pack_extend(self._extends[place]) for place in request.extends),
        )

    def take(self, request: Request, reply: Reply) -> None:
        """Note the reply to ``request``."""
        for place, taken in zip(request.settles, reply.settled, strict=True):
            self._settled[place] = bool(taken)
        for place, taken in zip(request.extends, reply.extended, strict=True):
            self._extended[place] = bool(taken)
        self._reaped += reply.reaped
        self._promoted += reply.promoted
        self._wake_us[request.shard] = reply.wake_us
        for key, fence, version, attempt, stale in keys.CLAIM.iter_unpack(reply.claims):
            lease = Fence(self._epoch, int(fence))
            self._claims.append(Claim(JobKey.unpack(key), lease, int(version), attempt, stale))

    def result(self) -> TurnResult:
        """Return what all calls did together."""
        wakes_us = [wake for wake in self._wake_us.values() if wake >= 0]
        return TurnResult(
            claims=tuple(self._claims),
            settled=tuple(self._settled),
            extended=tuple(self._extended),
            reaped=self._reaped,
            promoted=self._promoted,
            next_wake_s=min(wakes_us) / US_PER_S if wakes_us else None,
        )

    def _places(self, items: Sequence[Settle | Extend]) -> dict[int, list[int]]:
        places: dict[int, list[int]] = {}
        for place, item in enumerate(items):
            # A lease of another life is lost without asking: the fences of this life know nothing of it.
            if item.fence.epoch == self._epoch:
                places.setdefault(keys.shard_of(item.key.tenant), []).append(place)
        return places


def _calls(settles: list[int], extends: list[int]) -> list[tuple[list[int], list[int]]]:
    """Return what goes into each call: all settles before the first extend, as in a turn that fits into one."""
    first, *others = _pieces(extends, keys.MAX_EXTENDS)
    *before, last = _pieces(settles, keys.MAX_SETTLES)
    return [*((piece, []) for piece in before), (last, first), *(([], piece) for piece in others)]


def _pieces(places: list[int], size: int) -> list[list[int]]:
    return [places[start : start + size] for start in range(0, len(places), size)] or [[]]


def pack_entry(entry: Entry) -> bytes:
    """Return an entry as lua/enqueue.lua reads it."""
    return keys.ENTRY.pack(entry.key.pack(), entry.version, entry.priority, entry.expedite)


def _pack_settle(settle: Settle) -> bytes:
    return keys.SETTLE.pack(
        settle.key.pack(), settle.fence.fence, settle.kind, settle.version, max(0, settle.delay_ms) * 1000
    )


def _pack_extend(extend: Extend) -> bytes:
    return keys.EXTEND.pack(extend.key.pack(), extend.fence.fence)

"""What goes into the queue and what comes out of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from control_plane.domain.errors import MusterError
from control_plane.domain.jobs import Fence, JobKey


class EpochLost(MusterError):
    """The queue lives in another epoch, or lost everything: reset it with a new one and enqueue all unfinished work."""

    reason = "EPOCH_LOST"


class Priority(IntEnum):
    """Which of a flow's lines a key stands in; an earlier line is emptied first."""

    HIGH = 0
    NORMAL = 1
    BULK = 2


class SettleKind(IntEnum):
    """How a lease ended."""

    DONE = 0
    RETRY = 1
    RELEASE = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """Work: make the key's target agree with ``version`` or newer. ``expedite`` ends a delay of the key."""

    key: JobKey
    version: int
    priority: Priority = Priority.NORMAL
    expedite: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease: the newest wanted version, 1 for the first attempt since the last success, leases that ran out since."""

    key: JobKey
    fence: Fence
    version: int
    attempt: int
    stale: int


@dataclass(frozen=True, slots=True)
class Settle:
    """The end of a lease.

    DONE: ``version`` was applied; the key goes, or is ready again if a newer one is wanted.
    RETRY: one attempt more, after ``delay_ms``; at once if ``version`` is given and a newer one is wanted by now.
    RELEASE: ready again as if never claimed.
    """

    key: JobKey
    fence: Fence
    kind: SettleKind
    version: int = 0
    delay_ms: int = 0


@dataclass(frozen=True, slots=True)
class Extend:
    """A lease whose time shall begin again."""

    key: JobKey
    fence: Fence


@dataclass(frozen=True, slots=True)
class TurnResult:
    """What one turn did.

    ``settled`` and ``extended`` answer item by item; False means lost: nothing was changed. ``next_wake_s`` is when the
    next lease expires or delay ends; 0.0 when ready keys remain, None when nothing is known to come.
    """

    claims: tuple[Claim, ...]
    settled: tuple[bool, ...]
    extended: tuple[bool, ...]
    reaped: int
    promoted: int
    next_wake_s: float | None


@dataclass(frozen=True, slots=True)
class QueueStats:
    """How much work the queue holds, by state; and the counters of this life (see README.md)."""

    keys: int
    ready: int
    leased: int
    delayed: int
    flows: int
    counters: Mapping[str, int]

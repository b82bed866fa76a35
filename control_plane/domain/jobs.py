"""Keys, leases and results of the lease queue, and the back-off rule."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from uuid import UUID

from control_plane.domain.ids import ResourceId, TargetId, TenantId

KEY_BYTES = 48


@dataclass(frozen=True, slots=True)
class JobKey:
    """One resource in one target of one tenant: what a lease is for."""

    tenant: TenantId
    target: TargetId
    resource: ResourceId

    def pack(self) -> bytes:
        """Return the 48 bytes that name this key in Redis and on the wire."""
        return self.tenant.bytes + self.target.bytes + self.resource.bytes

    @classmethod
    def unpack(cls, raw: bytes) -> "JobKey":
        """Return the key of 48 bytes; ValueError for any other length."""
        if len(raw) != KEY_BYTES:
            raise ValueError(f"a job key has {KEY_BYTES} bytes, not {len(raw)}")
        tenant, target, resource = (UUID(bytes=raw[at : at + 16]) for at in (0, 16, 32))
        return cls(TenantId(tenant), TargetId(target), ResourceId(resource))


@dataclass(frozen=True, slots=True, order=True)
class Fence:
    """The fencing token: the pair rises over all claims of a key, over losses of the queue too."""

    epoch: int
    fence: int


class Failure(IntEnum):
    """Why a lease was given up; the values are those of the wire (muster.lease.v1.FailureClass)."""

    TRANSIENT = 1
    THROTTLED = 2
    AUTH = 3
    INVALID = 4
    UNREACHABLE = 5
    RELEASED = 6


class Loss(IntEnum):
    """Why a lease ended without its result; the values are those of the wire (muster.lease.v1.LossReason)."""

    EXPIRED = 1
    EPOCH = 2
    REVOKED = 3


class Effect(IntEnum):
    """What a worker did; the values are those of the wire (muster.lease.v1.Effect)."""

    NONE = 1
    CREATED = 2
    ADOPTED = 3
    UPDATED = 4
    DELETED = 5


@dataclass(frozen=True, slots=True)
class Result:
    """A worker's word on one lease, for the fenced write."""

    key: JobKey
    fence: Fence
    worker: str
    at: datetime
    applied_version: int = 0  # when done
    effect: Effect = Effect.NONE
    failure: Failure | None = None  # when given up
    error: str = ""
    remote_id: str | None = None  # None: not known to this result; "" : gone from the target


@dataclass(frozen=True, slots=True)
class BackOff:
    """Full jitter (AWS, "Exponential Backoff And Jitter").

    The n-th wait is uniform in [0, min(cap, base * 2^(n-1))] seconds, but at least ``floor_s``.
    """

    base_s: float
    cap_s: float
    floor_s: float = 0.05

    def wait_s(self, attempt: int, jitter: float) -> float:
        """Return the wait in seconds after failed attempt ``attempt`` (1 = the first); ``jitter`` is in [0, 1)."""
        ceiling = min(self.cap_s, self.base_s * 2.0 ** min(max(attempt, 1) - 1, 30))
        return max(self.floor_s, ceiling * jitter)


BACK_OFF = {
    Failure.TRANSIENT: BackOff(base_s=0.5, cap_s=15.0),
    Failure.UNREACHABLE: BackOff(base_s=0.5, cap_s=10.0),
    Failure.THROTTLED: BackOff(base_s=1.0, cap_s=30.0, floor_s=0.5),
    Failure.AUTH: BackOff(base_s=5.0, cap_s=300.0, floor_s=1.0),
    # Retried slowly: a change of the resource raises the desired version and comes at once.
    Failure.INVALID: BackOff(base_s=5.0, cap_s=600.0, floor_s=1.0),
}

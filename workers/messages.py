"""What travels inside a worker: leases in, results out. No protobuf; the numbers of enums are those of the wire."""

from dataclasses import dataclass, field
from enum import Enum, IntEnum


class TargetKind(IntEnum):
    """Which protocol a target app speaks (muster.tenancy.v1.TargetKind)."""

    SCIM = 1


class ResourceKind(Enum):
    """What a lease is about; the value is SCIM's name of the type."""

    USER = "User"
    GROUP = "Group"


class Effect(IntEnum):
    """What was done in the target (muster.lease.v1.Effect)."""

    NONE = 1
    CREATED = 2
    ADOPTED = 3
    UPDATED = 4
    DELETED = 5


class Failure(IntEnum):
    """Why a lease is given up (muster.lease.v1.FailureClass)."""

    TRANSIENT = 1
    THROTTLED = 2
    AUTH = 3
    INVALID = 4
    UNREACHABLE = 5
    RELEASED = 6


class Loss(Enum):
    """Why a lease ended before its result."""

    EXPIRED = "expired"  # the server says so
    EPOCH = "epoch"  # the queue was lost and rebuilt
    REVOKED = "revoked"  # its tenant was suspended or deleted
    DEADLINE = "deadline"  # our own clock says so: no heartbeat was confirmed in time


@dataclass(frozen=True, slots=True)
class ScimTarget:
    """How to reach a SCIM 2.0 service provider."""

    base_url: str
    bearer_token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Target:
    """A target app as of ``revision``."""

    id: str
    tenant_id: str
    kind: TargetKind
    revision: int
    config: ScimTarget


@dataclass(frozen=True, slots=True)
class DesiredResource:
    """The directory's resource; ``document`` is its JSON text without id, meta and members."""

    id: str
    external_id: str
    document: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class FormerResource:
    """What a deleted resource was called."""

    resource_id: str
    name: str  # userName or displayName
    external_id: str  # "": it had none


@dataclass(frozen=True, slots=True)
class Lease:
    """The right, for a short time, to make one resource in one target equal to its desired state."""

    key: bytes
    epoch: int
    fence: int
    version: int
    attempt: int
    stale: int
    kind: ResourceKind
    desired: DesiredResource | None  # None: it was deleted and must go from the target
    remote_id: str  # "": not linked yet
    target: Target | None  # None: its snapshot never came
    former: FormerResource | None = None  # deleted and never linked: what it was called
    grant: bytes = field(default=b"", repr=False)  # proves to the control plane that the lease is ours


@dataclass(frozen=True, slots=True)
class Assigned:
    """A lease with its time: ``deadline`` is on this process's monotonic clock."""

    lease: Lease
    deadline: float
    ttl_s: float


@dataclass(frozen=True, slots=True)
class Done:
    """The target equals the desired state. ``remote_id`` is "" when it is gone from there.

    One that was deleted after it had been found by its former name keeps the id that it had: the control plane makes
    sure that no living resource was linked to it meanwhile.
    """

    fence: int
    applied_version: int
    remote_id: str
    effect: Effect
    calls: int


@dataclass(frozen=True, slots=True)
class Nack:
    """A lease given up. ``retry_after_s`` None: the control plane chooses."""

    fence: int
    failure: Failure
    error: str = ""
    retry_after_s: float | None = None
    remote_id: str = ""


Result = Done | Nack

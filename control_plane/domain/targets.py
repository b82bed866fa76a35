"""Target apps, and what each resource needs there."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from control_plane.domain.ids import ResourceId, TargetId, TenantId
from control_plane.domain.resources import ResourceType, StoredResource


class TargetKind(IntEnum):
    """Which protocol; the values are those of the wire."""

    SCIM = 1


class TargetState(IntEnum):
    """Whether Muster writes there; the values are those of the wire."""

    PAUSED = 1
    ACTIVE = 2


@dataclass(frozen=True, slots=True)
class Target:
    """A target's settings. ``secret_sealed`` is opened only for the worker that holds a lease."""

    id: TargetId
    tenant: TenantId
    display_name: str
    kind: TargetKind
    state: TargetState
    base_url: str
    secret_sealed: bytes
    revision: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """How far a target is behind."""

    total: int
    pending: int
    failing: int
    oldest_pending_at: datetime | None
    last_error: str


@dataclass(frozen=True, slots=True)
class Former:
    """What a deleted resource was called: an account that nobody told us of can be found by it."""

    name: str  # userName or displayName
    external_id: str  # "": it had none, and the target was given the resource's id


@dataclass(frozen=True, slots=True)
class Work:
    """What a lease is about, as read from the database at dispatch."""

    target: TargetId
    resource: ResourceId
    type: ResourceType
    desired_version: int
    applied_version: int
    remote_id: str
    desired: StoredResource | None  # None: deleted, must go from the target
    target_state: TargetState
    attempts: int
    former: Former | None = None  # deleted and never linked

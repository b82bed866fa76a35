"""What a connector is: how a worker reads and writes one kind of target app.

``plan`` is pure and ``apply`` the only writer, so a plan can be shown, tested and thrown away. ``converge.py`` owns the
order of things; ``workers/README.md`` tells how to write a connector in one page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from workers.messages import Effect, FormerResource, ResourceKind

# JSON of a SCIM resource: the edge at which `Any` is allowed.
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Desired:
    """What the target should have. ``document`` None: nothing, the resource was deleted."""

    kind: ResourceKind
    resource_id: str
    document: Document | None = field(default=None, repr=False)
    members: frozenset[str] = frozenset()  # ids in the target; groups only
    former: FormerResource | None = None  # deleted and never linked: what it was called


@dataclass(frozen=True, slots=True)
class Remote:
    """What the target has. ``attributes`` are as the target shows them, without members."""

    remote_id: str
    attributes: Document = field(default_factory=dict, repr=False)
    members: frozenset[str] = frozenset()


class Op(Enum):
    """The kinds of step."""

    CREATE = "create"
    UPDATE = "update"  # the difference only
    REPLACE = "replace"  # the whole resource
    DELETE = "delete"
    ADD_MEMBERS = "add_members"
    REMOVE_MEMBERS = "remove_members"


@dataclass(frozen=True, slots=True)
class Step:
    """One write, which is one request to the target.

    ``remote_id`` "" means the one that this plan's CREATE gives. What ``payload`` holds is the connector's own affair.
    """

    op: Op
    kind: ResourceKind
    remote_id: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict, repr=False)
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step did. ``remote_id`` is "" after a delete."""

    remote_id: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps from what is to what should be, in order; none if they agree."""

    steps: Sequence[Step]
    effect: Effect


class Permit(Protocol):
    """The lease's right to call the target."""

    async def call(self) -> float:
        """Return the time limit in seconds of one more call; ask before each request, reads too."""
        ...


class Connector(Protocol):
    """One open connection to one target. Used by many leases at once."""

    async def open(self, permit: Permit) -> None:
        """Connect and learn what the target can do."""
        ...

    async def close(self) -> None:
        """Give back what ``open`` took."""
        ...

    async def fetch(self, permit: Permit, kind: ResourceKind, remote_id: str) -> Remote | None:
        """Return the resource with that id; None only if the target says with authority that it is not there."""
        ...

    async def find(self, permit: Permit, desired: Desired) -> Remote | None:
        """Return the one resource that may be linked to ``desired``, checked by us and not by the target's filter.

        None only if the target was searched completely; Rejected if several fit.
        """
        ...

    async def find_former(self, permit: Permit, desired: Desired) -> Remote | None:
        """Return what an earlier lease made of a resource that was deleted since, known by all of ``desired.former``.

        None where there is any doubt: what is returned here is deleted.
        """
        ...

    def plan(self, desired: Desired, have: Remote | None) -> Plan:
        """Return what to do. PURE: no I/O, no clock, no chance."""
        ...

    async def apply(self, permit: Permit, step: Step) -> StepResult:
        """Do one step; the only writer."""
        ...


class TargetError(Exception):
    """Base of what can go wrong at a target. The text is for people and never holds a secret."""

    def __init__(self, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.text, self.retry_after_s = text, retry_after_s


class TargetFailed(TargetError):
    """The target failed, or what became of the request is unknown: the next attempt begins with reading back."""


class Throttled(TargetError):
    """The target asks to slow down."""


class CredentialRefused(TargetError):
    """The target refuses the credential."""


class Rejected(TargetError):
    """The target, or our own caution, refuses this resource as it is."""


class Unreachable(TargetError):
    """No connection to the target."""


class Conflict(TargetError):
    """A create was refused because the name is taken: look it up."""


class Gone(TargetError):
    """A write found no such resource: read it before believing that."""


class PlanAgain(TargetError):
    """The target cannot do a step in the way that it said it could; the connector now knows better."""

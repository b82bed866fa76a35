"""A stored SCIM resource: the columns that are decided on, and the document."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any

from control_plane.domain.ids import ResourceId

# Up to this many members travel inside a resource (and scim.limits.INLINE_MEMBERS_BYTES), and up to this size PATCH
# answers with the group; more are streamed.
INLINE_MEMBERS = 1000


class ResourceType(IntEnum):
    """The kinds of resource; the values are those of the wire and of the database."""

    USER = 1
    GROUP = 2

    @property
    def noun(self) -> str:
        """What audit and messages call it."""
        return self.name.lower()

    @property
    def scim_name(self) -> str:
        """SCIM's name of the resource type."""
        return self.name.capitalize()

    @property
    def endpoint(self) -> str:
        """What stands in URLs after the base."""
        return f"/{self.scim_name}s"


# A SCIM document as parsed JSON, without id, meta and members; canonical attribute names.
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class NewResource:
    """What a create or replace stores; ``key`` columns are folded for case-insensitive comparison."""

    id: ResourceId
    type: ResourceType
    user_name: str | None
    external_id: str | None
    display_name: str | None
    active: bool | None
    document: Document
    at: datetime
    # (attribute, key) of the values that lists look up by equality and that are no column (scim/keys.py).
    keys: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class StoredResource:
    """A resource as the database has it. ``document`` is JSON text: reads pass it through untouched."""

    id: ResourceId
    type: ResourceType
    version: int
    user_name: str | None
    external_id: str | None
    display_name: str | None
    active: bool | None
    created_at: datetime
    updated_at: datetime
    document: str
    members: str = ""  # JSON array text, when asked for and not too many
    member_count: int = 0  # INLINE_MEMBERS + 1 for all that is too many to travel: nobody counts further
    groups: str = ""  # JSON array text of a user's groups, when asked for
    selected: str = (
        ""  # the whole representation in JSON, when attributes were selected; document and lists are then ""
    )

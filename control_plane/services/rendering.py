"""The representation of a resource that a request asked for (RFC 7644 section 3.9).

Without a selection, and where no schema hides anything, the document passes through as stored and the gateway splices
``id`` and ``meta`` in front of it. Else the whole selected representation is made here, as one JSON text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import orjson

from control_plane.domain.resources import Document, ResourceType, StoredResource
from control_plane.scim.etag import version_tag
from control_plane.scim.projection import Projection, compile_projection
from control_plane.scim.registry import SchemaRegistry
from control_plane.storage import memberships
from control_plane.storage.engine import Tx


@dataclass(frozen=True, slots=True)
class Selection:
    """``attributes`` and ``excludedAttributes`` as the client wrote them; both empty: the default."""

    attributes: str = ""
    excluded: str = ""


NO_SELECTION = Selection()


@dataclass(frozen=True, slots=True)
class View:
    """How a request wants resources shown. ``base`` is the URL before "/Users"; "" leaves ``$ref`` and location out."""

    registry: SchemaRegistry
    selection: Selection = NO_SELECTION
    base: str = ""
    # Whether members and groups are wanted at all, as far as the selection has them.
    with_members: bool = True

    def projection(self, kind: ResourceType) -> Projection:
        """Return what is shown of one resource type; InvalidValue if both lists of attributes are given."""
        return compile_projection(kind.scim_name, self.selection.attributes, self.selection.excluded, self.registry)


async def represent(tx: Tx, view: View, found: Sequence[StoredResource]) -> list[StoredResource]:
    """Return ``found`` with the members, groups and selections that ``view`` wants; in the order given."""
    projections = {kind: view.projection(kind) for kind in {one.type for one in found}}
    members, groups = await _members(tx, view, found, projections), await _groups(tx, view, found, projections)
    shown = []
    for one in found:
        listed, count = members.get(one.id, ("", 0))
        whole = replace(one, members=listed, member_count=count, groups=groups.get(one.id, ""))
        projection = projections[one.type]
        shown.append(whole if projection.is_identity else _selected(whole, projection, view.base))
    return shown


def representation(resource: StoredResource, base: str) -> dict[str, Any]:
    """Return the whole resource as parsed JSON, as clients see it by default; members and groups as far as attached."""
    meta = {
        "resourceType": resource.type.scim_name,
        "created": timestamp(resource.created_at),
        "lastModified": timestamp(resource.updated_at),
        "location": f"{base}{resource.type.endpoint}/{resource.id}",
        "version": version_tag(resource.version),
    }
    body: dict[str, Any] = {"id": str(resource.id), "meta": meta}
    if resource.members:
        body["members"] = orjson.loads(resource.members)
    if resource.groups:
        body["groups"] = orjson.loads(resource.groups)
    document: Document = orjson.loads(resource.document)
    return body | document


def timestamp(at: datetime) -> str:
    """Return RFC 3339 in UTC with milliseconds, cut."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def _selected(resource: StoredResource, projection: Projection, base: str) -> StoredResource:
    body = projection.apply(representation(resource, base))
    # A count without members says that there are more than travel inside; here they are part of the selection.
    count = 0 if resource.members else resource.member_count
    text = orjson.dumps(body).decode()
    return replace(resource, document="", members="", groups="", member_count=count, selected=text)


async def _members(
    tx: Tx, view: View, found: Sequence[StoredResource], projections: dict[ResourceType, Projection]
) -> dict[Any, tuple[str, int]]:
    if not view.with_members or ResourceType.GROUP not in projections:
        return {}
    if not projections[ResourceType.GROUP].wants_members:
        return {}
    return dict(await memberships.render(tx, [one.id for one in found if one.type is ResourceType.GROUP], view.base))


async def _groups(
    tx: Tx, view: View, found: Sequence[StoredResource], projections: dict[ResourceType, Projection]
) -> dict[Any, str]:
    if not view.with_members or ResourceType.USER not in projections:
        return {}
    if not projections[ResourceType.USER].wants_groups:
        return {}
    users = [one.id for one in found if one.type is ResourceType.USER]
    return dict(await memberships.render_groups(tx, users, view.base))

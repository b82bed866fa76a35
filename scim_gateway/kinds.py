"""The two resource types, with their names in URLs, in JSON and on the wire."""

from collections.abc import Mapping
from dataclasses import dataclass

from protos.directory.v1.directory_pb2 import RESOURCE_TYPE_GROUP, RESOURCE_TYPE_USER, ResourceType


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource type."""

    name: str  # meta.resourceType
    endpoint: str  # below the base URL
    wire: ResourceType.ValueType


USER = Kind("User", "Users", RESOURCE_TYPE_USER)
GROUP = Kind("Group", "Groups", RESOURCE_TYPE_GROUP)
KINDS = (USER, GROUP)
# A query of the root answers with both: each resource says which it is.
KIND_OF: Mapping[int, Kind] = {kind.wire: kind for kind in KINDS}


def location(base: str, kind: int, resource_id: str) -> str:
    """Return a resource's absolute URL: the same text in Location, in meta.location and in a BulkResponse."""
    return f"{base}/{KIND_OF[kind].endpoint}/{resource_id}"

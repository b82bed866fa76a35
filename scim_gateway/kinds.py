"""The two resource types, with their names in URLs, in JSON and on the wire."""

from dataclasses import dataclass

from protos.directory.v1.directory_pb2 import RESOURCE_TYPE_GROUP, RESOURCE_TYPE_USER, ResourceType


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource type."""

    name: str  # meta.resourceType
    endpoint: str  # below the base URL
    wire: ResourceType.ValueType
    has_members: bool


USER = Kind("User", "Users", RESOURCE_TYPE_USER, has_members=False)
GROUP = Kind("Group", "Groups", RESOURCE_TYPE_GROUP, has_members=True)
KINDS = (USER, GROUP)

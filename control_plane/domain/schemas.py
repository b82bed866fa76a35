"""A tenant's custom schema, as it is stored."""

from dataclasses import dataclass
from datetime import datetime

from control_plane.domain.resources import ResourceType
from control_plane.scim.schema_definition import Extension


@dataclass(frozen=True, slots=True)
class CustomSchema:
    """An extension of one resource type, and since when it is what it is."""

    extension: Extension
    created_at: datetime
    updated_at: datetime

    @property
    def urn(self) -> str:
        """The URN, as it was spelt at creation."""
        return self.extension.schema.id

    @property
    def resource_type(self) -> ResourceType:
        """The resource type that it extends."""
        return ResourceType[self.extension.resource_type.upper()]

"""The bodies of /ServiceProviderConfig, /ResourceTypes and /Schemas (RFC 7644 section 4, RFC 7643 sections 5 to 7).

What is advertised is what is built: clients fill in every attribute that /Schemas shows. ``base`` is the absolute URL
before "/Users", without a slash at its end; ``rules`` are the tenant's.
"""

from typing import Any

from control_plane.scim import limits
from control_plane.scim.errors import ResourceNotFound
from control_plane.scim.limits import BulkLimits
from control_plane.scim.messages import list_response
from control_plane.scim.registry import SchemaRegistry
from control_plane.scim.rules import ScimRules
from control_plane.scim.schema import ResourceType, Schema
from control_plane.scim.schema_definition import attribute_to_json

SERVICE_PROVIDER_CONFIG, RESOURCE_TYPES, SCHEMAS = "ServiceProviderConfig", "ResourceTypes", "Schemas"

_CONFIG_URN = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"
_RESOURCE_TYPE_URN = "urn:ietf:params:scim:schemas:core:2.0:ResourceType"
_SCHEMA_URN = "urn:ietf:params:scim:schemas:core:2.0:Schema"


def body(kind: str, wanted: str, base: str, rules: ScimRules) -> dict[str, Any]:
    """Return what a GET of ``/<kind>`` or ``/<kind>/<wanted>`` answers; ``wanted`` is empty for the list.

    ResourceNotFound if there is no such kind, resource type (by name) or schema (by URN, in any case).
    """
    if kind == SERVICE_PROVIDER_CONFIG and not wanted:
        return service_provider_config(base, rules.bulk)
    if kind == RESOURCE_TYPES:
        return _resource_types(wanted, base, rules.registry)
    if kind == SCHEMAS:
        return _schemas(wanted, base, rules.registry)
    raise ResourceNotFound(f"there is no /{kind[:100]}{'/' if wanted else ''}{wanted[:200]}")


def service_provider_config(base: str, bulk: BulkLimits) -> dict[str, Any]:
    """Return what this server can do for the tenant."""
    return {
        "schemas": [_CONFIG_URN],
        "patch": {"supported": True},
        "bulk": {
            "supported": True,
            "maxOperations": bulk.max_operations,
            "maxPayloadSize": bulk.max_bytes,
        },
        "filter": {"supported": True, "maxResults": limits.MAX_RESULTS},
        "changePassword": {"supported": False},
        "sort": {"supported": True},
        "etag": {"supported": True},
        # RFC 9865 section 4.
        "pagination": {
            "cursor": True,
            "index": True,
            "defaultPaginationMethod": "index",
            "defaultPageSize": limits.DEFAULT_COUNT,
            "maxPageSize": limits.MAX_RESULTS,
            "cursorTimeout": limits.CURSOR_TIMEOUT_S,
        },
        "authenticationSchemes": [
            {
                "type": "oauthbearertoken",
                "name": "Bearer token",
                "description": "A token of the tenant in the header Authorization: Bearer <token>",
                "specUri": "https://www.rfc-editor.org/info/rfc6750",
                "primary": True,
            }
        ],
        "meta": {"resourceType": "ServiceProviderConfig", "location": f"{base}/ServiceProviderConfig"},
    }


def _resource_types(wanted: str, base: str, registry: SchemaRegistry) -> dict[str, Any]:
    if not wanted:
        return _list([_resource_type(kind, base) for kind in registry.resource_types])
    for kind in registry.resource_types:
        if kind.name == wanted:
            return _resource_type(kind, base)
    raise ResourceNotFound(f"there is no resource type {wanted[:200]}")


def _schemas(wanted: str, base: str, registry: SchemaRegistry) -> dict[str, Any]:
    if not wanted:
        return _list([_schema(schema, base) for schema in registry.schemas])
    schema = registry.schema(wanted)
    if schema is None:
        raise ResourceNotFound(f"there is no schema {wanted[:200]}")
    return _schema(schema, base)


def _list(resources: list[dict[str, Any]]) -> dict[str, Any]:
    # RFC 7644 section 4: these lists are never paged.
    return list_response(resources, len(resources), 1)


def _resource_type(kind: ResourceType, base: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "schemas": [_RESOURCE_TYPE_URN],
        "id": kind.name,
        "name": kind.name,
        "endpoint": kind.endpoint,
        "description": kind.description,
        "schema": kind.schema,
        "meta": {"resourceType": "ResourceType", "location": f"{base}/ResourceTypes/{kind.name}"},
    }
    if kind.extensions:
        found["schemaExtensions"] = [{"schema": urn, "required": False} for urn in kind.extensions]
    return found


def _schema(schema: Schema, base: str) -> dict[str, Any]:
    return {
        "schemas": [_SCHEMA_URN],
        "id": schema.id,
        "name": schema.name,
        "description": schema.description,
        "attributes": [attribute_to_json(attribute) for attribute in schema.attributes if attribute.advertised],
        "meta": {"resourceType": "Schema", "location": f"{base}/Schemas/{schema.id}"},
    }

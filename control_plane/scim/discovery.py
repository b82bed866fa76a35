"""The bodies of /ServiceProviderConfig, /ResourceTypes and /Schemas (RFC 7644 section 4, RFC 7643 sections 5 to 7).

What is advertised is what is built: clients fill in every attribute that /Schemas shows. ``base`` is the absolute URL
before "/Users", without a slash at its end.
"""

from typing import Any

from control_plane.scim.errors import ResourceNotFound
from control_plane.scim.messages import list_response
from control_plane.scim.registry import SchemaRegistry, default_registry
from control_plane.scim.schema import Attribute, AttributeType, ResourceType, Schema

MAX_RESULTS = 200

_CONFIG_URN = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"
_RESOURCE_TYPE_URN = "urn:ietf:params:scim:schemas:core:2.0:ResourceType"
_SCHEMA_URN = "urn:ietf:params:scim:schemas:core:2.0:Schema"
_CASED = (AttributeType.STRING, AttributeType.REFERENCE, AttributeType.BINARY)


def service_provider_config(base: str) -> dict[str, Any]:
    """Return what this server can do."""
    return {
        "schemas": [_CONFIG_URN],
        "patch": {"supported": True},
        # The limits are required even where bulk is not supported; authentik falls over without them.
        "bulk": {"supported": False, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": True, "maxResults": MAX_RESULTS},
        "changePassword": {"supported": False},
        "sort": {"supported": False},
        "etag": {"supported": False},
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


def resource_types_body(base: str, registry: SchemaRegistry | None = None) -> dict[str, Any]:
    """Return the list of resource types."""
    kinds = (registry or default_registry()).resource_types
    return _list([_resource_type(kind, base) for kind in kinds])


def resource_type_body(name: str, base: str, registry: SchemaRegistry | None = None) -> dict[str, Any]:
    """Return one resource type; ResourceNotFound if there is none of that name."""
    for kind in (registry or default_registry()).resource_types:
        if kind.name == name:
            return _resource_type(kind, base)
    raise ResourceNotFound(f"there is no resource type {name[:200]}")


def schemas_body(base: str, registry: SchemaRegistry | None = None) -> dict[str, Any]:
    """Return the list of schemas."""
    return _list([_schema(schema, base) for schema in (registry or default_registry()).schemas])


def schema_body(urn: str, base: str, registry: SchemaRegistry | None = None) -> dict[str, Any]:
    """Return one schema; ResourceNotFound if there is none of that URN."""
    schema = (registry or default_registry()).schema(urn)
    if schema is None:
        raise ResourceNotFound(f"there is no schema {urn[:200]}")
    return _schema(schema, base)


def _list(resources: list[dict[str, Any]]) -> dict[str, Any]:
    # RFC 7644 section 4: these lists are never paged.
    return list_response(resources, len(resources), 1)


def _resource_type(kind: ResourceType, base: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "schemas": [_RESOURCE_TYPE_URN],
        "id": kind.name,
        "name": kind.name,
        "endpoint": kind.endpoint,
        "description": kind.description,
        "schema": kind.schema,
        "meta": {"resourceType": "ResourceType", "location": f"{base}/ResourceTypes/{kind.name}"},
    }
    if kind.extensions:
        body["schemaExtensions"] = [{"schema": urn, "required": False} for urn in kind.extensions]
    return body


def _schema(schema: Schema, base: str) -> dict[str, Any]:
    return {
        "schemas": [_SCHEMA_URN],
        "id": schema.id,
        "name": schema.name,
        "description": schema.description,
        "attributes": [_attribute(attribute) for attribute in schema.attributes if attribute.advertised],
        "meta": {"resourceType": "Schema", "location": f"{base}/Schemas/{schema.id}"},
    }


def _attribute(attribute: Attribute) -> dict[str, Any]:
    """Return the characteristics that mean something for the type. Never an empty list: clients take it literally."""
    body: dict[str, Any] = {
        "name": attribute.name,
        "type": attribute.type.value,
        "multiValued": attribute.multi_valued,
        "description": attribute.description,
        "required": attribute.required,
        "mutability": attribute.mutability.value,
        "returned": attribute.returned.value,
        "uniqueness": attribute.uniqueness.value,
    }
    if attribute.type in _CASED:
        body["caseExact"] = attribute.case_exact
    if attribute.canonical_values:
        body["canonicalValues"] = list(attribute.canonical_values)
    if attribute.reference_types:
        body["referenceTypes"] = list(attribute.reference_types)
    if attribute.sub_attributes:
        body["subAttributes"] = [_attribute(sub) for sub in attribute.sub_attributes]
    return body

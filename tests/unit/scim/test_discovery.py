"""Discovery: RFC 7644 section 4, and what clients trip over."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from control_plane.scim import discovery
from control_plane.scim.core_schemas import GROUP_URN, USER_URN
from control_plane.scim.errors import ResourceNotFound
from control_plane.scim.json_door import parse_object
from control_plane.scim.limits import BulkLimits
from control_plane.scim.registry import extended_registry, with_unique_group_names
from control_plane.scim.rules import ScimRules
from tests.unit.scim.samples import BADGE, ENTERPRISE, REGISTRY

BASE = "https://scim.example.com/scim/v2"
RULES = ScimRules(REGISTRY)


def _attributes(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for attribute in body.get("attributes", body.get("subAttributes", [])):
        yield attribute
        yield from _attributes(attribute)


def _body(kind: str, wanted: str = "") -> dict[str, Any]:
    return discovery.body(kind, wanted, BASE, RULES)


def test_service_provider_config_says_what_is_built() -> None:
    config = _body("ServiceProviderConfig")
    supported = {
        name: config[name]["supported"] for name in ("patch", "bulk", "filter", "changePassword", "sort", "etag")
    }
    assert supported == {
        "patch": True, "bulk": True, "filter": True, "changePassword": False, "sort": True, "etag": True,
    }  # fmt: skip
    assert config["filter"]["maxResults"] == 200
    assert config["bulk"] == {"supported": True, "maxOperations": 1000, "maxPayloadSize": 2097152}
    assert [scheme["type"] for scheme in config["authenticationSchemes"]] == ["oauthbearertoken"]
    assert config["meta"]["location"] == f"{BASE}/ServiceProviderConfig"


def test_the_bulk_limits_are_the_tenants() -> None:
    config = discovery.body("ServiceProviderConfig", "", BASE, ScimRules(REGISTRY, bulk=BulkLimits(10, 5_000)))
    assert config["bulk"] == {"supported": True, "maxOperations": 10, "maxPayloadSize": 5_000}


def test_pagination_is_advertised_as_rfc_9865_wants_it() -> None:
    assert _body("ServiceProviderConfig")["pagination"] == {
        "cursor": True,
        "index": True,
        "defaultPaginationMethod": "index",
        "defaultPageSize": 100,
        "maxPageSize": 200,
        "cursorTimeout": 3600,
    }


def test_resource_types_list_user_first_with_relative_endpoints() -> None:
    body = _body("ResourceTypes")
    assert body["totalResults"] == body["itemsPerPage"] == 2
    assert [(kind["name"], kind["endpoint"]) for kind in body["Resources"]] == [
        ("User", "/Users"),
        ("Group", "/Groups"),
    ]
    assert body["Resources"][0] == _body("ResourceTypes", "User")
    assert body["Resources"][0]["schemaExtensions"] == [{"schema": ENTERPRISE, "required": False}]
    assert body["Resources"][0]["meta"]["location"] == f"{BASE}/ResourceTypes/User"
    assert "schemaExtensions" not in body["Resources"][1]


def test_schemas() -> None:
    body = _body("Schemas")
    assert [schema["id"] for schema in body["Resources"]] == [USER_URN, GROUP_URN, ENTERPRISE]
    assert [schema["description"] for schema in body["Resources"]] == ["User Account", "Group", "Enterprise User"]
    assert body["Resources"][1] == _body("Schemas", GROUP_URN)
    assert _body("Schemas", USER_URN.lower())["meta"]["location"] == f"{BASE}/Schemas/{USER_URN}"


def test_a_tenant_sees_its_own_extensions() -> None:
    registry = extended_registry([BADGE])
    urn = BADGE.schema.id
    assert discovery.body("Schemas", urn.upper(), BASE, ScimRules(registry))["attributes"][0]["name"] == "number"
    assert [schema["id"] for schema in discovery.body("Schemas", "", BASE, ScimRules(registry))["Resources"]][-1] == urn
    extensions = discovery.body("ResourceTypes", "User", BASE, ScimRules(registry))["schemaExtensions"]
    assert extensions == [{"schema": ENTERPRISE, "required": False}, {"schema": urn, "required": False}]
    assert "schemaExtensions" not in discovery.body("ResourceTypes", "Group", BASE, ScimRules(registry))
    with pytest.raises(ResourceNotFound):
        _body("Schemas", urn)


@pytest.mark.parametrize(("on", "uniqueness"), [(True, "server"), (False, "none")])
def test_group_names_are_advertised_as_unique_where_they_are(on: bool, uniqueness: str) -> None:
    registry = with_unique_group_names(REGISTRY, on)
    attributes = discovery.body("Schemas", GROUP_URN, BASE, ScimRules(registry))["attributes"]
    assert [a["uniqueness"] for a in attributes if a["name"] == "displayName"] == [uniqueness]


def test_groups_are_advertised_and_password_is_not() -> None:
    attributes = {attribute["name"]: attribute for attribute in _body("Schemas", USER_URN)["attributes"]}
    assert next(iter(attributes)) == "userName"
    assert not {"password", "id", "meta"} & set(attributes)
    groups = attributes["groups"]
    assert groups["mutability"] == "readOnly"
    assert [sub["name"] for sub in groups["subAttributes"]] == ["value", "$ref", "display", "type"]
    assert groups["subAttributes"][3]["canonicalValues"] == ["direct", "indirect"]


@pytest.mark.parametrize("urn", [USER_URN, GROUP_URN, ENTERPRISE])
def test_attributes_have_their_characteristics_and_no_empty_lists(urn: str) -> None:
    for attribute in _attributes(_body("Schemas", urn)):
        assert {"name", "type", "multiValued", "description", "required", "mutability", "returned"} <= set(attribute)
        assert attribute.get("canonicalValues") != []
        assert ("referenceTypes" in attribute) == (attribute["type"] == "reference")
        assert ("subAttributes" in attribute) == (attribute["type"] == "complex")


def test_everything_demanded_is_advertised_as_required() -> None:
    for name in ("User", "Group"):
        model = REGISTRY.model(name)
        body = _body("Schemas", model.core.id)
        required = [attribute["name"] for attribute in body["attributes"] if attribute["required"]]
        assert required == [attribute.name for attribute in model.required]


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("Schemas", "urn:none"),
        ("ResourceTypes", "Printer"),
        ("ServiceProviderConfig", "User"),
        ("Printers", ""),
    ],
)
def test_what_does_not_exist_is_not_found(kind: str, wanted: str) -> None:
    with pytest.raises(ResourceNotFound):
        _body(kind, wanted)


@pytest.mark.parametrize("kind", ["ServiceProviderConfig", "ResourceTypes", "Schemas"])
def test_bodies_are_plain_json(kind: str) -> None:
    assert parse_object(orjson.dumps(_body(kind))) == _body(kind)

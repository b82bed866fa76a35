"""Discovery: RFC 7644 section 4, and what clients trip over."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from control_plane.scim import discovery
from control_plane.scim.core_schemas import GROUP_URN, USER_URN
from control_plane.scim.errors import ResourceNotFound
from control_plane.scim.json_door import parse_object
from tests.unit.scim.samples import ENTERPRISE, REGISTRY

BASE = "https://scim.example.com/scim/v2"


def _attributes(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for attribute in body.get("attributes", body.get("subAttributes", [])):
        yield attribute
        yield from _attributes(attribute)


def test_service_provider_config_says_what_is_built() -> None:
    config = discovery.service_provider_config(BASE)
    supported = {
        name: config[name]["supported"] for name in ("patch", "bulk", "filter", "changePassword", "sort", "etag")
    }
    assert supported == {
        "patch": True, "bulk": False, "filter": True, "changePassword": False, "sort": False, "etag": False,
    }  # fmt: skip
    assert config["filter"]["maxResults"] == 200
    assert config["bulk"] == {"supported": False, "maxOperations": 0, "maxPayloadSize": 0}
    assert [scheme["type"] for scheme in config["authenticationSchemes"]] == ["oauthbearertoken"]
    assert config["meta"]["location"] == f"{BASE}/ServiceProviderConfig"


def test_resource_types_list_user_first_with_relative_endpoints() -> None:
    body = discovery.resource_types_body(BASE)
    assert body["totalResults"] == body["itemsPerPage"] == 2
    assert [(kind["name"], kind["endpoint"]) for kind in body["Resources"]] == [
        ("User", "/Users"),
        ("Group", "/Groups"),
    ]
    assert body["Resources"][0] == discovery.resource_type_body("User", BASE)
    assert body["Resources"][0]["schemaExtensions"] == [{"schema": ENTERPRISE, "required": False}]
    assert body["Resources"][0]["meta"]["location"] == f"{BASE}/ResourceTypes/User"
    assert "schemaExtensions" not in body["Resources"][1]


def test_schemas() -> None:
    body = discovery.schemas_body(BASE)
    assert [schema["id"] for schema in body["Resources"]] == [USER_URN, GROUP_URN, ENTERPRISE]
    assert [schema["description"] for schema in body["Resources"]] == ["User Account", "Group", "Enterprise User"]
    assert body["Resources"][1] == discovery.schema_body(GROUP_URN, BASE)
    assert discovery.schema_body(USER_URN.lower(), BASE)["meta"]["location"] == f"{BASE}/Schemas/{USER_URN}"


def test_groups_and_password_are_not_advertised() -> None:
    names = [attribute["name"] for attribute in discovery.schema_body(USER_URN, BASE)["attributes"]]
    assert names[0] == "userName"
    assert not {"groups", "password", "id", "meta"} & set(names)


@pytest.mark.parametrize("urn", [USER_URN, GROUP_URN, ENTERPRISE])
def test_attributes_have_their_characteristics_and_no_empty_lists(urn: str) -> None:
    for attribute in _attributes(discovery.schema_body(urn, BASE)):
        assert {"name", "type", "multiValued", "description", "required", "mutability", "returned"} <= set(attribute)
        assert attribute.get("canonicalValues") != []
        assert ("referenceTypes" in attribute) == (attribute["type"] == "reference")
        assert ("subAttributes" in attribute) == (attribute["type"] == "complex")


def test_everything_demanded_is_advertised_as_required() -> None:
    for name in ("User", "Group"):
        model = REGISTRY.model(name)
        body = discovery.schema_body(model.core.id, BASE)
        required = [attribute["name"] for attribute in body["attributes"] if attribute["required"]]
        assert required == [attribute.name for attribute in model.required]


def test_what_does_not_exist_is_not_found() -> None:
    with pytest.raises(ResourceNotFound):
        discovery.schema_body("urn:none", BASE)
    with pytest.raises(ResourceNotFound):
        discovery.resource_type_body("Printer", BASE)


def test_bodies_are_plain_json() -> None:
    for body in (
        discovery.service_provider_config(BASE),
        discovery.resource_types_body(BASE, REGISTRY),
        discovery.schemas_body(BASE, REGISTRY),
    ):
        assert parse_object(orjson.dumps(body)) == body

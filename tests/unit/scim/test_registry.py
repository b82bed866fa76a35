"""The registry: look-up of attributes by path (RFC 7644 section 3.10) and the schemas as data."""

import pytest

from control_plane.scim.attribute_path import AttributePath, parse_attribute_path
from control_plane.scim.core_schemas import DEFAULT_SCHEMAS, GROUP_URN, USER_URN
from control_plane.scim.registry import default_registry
from control_plane.scim.schema import Attribute, AttributeType, Mutability, Returned
from tests.unit.scim.samples import ENTERPRISE, REGISTRY, barbara, user


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("userName", AttributePath(None, "userName")),
        ("name.familyName", AttributePath(None, "name", "familyName")),
        (f"{ENTERPRISE}:manager.$ref", AttributePath(ENTERPRISE, "manager", "$ref")),
        ("URN:a.b:c:d", AttributePath("URN:a.b:c", "d")),
        ("", None),
        (".a", None),
        ("a.", None),
        ("a.b.c", None),
        ("1a", None),
        ("a b", None),
        ("urn:scim:schemas:core:2.0", None),
        ("a:b", None),
        ("émail", None),
    ],
)
def test_attribute_path(text: str, path: AttributePath | None) -> None:
    assert parse_attribute_path(text) == path
    assert path is None or str(path) == text


def _where(text: str, name: str = "User") -> tuple[str | None, str, str | None] | None:
    path = parse_attribute_path(text)
    assert path is not None
    target = REGISTRY.resolve(name, path)
    if target is None:
        return None
    return target.extension, target.attribute.name, target.sub.name if target.sub else None


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("userName", (None, "userName", None)),
        ("USERNAME", (None, "userName", None)),
        ("Name.FAMILYname", (None, "name", "familyName")),
        ("externalid", (None, "externalId", None)),
        ("META.lastmodified", (None, "meta", "lastModified")),
        (f"{USER_URN}:userName", (None, "userName", None)),
        (f"{USER_URN.upper()}:userName", (None, "userName", None)),
        (f"{ENTERPRISE}:department", (ENTERPRISE, "department", None)),
        (f"{ENTERPRISE.lower()}:Manager.Value", (ENTERPRISE, "manager", "value")),
        ("department", (ENTERPRISE, "department", None)),
        ("Manager.displayname", (ENTERPRISE, "manager", "displayName")),
        ("displayName", (None, "displayName", None)),
        ("urn:scim:schemas:extension:enterprise:1.0:department", (ENTERPRISE, "department", None)),
        ("urn:ietf:params:scim:schemas:extension:enterprise:2.0User:department", (ENTERPRISE, "department", None)),
        ("urn:scim:schemas:core:2.0:userName", (None, "userName", None)),
        ("shoeSize", None),
        ("name.shoeSize", None),
        ("userName.value", None),
        (f"{USER_URN}:department", None),
        (f"{ENTERPRISE}:userName", None),
        ("urn:other:userName", None),
        ("members", None),
    ],
)
def test_resolve(text: str, where: tuple[str | None, str, str | None] | None) -> None:
    assert _where(text) == where


def test_resolve_depends_on_the_type() -> None:
    assert _where("members.value", "Group") == (None, "members", "value")
    assert _where("userName", "Group") is None
    assert _where("department", "Group") is None


def test_only_members_of_the_resource_itself_are_members() -> None:
    path = AttributePath(GROUP_URN, "MEMBERS")
    target = REGISTRY.resolve("Group", path)
    assert target is not None
    assert target.is_members


@pytest.mark.parametrize(
    ("urn", "schema"),
    [
        (USER_URN, USER_URN),
        (ENTERPRISE.upper(), ENTERPRISE),
        ("urn:scim:schemas:core:1.0", USER_URN),
        ("urn:scim:schemas:extension:enterprise:2.0", ENTERPRISE),
        (GROUP_URN, None),
        ("userName", None),
    ],
)
def test_schema_of_knows_draft_urns(urn: str, schema: str | None) -> None:
    found = REGISTRY.model("User").schema_of(urn)
    assert (found.id if found else None) == schema


def test_schemas_list_the_core_first_and_only_extensions_with_values() -> None:
    model = REGISTRY.model("User")
    assert model.schemas_in(barbara()) == [USER_URN, ENTERPRISE]
    assert model.schemas_in(user()) == [USER_URN]


def test_an_unknown_resource_type_is_a_programming_error() -> None:
    with pytest.raises(KeyError):
        REGISTRY.model("Printer")


def test_the_default_registry_is_one_instance() -> None:
    assert default_registry() is REGISTRY
    assert REGISTRY.schema(USER_URN.lower()) is DEFAULT_SCHEMAS[0]
    assert REGISTRY.schema("urn:none") is None


def _all_attributes() -> list[Attribute]:
    tops = [attribute for schema in DEFAULT_SCHEMAS for attribute in schema.attributes]
    return tops + [sub for top in tops for sub in top.sub_attributes]


def test_references_and_binaries_are_case_exact() -> None:
    # RFC 7643 sections 2.3.6 and 2.3.7.
    exact = [a for a in _all_attributes() if a.type in (AttributeType.REFERENCE, AttributeType.BINARY)]
    assert exact
    assert all(attribute.case_exact for attribute in exact)


def test_every_attribute_is_described_and_complex_ones_have_parts() -> None:
    for attribute in _all_attributes():
        assert attribute.description
        assert attribute.is_complex == bool(attribute.sub_attributes)


def test_characteristics_of_the_decisive_attributes() -> None:
    attributes = REGISTRY.model("User").attributes
    assert attributes["userName"].required
    assert not attributes["userName"].case_exact
    assert attributes["id"].case_exact
    assert attributes["id"].returned is Returned.ALWAYS
    assert attributes["externalId"].case_exact
    assert attributes["password"].returned is Returned.NEVER
    assert attributes["password"].mutability is Mutability.WRITE_ONLY
    assert attributes["groups"].mutability is Mutability.READ_ONLY
    assert REGISTRY.model("Group").attributes["displayName"].required

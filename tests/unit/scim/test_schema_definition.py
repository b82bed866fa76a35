"""What a tenant may define, what may change, and the stored form."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from control_plane.scim.core_schemas import DEFAULT_SCHEMAS, ENTERPRISE_URN, USER_URN
from control_plane.scim.errors import InvalidValue, Mutability
from control_plane.scim.schema import Attribute, AttributeType, Returned, Schema, Uniqueness
from control_plane.scim.schema import Mutability as Kind
from control_plane.scim.schema_definition import (
    MAX_ATTRIBUTES,
    Extension,
    attribute_count,
    check_change,
    check_extension,
    from_json,
    to_json,
)
from tests.unit.scim.samples import BADGE

COMPLEX = AttributeType.COMPLEX
URN = "urn:example:x"


def _extension(*attributes: Attribute, urn: str = URN, name: str = "X", kind: str = "User") -> Extension:
    return Extension(Schema(urn, name, "", attributes or (Attribute("a"),)), kind)


def _complex(*subs: Attribute, **characteristics: Any) -> Attribute:
    return Attribute("c", COMPLEX, sub_attributes=subs, **characteristics)


@pytest.mark.parametrize(
    "extension",
    [
        BADGE,
        _extension(),
        _extension(kind="Group"),
        _extension(urn="URN:ietf:params:scim:schemas:extension:CustomExtensionName:2.0:User"),
        _extension(urn="urn:x-y:" + "a" * 192),
        _extension(_complex(Attribute("value"), Attribute("$ref", AttributeType.REFERENCE)), Attribute("C-2_x")),
        _extension(_complex(Attribute("v", mutability=Kind.IMMUTABLE))),
        _extension(Attribute("a", canonical_values=("x", "y")), Attribute("b", returned=Returned.REQUEST)),
        _extension(*(Attribute(f"a{number}") for number in range(MAX_ATTRIBUTES))),
    ],
)
def test_allowed(extension: Extension) -> None:
    check_extension(extension, [_extension(urn="urn:example:other")])


def _unique(**characteristics: Any) -> Extension:
    return _extension(Attribute("a", uniqueness=Uniqueness.SERVER, **characteristics))


@pytest.mark.parametrize(
    ("extension", "named"),
    [
        (_extension(kind="Printer"), "resource_type"),
        (_extension(name=" "), "name"),
        (_extension(name="x" * 201), "name"),
        (Extension(Schema(URN, "X", "", ()), "User"), "at least one attribute"),
        (Extension(Schema(URN, "X", "d" * 1001, (Attribute("a"),)), "User"), "description"),
        (_extension(*(Attribute(f"a{number}") for number in range(MAX_ATTRIBUTES + 1))), "more than 100"),
        (_extension(Attribute("a"), Attribute("A")), "A is defined twice"),
        (_extension(Attribute("1a")), "1a"),
        (_extension(Attribute("")), "is not a name"),
        (_extension(Attribute("a.b")), "a.b"),
        (_extension(Attribute("é")), "is not a name"),
        (_extension(Attribute("$ref")), "is not a name"),
        (_extension(Attribute("x" * 101)), "is not a name"),
        (_extension(_complex()), "c must have sub-attributes"),
        (_extension(Attribute("a", sub_attributes=(Attribute("b"),))), "a must have sub-attributes"),
        (_extension(_complex(Attribute("a"), Attribute("A"))), r"c\.A is defined twice"),
        (_extension(_complex(Attribute("s", COMPLEX, sub_attributes=(Attribute("t"),)))), r"c\.s must be a simple"),
        (_extension(_complex(Attribute("s", multi_valued=True))), r"c\.s must be a simple"),
        (_extension(_complex(Attribute("s", uniqueness=Uniqueness.SERVER))), r"c\.s cannot be unique"),
        (_extension(_complex(Attribute("s", mutability=Kind.IMMUTABLE), multi_valued=True)), r"c\.s cannot be immu"),
        (_extension(_complex(Attribute("s", mutability=Kind.READ_ONLY))), r"c\.s cannot be readOnly"),
        (_extension(_complex(Attribute("s", mutability=Kind.WRITE_ONLY))), r"c\.s cannot be writeOnly"),
        (_extension(Attribute("a", mutability=Kind.WRITE_ONLY)), "a cannot be writeOnly: nothing secret"),
        (_extension(Attribute("a", mutability=Kind.READ_ONLY)), "a cannot be readOnly: nobody"),
        (_unique(multi_valued=True), "a cannot be unique"),
        (_unique(type=AttributeType.BOOLEAN), "a cannot be unique"),
        (_unique(type=AttributeType.DECIMAL), "a cannot be unique"),
        (_unique(type=AttributeType.DATE_TIME), "a cannot be unique"),
        (_unique(type=AttributeType.BINARY), "a cannot be unique"),
        (_extension(_complex(Attribute("s"), uniqueness=Uniqueness.SERVER)), "c cannot be unique"),
        (_extension(Attribute("a", uniqueness=Uniqueness.GLOBAL)), "a cannot be unique globally"),
        (_extension(Attribute("a", AttributeType.INTEGER, canonical_values=("1",))), "a cannot have canonicalValues"),
        (_extension(Attribute("a", canonical_values=("",))), "canonicalValues of a"),
        (_extension(Attribute("a", reference_types=("User",))), "a cannot have referenceTypes"),
        (_extension(Attribute("a", canonical_values=("x",) * 101)), "canonicalValues of a"),
        (_extension(Attribute("a", canonical_values=("x" * 201,))), "canonicalValues of a"),
        (_extension(Attribute("a", AttributeType.REFERENCE, reference_types=("x",) * 21)), "referenceTypes of a"),
        (_extension(Attribute("a", AttributeType.REFERENCE, reference_types=("x" * 101,))), "referenceTypes of a"),
        (_extension(Attribute("a", description="d" * 1001)), "description of a"),
    ],
)
def test_refused_by_name(extension: Extension, named: str) -> None:
    with pytest.raises(InvalidValue, match=named):
        check_extension(extension)


@pytest.mark.parametrize(
    "urn",
    [
        "",
        "x",
        "urn:",
        "urn:x",
        "urn:x:",
        "urn:x:y:",
        "urn:x:a b",
        "urn:x:a\n",
        "urn:x:a,b",
        "urn:x:a[b]",
        'urn:x:"',
        "urn:x:a/b",
        "urn:x:a%2Fb",
        "urn:x:(a)",
        "urn:x:ä",
        "http://x/y",
        "urn:x:" + "a" * 195,
        USER_URN,
        ENTERPRISE_URN.upper(),
        f"{USER_URN}:userName",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0",
        "urn:scim:schemas:core:2.0",
        "urn:ietf:params:scim:schemas:core:2.0:Printer",
        "urn:ietf:params:scim:api:messages:2.0:ListResponse",
        "URN:example:taken",
        "urn:example:taken:more",
        "urn:example",
    ],
)
def test_urns_that_cannot_be_told_apart_or_written_are_refused(urn: str) -> None:
    with pytest.raises(InvalidValue):
        check_extension(_extension(urn=urn), [_extension(urn="urn:example:taken")])


A, C = Attribute("a"), _complex(Attribute("s"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (A, replace(A, description="d", canonical_values=("x",), returned=Returned.NEVER)),
        (A, replace(A, mutability=Kind.IMMUTABLE)),
        (replace(A, mutability=Kind.IMMUTABLE), A),
        (replace(A, required=True, uniqueness=Uniqueness.SERVER), A),
        (C, _complex(Attribute("s"), Attribute("t"))),
    ],
)
def test_changes_that_no_stored_value_contradicts(old: Attribute, new: Attribute) -> None:
    check_change(_extension(old), _extension(new, Attribute("more", uniqueness=Uniqueness.SERVER), name="Y"))


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        (A, Attribute("b"), "a cannot be removed"),
        (A, Attribute("A"), "a cannot be removed or spelled differently"),
        (A, replace(A, type=AttributeType.INTEGER), "type, multiValued and caseExact of a"),
        (A, replace(A, multi_valued=True), "of a cannot be changed"),
        (A, replace(A, case_exact=True), "of a cannot be changed"),
        (replace(A, case_exact=True), A, "of a cannot be changed"),
        (A, replace(A, required=True), "a cannot become required"),
        (A, replace(A, uniqueness=Uniqueness.SERVER), "a cannot become unique"),
        (C, _complex(Attribute("t")), r"c\.s cannot be removed"),
        (C, _complex(Attribute("s", AttributeType.INTEGER)), r"of c\.s cannot be changed"),
        (C, _complex(Attribute("s"), Attribute("t", required=True)), r"c\.t is new and cannot be required"),
    ],
)
def test_changes_that_stored_values_might_contradict(old: Attribute, new: Attribute, named: str) -> None:
    with pytest.raises(Mutability, match=named):
        check_change(_extension(old), _extension(new))


def test_a_new_attribute_cannot_be_required() -> None:
    with pytest.raises(Mutability, match="b is new"):
        check_change(_extension(A), _extension(A, Attribute("b", required=True)))


def test_urn_and_type_stay_and_the_new_definition_must_be_right() -> None:
    check_change(_extension(), _extension(urn=URN.upper()))
    for other in (_extension(urn="urn:example:y"), _extension(kind="Group")):
        with pytest.raises(Mutability):
            check_change(_extension(), other)
    with pytest.raises(InvalidValue):
        check_change(_extension(), _extension(A, Attribute("b", mutability=Kind.READ_ONLY)))


@pytest.mark.parametrize("extension", [BADGE, _extension(), *(Extension(schema, "User") for schema in DEFAULT_SCHEMAS)])
def test_what_is_written_is_read_again(extension: Extension) -> None:
    body = orjson.loads(orjson.dumps(to_json(extension)))
    found = from_json(body)
    assert [a.name for a in found.schema.attributes] == [a.name for a in extension.schema.attributes]
    assert to_json(found) == body
    assert found == extension or not all(a.advertised for a in extension.schema.attributes)


def test_absent_characteristics_are_the_defaults_of_the_rfc() -> None:
    found = from_json({"id": URN, "name": "X", "resourceType": "User", "attributes": [{"name": "a"}]})
    assert found == _extension(A)


@pytest.mark.parametrize(
    "body",
    [
        {"attributes": "x"},
        {"attributes": ["x"]},
        {"attributes": [{"name": 5}]},
        {"attributes": [{"name": "a", "type": "text"}]},
        {"attributes": [{"name": "a", "returned": "sometimes"}]},
        {"attributes": [{"name": "a", "subAttributes": {}}]},
        {"id": 5},
    ],
)
def test_another_shape_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue):
        from_json(body)


def test_sub_attributes_count_too() -> None:
    assert attribute_count(_extension(A)) == 1
    assert attribute_count(_extension(A, _complex(Attribute("s"), Attribute("t")))) == 4


def test_references_and_binaries_are_case_exact_whatever_is_said() -> None:
    # RFC 7643 sections 2.3.6 and 2.3.7.
    assert Attribute("r", AttributeType.REFERENCE).case_exact
    assert Attribute("b", AttributeType.BINARY, case_exact=False).case_exact
    assert not Attribute("s").case_exact

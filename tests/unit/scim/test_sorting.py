"""What a resource is sorted by: RFC 7644 section 3.4.2.3."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from control_plane.scim.errors import InvalidValue
from control_plane.scim.registry import extended_registry
from control_plane.scim.schema import Attribute, AttributeType, Returned, Schema
from control_plane.scim.schema_definition import Extension
from control_plane.scim.sorting import SortValue, parse_sort_by, sort_targets, sort_value
from tests.unit.scim.samples import ENTERPRISE

URN = "urn:example:badge:1.0:User"
REGISTRY = extended_registry([
    Extension(
        Schema(
            URN,
            "Badge",
            "",
            (
                Attribute("level", AttributeType.DECIMAL),
                Attribute("since", AttributeType.DATE_TIME),
                Attribute("code", case_exact=True),
                Attribute("pin", returned=Returned.NEVER),
            ),
        ),
        "User",
    ),
    Extension(Schema("urn:example:team:1.0:Group", "Team", "", (Attribute("level"),)), "Group"),
])  # fmt: skip


def _value(text: str, **attributes: Any) -> SortValue:
    return sort_value(parse_sort_by(text, False), {"id": "7", **attributes}, "User", REGISTRY)


@pytest.mark.parametrize(
    ("text", "attributes", "value"),
    [
        ("userName", {"userName": "Straße"}, "strasse"),
        ("USERNAME", {"userName": "B" * 300}, "b" * 300),
        ("title", {"title": "B" * 300}, "b" * 256),
        ("id", {}, "7"),
        ("name.familyName", {"name": {"familyName": "Ö"}}, "ö"),
        ("name.familyName", {}, None),
        ("emails", {"emails": [{"value": "A"}, {"value": "B", "primary": True}]}, "b"),
        ("emails.type", {"emails": [{"type": "work"}, {"type": "home"}]}, "work"),
        # The primary one has no type: the others do not stand in for it.
        ("emails.type", {"emails": [{"type": "work"}, {"value": "x", "primary": True}]}, None),
        ("emails", {"emails": []}, None),
        ("active", {"active": False}, False),
        ("manager", {ENTERPRISE: {"manager": {"value": "X"}}}, "X"),
        (f"{URN}:level", {URN: {"level": 0.1}}, Decimal("0.1")),
        ("since", {URN: {"since": "2026-05-01T14:00:00+02:00"}}, datetime(2026, 5, 1, 12, tzinfo=UTC)),
        ("code", {URN: {"code": "Aß"}}, "Aß"),
        # Stored under an older definition.
        ("since", {URN: {"since": "yesterday"}}, None),
        ("level", {URN: {"level": "high"}}, None),
        ("active", {"active": 1}, None),
    ],
)
def test_sort_value(text: str, attributes: dict[str, Any], value: SortValue) -> None:
    assert _value(text, **attributes) == value


@pytest.mark.parametrize("text", ["", "a b", "emails[type eq 1]", "a..b", "1x", "urn:x: y"])
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(InvalidValue, match="sortBy"):
        parse_sort_by(text, False)


@pytest.mark.parametrize(
    ("text", "names", "why"),
    [
        ("shoeSize", ("User",), "a User has no attribute shoeSize"),
        ("shoeSize", ("User", "Group"), "a User or Group has no attribute shoeSize"),
        ("userName", ("Group",), "a Group has no attribute userName"),
        ("members", ("Group",), "members have no order"),
        ("groups.display", ("User",), "groups have no order"),
        ("name", ("User",), "name is complex"),
        ("addresses", ("User",), "addresses is complex"),
        ("pin", ("User",), "pin is never returned"),
        ("level", ("User", "Group"), "level has another type in each resource type"),
    ],
)
def test_what_cannot_be_sorted_by(text: str, names: tuple[str, ...], why: str) -> None:
    with pytest.raises(InvalidValue, match=why):
        sort_targets(parse_sort_by(text, False), names, REGISTRY)


def test_a_type_that_lacks_the_attribute_is_unassigned_among_others() -> None:
    sort = parse_sort_by("userName", True)
    targets = sort_targets(sort, ("User", "Group"), REGISTRY)
    assert [target is not None for target in targets] == [True, False]
    assert sort_value(sort, {"displayName": "x"}, "Group", REGISTRY) is None

"""What the core schemas do not have and an extension may: simple lists, numbers, moments, an own resource type."""

from typing import Any

import pytest

from control_plane.scim.errors import InvalidFilter, InvalidPath, InvalidValue, ScimError
from control_plane.scim.evaluate import matches
from control_plane.scim.filters import parse_filter
from control_plane.scim.messages import parse_patch
from control_plane.scim.patch import apply
from control_plane.scim.registry import SchemaRegistry
from control_plane.scim.rules import ScimRules
from control_plane.scim.schema import Attribute, AttributeType, ResourceType, Schema
from control_plane.scim.validate import normalise

URN = "urn:example:Badge"
BADGE = Schema(
    URN,
    "Badge",
    "A badge",
    (
        Attribute("label", required=True),
        Attribute("tags", multi_valued=True),
        Attribute("codes", multi_valued=True, case_exact=True),
        Attribute("level", AttributeType.INTEGER),
        Attribute("weight", AttributeType.DECIMAL),
        Attribute("since", AttributeType.DATE_TIME),
    ),
)
REGISTRY = SchemaRegistry([BADGE], [ResourceType("Badge", "/Badges", "", URN)])
RULES = ScimRules(REGISTRY)


def _badge(**attributes: Any) -> dict[str, Any]:
    return normalise("Badge", {"schemas": [URN], "label": "x", **attributes}, RULES).document


def _patched(before: dict[str, Any], **item: Any) -> dict[str, Any]:
    return apply("Badge", before, parse_patch({"Operations": [item]}), RULES).document


@pytest.mark.parametrize(
    ("item", "tags"),
    [
        ({"op": "add", "path": "tags", "value": ["c", "A"]}, ["a", "b", "c"]),
        ({"op": "add", "path": "tags", "value": "c"}, ["a", "b", "c"]),
        ({"op": "replace", "path": "tags", "value": ["c"]}, ["c"]),
        ({"op": "remove", "path": "tags", "value": ["A"]}, ["b"]),
        ({"op": "remove", "path": 'tags[value eq "A"]'}, ["b"]),
        ({"op": "replace", "path": 'tags[value eq "a"]', "value": "n"}, ["n", "b"]),
        ({"op": "remove", "path": "tags"}, None),
    ],
)
def test_lists_of_simple_values(item: dict[str, Any], tags: list[str] | None) -> None:
    found = _patched(_badge(tags=["a", "b"]), **item)
    assert found.get("tags") == tags or [tag.lower() for tag in found["tags"]] == tags


def test_case_exact_values_are_different() -> None:
    assert _patched(_badge(codes=["a"]), op="add", path="codes", value=["A"])["codes"] == ["a", "A"]


@pytest.mark.parametrize(
    ("item", "error"),
    [
        ({"op": "add", "path": 'tags[value eq "z"]', "value": "n"}, InvalidPath),
        ({"op": "remove", "path": "tags[shoe pr]"}, InvalidFilter),
        ({"op": "replace", "path": "tags.value", "value": "n"}, InvalidPath),
        ({"op": "replace", "path": "level", "value": "5"}, InvalidValue),
    ],
)
def test_refused(item: dict[str, Any], error: type[ScimError]) -> None:
    with pytest.raises(error):
        _patched(_badge(tags=["a"]), **item)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("level eq 3", True),
        ("level gt 2.5", True),
        ("level lt 3", False),
        ("weight le 1.5", True),
        ('since lt "2020-01-02T00:00:00"', True),
        ('tags eq "A"', True),
        ('codes eq "A"', False),
        ("level ne 3", False),
    ],
)
def test_filters(text: str, found: bool) -> None:
    badge = _badge(level=3, weight=1.5, since="2020-01-01T00:00:00Z", tags=["a"], codes=["a"])
    assert matches(parse_filter(text), badge, "Badge", REGISTRY) is found


@pytest.mark.parametrize("text", ['level eq "3"', "level eq true", "level co 3", "weight sw 1"])
def test_numbers_are_compared_with_numbers(text: str) -> None:
    with pytest.raises(InvalidFilter, match="is a number"):
        matches(parse_filter(text), _badge(), "Badge", REGISTRY)


def test_a_type_without_active_and_members_has_neither() -> None:
    found = normalise("Badge", {"schemas": [URN], "label": "x", "members": ["a"], "active": True}, RULES)
    assert found.document == {"schemas": [URN], "label": "x"}
    assert (found.members, found.ignored, found.defaulted) == (None, ("members", "active"), frozenset())

"""PUT: RFC 7644 section 3.5.1."""

from typing import Any

import pytest

from control_plane.scim.core_schemas import USER_URN
from control_plane.scim.errors import Mutability
from control_plane.scim.registry import SchemaRegistry
from control_plane.scim.replace import replace
from control_plane.scim.rules import ScimRules
from control_plane.scim.schema import Attribute, ResourceType, Schema
from control_plane.scim.schema import Mutability as Kind
from control_plane.scim.validate import normalise
from tests.unit.scim.samples import BARBARA, RULES, barbara, user


def _put(stored: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    body = normalise("User", {"schemas": [USER_URN], "userName": "bjensen", **attributes}, RULES)
    return replace("User", stored, body, RULES)


def test_what_is_omitted_is_cleared() -> None:
    assert _put(barbara(), title="Guide") == user(title="Guide")


@pytest.mark.parametrize("stored", [True, False])
def test_an_omitted_active_keeps_its_value(stored: bool) -> None:
    assert _put(user(active=stored))["active"] is stored
    assert _put(user(active=stored), active=None)["active"] is stored


@pytest.mark.parametrize("sent", [True, False, "False"])
def test_a_given_active_counts(sent: object) -> None:
    assert _put(user(active=True), active=sent)["active"] is (sent is True)


def test_an_omitted_active_that_was_removed_stays_unassigned() -> None:
    """The default is true: whoever was deactivated must not come back by a PUT of what was read."""
    assert "active" not in _put({"userName": "bjensen"})


def test_putting_back_what_was_read_changes_nothing() -> None:
    stored = barbara()
    read = {**stored, "id": "1", "meta": BARBARA["meta"], "groups": BARBARA["groups"]}
    assert replace("User", stored, normalise("User", read, RULES), RULES) == stored


def test_immutable_attributes_are_kept_and_cannot_change() -> None:
    badge = Schema("urn:b", "Badge", "", (Attribute("number", mutability=Kind.IMMUTABLE), Attribute("colour")))
    rules = ScimRules(SchemaRegistry([badge], [ResourceType("Badge", "/Badges", "", "urn:b")]))
    stored = {"schemas": ["urn:b"], "number": "7", "colour": "red"}

    def put(**attributes: Any) -> dict[str, Any]:
        return replace("Badge", stored, normalise("Badge", {"schemas": ["urn:b"], **attributes}, rules), rules)

    assert put(number="7") == {"schemas": ["urn:b"], "number": "7"}
    assert put(colour="blue") == {"schemas": ["urn:b"], "number": "7", "colour": "blue"}
    with pytest.raises(Mutability, match="number"):
        put(number="8")

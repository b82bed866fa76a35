"""What the trail says of a write: names for all to see, values of a person apart, and neither without bounds."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from control_plane.domain.ids import ResourceId
from control_plane.domain.resources import Document, NewResource, ResourceType
from control_plane.scim.registry import extended_registry
from control_plane.scim.rules import DEFAULT_RULES, ScimRules
from control_plane.scim.schema import Attribute, Returned, Schema
from control_plane.scim.schema_definition import Extension
from control_plane.services.caller import Deed
from control_plane.services.write_events import MAX_PERSONAL_BYTES, MAX_VALUE_BYTES, Change, deed

ADA = ResourceId(UUID(int=7))
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
BADGE = "urn:example:params:scim:badge:1.0"


def resource(document: Document, kind: ResourceType = ResourceType.USER) -> NewResource:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return NewResource(ADA, kind, document.get("userName"), None, document.get("displayName"), None, document, now)


def said(before: Document | None, after: Document, rules: ScimRules = DEFAULT_RULES, **more: Any) -> Deed:
    return deed(rules, Change("patch", resource(after), before, after, **more))


def test_names_in_details_and_values_apart() -> None:
    before = {"userName": "ada", "title": "Countess", ENTERPRISE: {"department": "A", "manager": {"value": "1"}}}
    after = {"userName": "ada", "active": True, ENTERPRISE: {"department": "B", "manager": {"value": "1"}}}
    told = said(before, after, ignored=("shoeSize",))
    assert told.details == {"attributes": ["active", "title", ENTERPRISE], "ignored": ["shoeSize"]}
    assert told.subject == ADA
    assert told.personal == {
        "userName": "ada",
        "changes": {
            "title": {"old": "Countess"},
            "active": {"new": True},
            f"{ENTERPRISE}:department": {"old": "A", "new": "B"},
        },
    }


def test_long_values_are_told_by_their_length_and_many_by_their_names() -> None:
    told = said({}, {"title": "x" * MAX_VALUE_BYTES})
    assert told.personal == {"changes": {"title": {"new": {"omitted_bytes": MAX_VALUE_BYTES + 2}}}}
    many = {f"a{n}": "x" * 900 for n in range(MAX_PERSONAL_BYTES // 900 + 1)}
    told = said({}, {"userName": "ada", **many})
    assert told.personal == {"userName": "ada", "changes": sorted([*many, "userName"])}


def test_what_is_never_shown_is_not_shown_here_either() -> None:
    secret = Attribute("code", returned=Returned.NEVER)
    schema = Schema(BADGE, "Badge", "", (secret, Attribute("color")))
    rules = ScimRules(extended_registry([Extension(schema, "User")]))
    told = said({}, {"userName": "ada", BADGE: {"code": "s3cret", "color": "red"}}, rules)
    assert told.personal is not None
    assert told.personal["changes"] == {"userName": {"new": "ada"}, f"{BADGE}:color": {"new": "red"}}


def test_a_group_is_nobody() -> None:
    group = resource({"displayName": "Team"}, ResourceType.GROUP)
    told = deed(DEFAULT_RULES, Change("create", group, None, group.document, details={"members_added": 2}))
    assert (told.subject, told.personal) == (None, None)
    assert told.details == {"displayName": "Team", "attributes": ["displayName"], "members_added": 2}

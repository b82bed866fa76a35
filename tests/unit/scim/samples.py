"""Bodies and documents that several tests share."""

from typing import Any

from control_plane.scim.core_schemas import ENTERPRISE_URN, GROUP_URN, USER_URN
from control_plane.scim.messages import Operation, parse_patch
from control_plane.scim.patch import PatchResult, apply
from control_plane.scim.registry import default_registry, extended_registry
from control_plane.scim.rules import DEFAULT_RULES, ScimRules
from control_plane.scim.schema import Attribute, AttributeType, Mutability, Returned, Schema, Uniqueness
from control_plane.scim.schema_definition import Extension
from control_plane.scim.validate import normalise

REGISTRY = default_registry()
RULES = DEFAULT_RULES
ENTERPRISE = ENTERPRISE_URN

# RFC 7643 section 8.3, shortened: the enterprise user.
BARBARA: dict[str, Any] = {
    "schemas": [USER_URN, ENTERPRISE_URN],
    "id": "2819c223-7f76-453a-919d-413861904646",
    "externalId": "701984",
    "userName": "bjensen@example.com",
    "name": {
        "formatted": "Ms. Barbara J Jensen, III",
        "familyName": "Jensen",
        "givenName": "Barbara",
        "middleName": "Jane",
        "honorificPrefix": "Ms.",
        "honorificSuffix": "III",
    },
    "displayName": "Babs Jensen",
    "nickName": "Babs",
    "profileUrl": "https://login.example.com/bjensen",
    "emails": [
        {"value": "bjensen@example.com", "type": "work", "primary": True},
        {"value": "babs@jensen.org", "type": "home"},
    ],
    "addresses": [
        {
            "streetAddress": "100 Universal City Plaza",
            "locality": "Hollywood",
            "region": "CA",
            "postalCode": "91608",
            "country": "USA",
            "formatted": "100 Universal City Plaza\nHollywood, CA 91608 USA",
            "type": "work",
            "primary": True,
        },
        {"streetAddress": "456 Hollywood Blvd", "locality": "Hollywood", "type": "home"},
    ],
    "phoneNumbers": [{"value": "555-555-5555", "type": "work"}, {"value": "555-555-4444", "type": "mobile"}],
    "userType": "Employee",
    "title": "Tour Guide",
    "active": True,
    "password": "t1meMa$heen",
    "groups": [{"value": "e9e30dba-f08f-4109-8486-d5c6a331660a", "display": "Tour Guides"}],
    ENTERPRISE_URN: {
        "employeeNumber": "701984",
        "costCenter": "4130",
        "department": "Tour Operations",
        "manager": {"value": "26118915-6090-4610-87e4-49d8ca9f808d", "displayName": "John Smith"},
    },
    "meta": {"resourceType": "User", "version": 'W/"3694e05e9dff591"'},
}


# A tenant's own extension, with every characteristic that one may have.
BADGE = Extension(
    Schema(
        "urn:example:muster:Badge:1.0",
        "Badge",
        "The badge of a user.",
        (
            Attribute("number", required=True, uniqueness=Uniqueness.SERVER),
            Attribute("level", AttributeType.INTEGER, uniqueness=Uniqueness.SERVER),
            Attribute("serial", case_exact=True, mutability=Mutability.IMMUTABLE, uniqueness=Uniqueness.SERVER),
            Attribute("tags", multi_valued=True),
            Attribute("issued", AttributeType.DATE_TIME, returned=Returned.ALWAYS),
            Attribute("pin", returned=Returned.NEVER),
            Attribute("note", returned=Returned.REQUEST),
            Attribute(
                "maker",
                AttributeType.COMPLEX,
                sub_attributes=(
                    Attribute("value", required=True),
                    Attribute("plant", mutability=Mutability.IMMUTABLE),
                    Attribute("secret", returned=Returned.REQUEST),
                    Attribute("code", returned=Returned.ALWAYS),
                ),
            ),
            Attribute(
                "doors",
                AttributeType.COMPLEX,
                multi_valued=True,
                sub_attributes=(
                    Attribute("value", required=True),
                    Attribute("type"),
                    Attribute("primary", AttributeType.BOOLEAN),
                ),
            ),
        ),
    ),
    "User",
)
BADGE_URN = BADGE.schema.id
BADGE_RULES = ScimRules(extended_registry([BADGE]))


def user(**attributes: Any) -> dict[str, Any]:
    """Return a small stored user."""
    return normalise("User", {"schemas": [USER_URN], "userName": "bjensen", **attributes}, RULES).document


def barbara() -> dict[str, Any]:
    """Return the RFC's user as it is stored."""
    return normalise("User", BARBARA, RULES).document


def group(**attributes: Any) -> dict[str, Any]:
    """Return a small stored group."""
    return normalise("Group", {"schemas": [GROUP_URN], "displayName": "Tour Guides", **attributes}, RULES).document


def operations(*items: dict[str, Any]) -> list[Operation]:
    """Return parsed PATCH operations."""
    return parse_patch({"Operations": list(items)})


def patch_user(document: dict[str, Any], *items: dict[str, Any], rules: ScimRules = RULES) -> PatchResult:
    """Apply operations to a user."""
    return apply("User", document, operations(*items), rules)


def patch_group(*items: dict[str, Any]) -> PatchResult:
    """Apply operations to a small group."""
    return apply("Group", group(), operations(*items), RULES)

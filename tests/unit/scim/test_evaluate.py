"""Filters against resources: operator rules, case rules by schema, multi-valued attributes."""

import pytest
from hypothesis import given, settings

from control_plane.scim.errors import InvalidFilter
from control_plane.scim.evaluate import check_element_filter, element_matches, matches
from control_plane.scim.filters import Filter, Not, parse_filter
from control_plane.scim.registry import extended_registry
from control_plane.scim.schema import Attribute, AttributeType, Document, Schema
from control_plane.scim.schema_definition import Extension
from tests.unit.scim.samples import BARBARA, ENTERPRISE, REGISTRY
from tests.unit.scim.strategies import FILTERS

USER = {
    **{name: value for name, value in BARBARA.items() if name not in ("password", "groups")},
    "meta": {"resourceType": "User", "lastModified": "2011-05-13T04:42:34.5Z"},
}


def _matches(text: str) -> bool:
    return matches(parse_filter(text), USER, "User", REGISTRY)


@pytest.mark.parametrize(
    "text",
    [
        'userName eq "BJENSEN@example.com"',
        'USERNAME Eq "bjensen@example.com"',
        'userName ne "jsmith"',
        'userName co "JENSEN"',
        'userName sw "bj"',
        'userName ew ".COM"',
        'userName gt "Bj"',
        'userName le "bjensen@example.com"',
        'externalId eq "701984"',
        'id eq "2819c223-7f76-453a-919d-413861904646"',
        'name.familyName co "jens"',
        "title pr",
        'not (nickName eq "Bob")',
        "active eq true",
        'active eq "True"',
        'active ne "false"',
        'meta.lastModified gt "2011-05-13T04:42:34Z"',
        'meta.lastModified ge "2011-05-13T06:42:34.500+02:00"',
        'meta.lastModified eq "2011-05-13T04:42:34.500Z"',
        'meta.lastModified sw "2011-05"',
        "locale eq null",
        "title ne null",
        'locale ne "de"',
        'emails.type eq "home"',
        'emails eq "babs@jensen.org"',
        'emails co "jensen.org"',
        "emails pr",
        'emails[type eq "work" and value co "@example.com"]',
        'emails[type eq "work"].value eq "bjensen@example.com"',
        "emails[primary eq true]",
        'emails[not (type eq "work")]',
        "emails.primary eq true",
        f'{ENTERPRISE}:department eq "tour operations"',
        'department eq "Tour Operations"',
        'manager eq "26118915-6090-4610-87e4-49d8ca9f808d"',
        f'{ENTERPRISE}:manager.value eq "26118915-6090-4610-87e4-49d8ca9f808d"',
        f'schemas eq "{ENTERPRISE}"',
        'profileUrl eq "https://login.example.com/bjensen"',
        'userType eq "Employee" and (emails co "example.com" or emails.value co "example.org")',
    ],
)
def test_matches(text: str) -> None:
    assert _matches(text)


@pytest.mark.parametrize(
    "text",
    [
        'userName eq "jsmith"',
        'userName ne "BJENSEN@EXAMPLE.COM"',
        'id eq "2819C223-7F76-453A-919D-413861904646"',
        'profileUrl eq "https://LOGIN.example.com/bjensen"',
        "locale pr",
        "emails eq null",
        'locale eq "de"',
        'locale co ""',
        'emails[type eq "home" and value co "@example.com"]',
        'emails[type eq "home" and primary eq true]',
        'meta.lastModified lt "2011-05-13T04:42:34Z"',
        'groups.value eq "x"',
        'employeeNumber gt "8"',
    ],
)
def test_does_not_match(text: str) -> None:
    assert not _matches(text)


@pytest.mark.parametrize(
    "text",
    [
        'shoeSize eq "44"',
        "emails.shoeSize pr",
        'emails[shoeSize eq "44"]',
        "userName eq 5",
        "userName eq true",
        "userName gt null",
        "active gt true",
        'active co "t"',
        'active eq "maybe"',
        'meta.lastModified gt "yesterday"',
        "meta.lastModified gt 5",
        'name eq "Barbara"',
        'x509Certificates.value gt "a"',
        # Wrong whatever is stored, and whatever the other term says.
        "locale eq 5",
        'userName eq "x" and active eq 5',
        'userName pr or active eq "maybe"',
        'ims[shoeSize eq "44"]',
        "ims[value eq 5]",
        # It would be told letter by letter.
        'password sw "a"',
        'meta.lastModified gt "2011-02-30T00:00:00Z"',
        'meta.lastModified gt "2011-05-13T24:00:00Z"',
        'meta.lastModified gt "2011-05-13"',
        'meta.lastModified gt "20110513T044234Z"',
    ],
)
def test_comparisons_that_cannot_be_made_are_invalid_filters(text: str) -> None:
    with pytest.raises(InvalidFilter):
        _matches(text)


NUMBERS = (
    Attribute("score", AttributeType.DECIMAL),
    Attribute("flag", AttributeType.BOOLEAN),
    Attribute("since", AttributeType.DATE_TIME),
    Attribute("tags", multi_valued=True),
)
BADGE = "urn:example:badge:1.0:User"
BADGES = extended_registry([Extension(Schema(BADGE, "Badge", "", NUMBERS), "User")])


@pytest.mark.parametrize(
    ("stored", "text", "found"),
    [
        ({"score": 0.1}, "score eq 0.1", True),
        ({"score": 0.30000000000000004}, "score eq 0.3", False),
        ({"score": 2**53 + 1}, "score eq 9007199254740993", True),
        ({"score": 2**53 + 1}, "score gt 9007199254740992.0", True),
        ({"score": 5}, "score eq 5.0", True),
        ({"score": True}, "score eq 1", False),
        ({"score": "5"}, "score ne 4", False),
        ({"flag": 1}, "flag eq true", False),
        ({"flag": 1}, "flag ne false", False),
        ({"since": "2026-05-01T12:00:00"}, 'since eq "2026-05-01T14:00:00+02:00"', True),
        ({"since": "2026-05-01T12:00:00.1234567Z"}, 'since eq "2026-05-01T12:00:00.1234569Z"', True),
        ({"since": "0001-01-01T00:00:00+14:00"}, 'since lt "0001-01-01T00:00:00Z"', True),
        ({"since": "9999-12-31T23:59:59-14:00"}, 'since gt "9999-12-31T23:59:59Z"', True),
        ({"since": "yesterday"}, 'since ne "2026-05-01T12:00:00Z"', False),
        ({"tags": ["a", None]}, 'tags eq "A"', True),
        ({"tags": [None]}, 'tags ne "a"', True),
        ({"tags": [None]}, "tags pr", False),
        ({"tags": ["a"]}, 'tags[value eq "A"]', True),
        ({"tags": [None]}, 'tags[not (value eq "a")]', False),
    ],
)
def test_values_of_an_extension(stored: Document, text: str, found: bool) -> None:
    assert matches(parse_filter(text), {BADGE: stored}, "User", BADGES) is found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("userName pr", False),
        ('userName ne "x"', True),
        ("userName eq null", True),
        ('emails[type eq "work"]', False),
        ('not (emails[type eq "work"])', True),
        ('displayName eq "Staff" and userName eq null', True),
    ],
)
def test_what_only_another_resource_type_has_is_unassigned_in_a_root_query(text: str, found: bool) -> None:
    node = parse_filter(text)
    assert matches(node, {"displayName": "staff"}, "Group", REGISTRY, ("User", "Group")) is found
    with pytest.raises(InvalidFilter, match="a Group has no attribute"):
        matches(node, {"displayName": "staff"}, "Group", REGISTRY)


def test_what_no_resource_type_has_is_wrong_in_a_root_query() -> None:
    with pytest.raises(InvalidFilter, match="a User or Group has no attribute shoeSize"):
        matches(parse_filter("shoeSize pr"), {}, "Group", REGISTRY, ("User", "Group"))


def test_a_filter_of_elements_is_checked_without_elements() -> None:
    members = REGISTRY.model("Group").attributes["members"]
    check_element_filter(parse_filter('type eq "User"'), members)
    with pytest.raises(InvalidFilter, match="has no sub-attribute shoeSize"):
        check_element_filter(parse_filter("shoeSize pr"), members)


def test_one_element_must_fulfil_the_whole_value_filter() -> None:
    emails = REGISTRY.model("User").attributes["emails"]
    selection = parse_filter('type eq "work" and value ew "ORG"')
    assert element_matches(selection, emails, {"type": "Work", "value": "a@b.org"})
    assert not element_matches(selection, emails, {"type": "home", "value": "a@b.org"})
    assert not element_matches(selection, emails, {})


def test_a_simple_element_is_its_own_value() -> None:
    schemas = REGISTRY.model("User").attributes["schemas"]
    assert element_matches(parse_filter('value sw "urn:"'), schemas, "urn:x")


@settings(max_examples=60, deadline=None)
@given(FILTERS)
def test_not_is_the_opposite_and_nothing_else_is_raised(tree: Filter) -> None:
    try:
        found = matches(tree, USER, "User", REGISTRY)
    except InvalidFilter:
        return
    assert matches(Not(tree), USER, "User", REGISTRY) is not found

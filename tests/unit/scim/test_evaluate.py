"""Filters against resources: operator rules, case rules by schema, multi-valued attributes."""

import pytest
from hypothesis import given, settings

from control_plane.scim.errors import InvalidFilter
from control_plane.scim.evaluate import element_matches, matches
from control_plane.scim.filters import Filter, Not, parse_filter
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
    ],
)
def test_comparisons_that_cannot_be_made_are_invalid_filters(text: str) -> None:
    with pytest.raises(InvalidFilter):
        _matches(text)


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

"""Which values are looked up by equality, and under which keys."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.scim.attribute_path import parse_attribute_path
from control_plane.scim.compare import holds
from control_plane.scim.core_schemas import USER_URN
from control_plane.scim.errors import InvalidValue
from control_plane.scim.filters import Operator
from control_plane.scim.keys import MAX_KEY_BYTES, keyed_attribute, keyed_values, unique_keys, value_key
from control_plane.scim.schema import Attribute, AttributeType
from tests.unit.scim.samples import BADGE_RULES, BADGE_URN, ENTERPRISE, REGISTRY, barbara, group, user

USER = REGISTRY.model("User")
BADGED = BADGE_RULES.registry.model("User")


def test_addresses_are_folded_and_managers_are_not() -> None:
    assert keyed_values(USER, barbara()) == (
        ("emails.value", "babs@jensen.org"),
        ("emails.value", "bjensen@example.com"),
        (f"{ENTERPRISE}:manager.value", "26118915-6090-4610-87e4-49d8ca9f808d"),
    )
    mails = [{"value": "Straße@X"}, {"value": "STRASSE@x"}, {"type": "work"}]
    assert keyed_values(USER, user(emails=mails)) == (("emails.value", "strasse@x"),)
    manager = user(**{ENTERPRISE: {"manager": {"value": "M-1"}}})
    assert keyed_values(USER, manager) == ((f"{ENTERPRISE}:manager.value", "M-1"),)


@pytest.mark.parametrize("document", [user(), group(), user(**{ENTERPRISE: {"department": "D"}})])
def test_most_documents_have_none(document: dict[str, Any]) -> None:
    assert keyed_values(USER, document) == ()


def test_what_an_extension_declares_unique() -> None:
    badge = {"number": "N-1", "level": 3, "serial": "S-1", "tags": ["x"]}
    document = user(emails=[{"value": "a@b"}]) | {BADGE_URN: badge}
    unique = ((f"{BADGE_URN}:level", "3"), (f"{BADGE_URN}:number", "n-1"), (f"{BADGE_URN}:serial", "S-1"))
    assert unique_keys(BADGED, document) == unique
    assert keyed_values(BADGED, document) == (("emails.value", "a@b"), *unique)
    assert unique_keys(USER, document) == ()


def test_a_long_value_is_left_out_unless_it_must_be_unique() -> None:
    long = "x" * (MAX_KEY_BYTES + 1)
    assert keyed_values(USER, user(emails=[{"value": long}, {"value": long[1:]}])) == (("emails.value", long[1:]),)
    # In bytes, and of what is stored.
    assert keyed_values(USER, user(emails=[{"value": "ß" * 513}])) == ()
    with pytest.raises(InvalidValue, match=f"{BADGE_URN}:number is unique"):
        keyed_values(BADGED, user() | {BADGE_URN: {"number": long}})


@pytest.mark.parametrize("name", ["userName", "externalId", "displayName"])
def test_a_long_value_of_a_column_is_refused_by_name(name: str) -> None:
    keyed_values(USER, user(**{name: "x" * MAX_KEY_BYTES}))
    # In bytes, of what is stored and of what is looked up: this letter folds to three.
    for long in ("x" * (MAX_KEY_BYTES + 1), "ß" * 513, "ΐ" * 200):
        with pytest.raises(InvalidValue, match=f"{name} is longer than {MAX_KEY_BYTES} bytes"):
            keyed_values(USER, user(**{name: long}))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("emails.value", "emails.value"),
        ("EMAILS", "emails.value"),
        (f"{USER_URN}:emails.value", "emails.value"),
        ("emails.type", None),
        ("userName", None),
        ("phoneNumbers.value", None),
        ("manager", f"{ENTERPRISE}:manager.value"),
        (f"{ENTERPRISE}:manager.value", f"{ENTERPRISE}:manager.value"),
        ("manager.displayName", None),
        ("department", None),
        (f"{BADGE_URN}:number", f"{BADGE_URN}:number"),
        ("LEVEL", f"{BADGE_URN}:level"),
        (f"{BADGE_URN}:tags", None),
        (f"{BADGE_URN}:maker.value", None),
    ],
)
def test_keyed_attribute(text: str, name: str | None) -> None:
    path = parse_attribute_path(text)
    target = BADGED.resolve(path) if path is not None else None
    assert target is not None
    assert keyed_attribute(target) == name


@pytest.mark.parametrize(
    ("value", "key"),
    [(5, "5"), (-1, "-1"), (5.0, "5"), (5.5, None), (1.2345678901234568e18, "1234567890123456800"), (True, None)],
)
def test_keys_of_numbers_are_the_integers_they_spell(value: object, key: str | None) -> None:
    assert value_key(Attribute("x", AttributeType.INTEGER), value) == key


_WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=3)


@settings(max_examples=60, deadline=None)
@given(_WORDS, _WORDS, st.booleans())
def test_equal_keys_are_equal_values(one: str, other: str, case_exact: bool) -> None:
    attribute = Attribute("x", case_exact=case_exact)
    same = holds(attribute, one, Operator.EQ, other)
    assert (value_key(attribute, one) == value_key(attribute, other)) is same

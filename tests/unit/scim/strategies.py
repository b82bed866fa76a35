"""Hypothesis strategies: filters, users, PATCH operations."""

from typing import Any

from hypothesis import strategies as st

from control_plane.scim.attribute_path import AttributePath
from control_plane.scim.core_schemas import ENTERPRISE_URN, USER_URN
from control_plane.scim.filters import And, Compare, Filter, Not, Operator, Or, Present, ValuePath

_NAMES = st.sampled_from(["userName", "emails", "x", "a-b_c", "$ref", "and", "or", "eq", "pr", "x509Certificates"])
_URNS = st.none() | st.sampled_from([USER_URN, ENTERPRISE_URN, "urn:a:b.c/d"])
PATHS = st.builds(AttributePath, _URNS, _NAMES, st.none() | _NAMES)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=6)
LITERALS = st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(-1e18, 1e18) | _TEXTS
_TERMS: st.SearchStrategy[Filter] = st.builds(Compare, PATHS, st.sampled_from(Operator), LITERALS) | st.builds(
    Present, PATHS
)


def _joined(inner: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    terms = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.builds(And, terms) | st.builds(Or, terms) | st.builds(Not, inner) | st.builds(ValuePath, PATHS, inner)


FILTERS = st.recursive(_TERMS, _joined, max_leaves=8)

_WORDS = st.sampled_from(["a", "A", "b", "c d", ""])
_TYPES = st.sampled_from(["work", "home"])
EMAIL = st.fixed_dictionaries({"value": _WORDS}, optional={"type": _TYPES, "display": _WORDS, "primary": st.booleans()})


def _one_primary(elements: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for element in elements[1:]:
        element.pop("primary", None)
    return elements


EMAILS = st.lists(EMAIL, max_size=3).map(_one_primary)
NAME = st.fixed_dictionaries({}, optional={"givenName": _WORDS, "familyName": _WORDS})
USERS = st.fixed_dictionaries(
    {"schemas": st.just([USER_URN]), "userName": st.sampled_from(["ann", "bob"])},
    optional={
        "displayName": _WORDS,
        "active": st.booleans(),
        "name": NAME,
        "emails": EMAILS,
        ENTERPRISE_URN: st.fixed_dictionaries(
            {}, optional={"department": _WORDS, "manager": st.builds(dict, value=_WORDS)}
        ),
    },
)

# What a path may be given. The values fit, or are of another type, or null.
_TARGETS: list[tuple[str | None, st.SearchStrategy[Any]]] = [
    ("userName", _WORDS),
    ("displayName", _WORDS),
    ("active", st.booleans() | st.sampled_from(["True", "maybe"])),
    ("name", NAME),
    ("name.givenName", _WORDS),
    ("emails", EMAILS | EMAIL),
    ('emails[type eq "work"]', EMAIL),
    ('emails[type eq "work"].value', _WORDS),
    ('emails[value co "a"].primary', st.booleans()),
    ("manager", _WORDS | st.builds(dict, value=_WORDS)),
    (ENTERPRISE_URN, st.builds(dict, department=_WORDS)),
    (f"{ENTERPRISE_URN}:department", _WORDS),
    ("groups", _WORDS),
    ("nonsense", _WORDS),
    (None, st.builds(dict, title=_WORDS, emails=EMAILS)),
]


@st.composite
def operation(draw: st.DrawFn) -> dict[str, Any]:
    """Draw one PATCH operation, often valid."""
    path, values = draw(st.sampled_from(_TARGETS))
    op = draw(st.sampled_from(["add", "Replace", "REMOVE"]))
    value = draw(values | st.none() | st.just([]) | st.integers(0, 1))
    return {"op": op, "value": value} | ({"path": path} if path else {})


OPERATIONS = st.lists(operation(), min_size=1, max_size=4)

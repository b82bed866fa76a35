"""Any JSON at all: understood or refused by a ScimError, never anything else, and never half done."""

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.scim.compatibility import GENERIC, Compatibility
from control_plane.scim.core_schemas import ENTERPRISE_URN, GROUP_URN, USER_URN
from control_plane.scim.errors import ScimError
from control_plane.scim.keys import keyed_values
from control_plane.scim.messages import parse_patch, parse_search
from control_plane.scim.patch import apply
from control_plane.scim.projection import compile_projection
from control_plane.scim.registry import default_registry
from control_plane.scim.replace import replace
from control_plane.scim.rules import ScimRules
from control_plane.scim.schema import Document
from control_plane.scim.schema_definition import check_extension, from_json
from control_plane.scim.validate import normalise
from tests.unit.scim.samples import BADGE_RULES, BADGE_URN, barbara, group

few = settings(max_examples=100, deadline=None)

_WORDS = [*default_registry().model("User").attributes, *default_registry().model("Group").attributes]
_PARTS = [
    "manager",
    "value",
    "type",
    "primary",
    "$ref",
    "number",
    "serial",
    "maker",
    "doors",
    "tags",
    "level",
    "shoe",
    "[",
]
_URNS = [USER_URN, GROUP_URN, ENTERPRISE_URN, BADGE_URN, f"{BADGE_URN}:maker.plant"]
_NAMES = st.sampled_from([*_WORDS, *_PARTS, *_URNS, 'emails[type eq "work"].value'])
_LEAVES = (
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.sampled_from(["", "a", "True"]) | _NAMES
)
JSON = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4), max_leaves=12
)
OBJECTS = st.dictionaries(_NAMES, JSON, max_size=5)
BODIES = OBJECTS.map(lambda body: {"schemas": ["x"], "userName": "b", "displayName": "d", **body})
_PATHS = _NAMES | st.sampled_from(
    [
        f"{BADGE_URN}:doors",
        f'{BADGE_URN}:doors[value eq "a"].primary',
        f"{BADGE_URN}:tags[value pr]",
        "members[value pr]",
        'members[value eq "a"]',
        "name.givenName",
        "emails[primary eq true]",
        "emails.value",
        "a b",
    ]
)
OPERATIONS = st.lists(
    st.fixed_dictionaries(
        {"op": st.sampled_from(["add", "Replace", "remove"]), "value": JSON}, optional={"path": st.none() | _PATHS}
    ),
    min_size=1,
    max_size=3,
)
RULES = st.builds(
    lambda switches: ScimRules(BADGE_RULES.registry, Compatibility(**switches)),
    st.fixed_dictionaries({name: st.booleans() for name in GENERIC.__dataclass_fields__}),
)
TYPES = st.sampled_from(["User", "Group"])


def _refused(attempt: Callable[[], object]) -> bool:
    """Whether ``attempt`` is refused, which is always the client's fault."""
    try:
        attempt()
    except ScimError as err:
        return err.status == 400
    return False


@few
@given(TYPES, BODIES, RULES)
def test_any_body_is_stored_or_refused(name: str, body: dict[str, Any], rules: ScimRules) -> None:
    before, stored = repr(body), barbara() if name == "User" else group()
    if not _refused(lambda: normalise(name, body, rules)):
        normal = normalise(name, body, rules)
        assert normalise(name, normal.document, rules).document == normal.document
        keyed_values(rules.registry.model(name), replace(name, stored, normal, rules))
    assert repr(body) == before


@few
@given(TYPES, OPERATIONS, RULES)
def test_any_patch_is_applied_or_refused(name: str, items: list[dict[str, Any]], rules: ScimRules) -> None:
    document = barbara() if name == "User" else group()
    before = repr((document, items))

    def patched() -> Document:
        return apply(name, document, parse_patch({"Operations": items}), rules, resource_id="a").document

    if not _refused(patched):
        keyed_values(rules.registry.model(name), patched())
    assert repr((document, items)) == before


@few
@given(OBJECTS)
def test_any_message_is_read_or_refused(body: dict[str, Any]) -> None:
    message = {"Operations": [body], "count": body.get("value"), "attributes": body.get("id"), **body}
    _refused(lambda: parse_patch(message))
    _refused(lambda: parse_search(message))
    _refused(lambda: check_extension(from_json(message)))


@few
@given(OBJECTS, st.lists(_NAMES, max_size=3), st.booleans())
def test_a_projection_of_anything_has_no_more_than_was_there(
    resource: dict[str, Any], names: list[str], excludes: bool
) -> None:
    wanted, unwanted = (None, names) if excludes else (names, None)
    found = compile_projection("User", wanted, unwanted, BADGE_RULES.registry).apply(resource)
    assert found.keys() <= resource.keys()
    assert [name in found for name in ("id", "schemas")] == [name in resource for name in ("id", "schemas")]

"""What holds for every PATCH: atomic, never in place, in stored form, idempotent where it should be."""

import copy
from typing import Any

import orjson
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from control_plane.scim.compatibility import PRESETS
from control_plane.scim.core_schemas import USER_URN
from control_plane.scim.errors import ScimError
from control_plane.scim.patch import PatchResult
from control_plane.scim.rules import ScimRules
from control_plane.scim.validate import normalise
from tests.unit.scim.samples import BADGE_RULES, BADGE_URN, RULES, patch_user
from tests.unit.scim.strategies import EMAIL, EMAILS, OPERATIONS, USERS, operation

few = settings(max_examples=60, deadline=None)


def _stored(body: dict[str, Any]) -> dict[str, Any]:
    return normalise("User", body, RULES).document


def _try(document: dict[str, Any], items: list[dict[str, Any]], rules: ScimRules = RULES) -> PatchResult | None:
    try:
        return patch_user(document, *items, rules=rules)
    except ScimError:
        return None


# Users with a tenant's own extension, and operations on it beside all others.
BADGES = st.fixed_dictionaries(
    {"number": st.sampled_from("12")},
    optional={
        "serial": st.sampled_from("ab"),
        "tags": st.lists(st.sampled_from(["a", "A", "b"]), max_size=3),
        "maker": st.fixed_dictionaries({"value": st.just("m")}, optional={"plant": st.sampled_from("PQ")}),
    },
)
BADGED = st.builds(lambda user, badge: user | {BADGE_URN: badge}, USERS, BADGES)
_ON_BADGE = st.fixed_dictionaries(
    {
        "op": st.sampled_from(["add", "replace", "remove"]),
        "path": st.sampled_from(
            [BADGE_URN, *(f"{BADGE_URN}:{name}" for name in ("number", "serial", "tags", "maker", "maker.plant"))]
        ),
        "value": BADGES | st.sampled_from(["a", "b", None, 5]) | st.lists(st.sampled_from("ab")),
    }
)
ON_BADGE = st.lists(_ON_BADGE | operation(), min_size=1, max_size=4)
PATCH_RULES = [ScimRules(BADGE_RULES.registry, PRESETS[name]) for name in ("generic", "entra")]


@few
@given(USERS, OPERATIONS)
def test_inputs_are_never_touched_whether_it_succeeds_or_not(body: dict[str, Any], items: list[dict[str, Any]]) -> None:
    document = _stored(body)
    before = copy.deepcopy((document, items))
    _try(document, items)
    assert (document, items) == before


@few
@given(USERS, OPERATIONS)
def test_the_result_is_in_stored_form_and_changed_tells_the_truth(
    body: dict[str, Any], items: list[dict[str, Any]]
) -> None:
    document = _stored(body)
    result = _try(document, items)
    assume(result is not None)
    assert result is not None
    active = {} if "active" in result.document else {"active": True}
    assert _stored(result.document) == {**result.document, **active}
    assert result.changed is (result.document != document)
    assert sum(1 for email in result.document.get("emails", []) if email.get("primary")) <= 1


@few
@given(USERS, OPERATIONS)
def test_operations_in_one_request_are_operations_one_by_one(body: dict[str, Any], items: list[dict[str, Any]]) -> None:
    document = _stored(body)
    together = _try(document, items)
    assume(together is not None)
    assert together is not None
    for item in items:
        # Alone, an operation may leave out what is required; together only the end counts.
        step = _try(document, [item])
        assume(step is not None)
        assert step is not None
        document = step.document
    assert together.document == document


@few
@given(USERS, USERS)
def test_replace_is_idempotent(body: dict[str, Any], wanted: dict[str, Any]) -> None:
    item = {"op": "replace", "value": wanted}
    once = patch_user(_stored(body), item).document
    again = patch_user(once, item)
    assert again.document == once
    assert not again.changed


@few
@given(USERS, operation(), st.sampled_from(PATCH_RULES))
def test_any_replace_is_idempotent(body: dict[str, Any], item: dict[str, Any], rules: ScimRules) -> None:
    item = {**item, "op": "replace"}
    once = _try(_stored(body), [item], rules)
    assume(once is not None)
    assert once is not None
    # Sent again it may select nothing any more, which changes nothing either.
    again = _try(once.document, [item], rules)
    assert again is None or not again.changed


@few
@given(BADGED, ON_BADGE, st.sampled_from(PATCH_RULES))
def test_what_an_extension_promises_holds_after_every_patch(
    body: dict[str, Any], items: list[dict[str, Any]], rules: ScimRules
) -> None:
    document = normalise("User", body, rules).document
    before = copy.deepcopy((document, items))
    result = _try(document, items, rules)
    assert (document, items) == before
    assume(result is not None)
    assert result is not None
    was, badge = document[BADGE_URN], result.document.get(BADGE_URN)
    # Immutable, once set.
    assert "serial" not in was or (badge is not None and badge["serial"] == was["serial"])
    plant = was.get("maker", {}).get("plant")
    assert plant is None or (badge is not None and badge["maker"]["plant"] == plant)
    # Required, if there is anything at all.
    assert badge is None or badge["number"].strip()
    assert (BADGE_URN in result.document["schemas"]) is (badge is not None)
    stored = {"active": True, **result.document}
    assert normalise("User", stored, rules).document == stored


@few
@given(USERS, st.sampled_from(PATCH_RULES))
def test_adding_any_present_part_is_no_change(body: dict[str, Any], rules: ScimRules) -> None:
    document = _stored(body)
    items = [{"op": "add", "path": f"name.{name}", "value": value} for name, value in document.get("name", {}).items()]
    for email in document.get("emails", []):
        items += [{"op": "add", "path": "emails", "value": email}, {"op": "Add", "value": {"emails": [email]}}]
        selection = f"emails[value eq {orjson.dumps(email['value']).decode()}]" if "value" in email else None
        alike = [
            other for other in document["emails"] if other.get("value", "").lower() == email.get("value", "").lower()
        ]
        if selection and len(alike) == 1:
            items += [{"op": "add", "path": selection, "value": email}]
            items += [{"op": "add", "path": f"{selection}.{name}", "value": value} for name, value in email.items()]
    for item in items:
        assert not patch_user(document, item, rules=rules).changed
    assert not items or not patch_user(document, *items, rules=rules).changed


@few
@given(EMAILS, EMAIL)
def test_adding_twice_is_adding_once(emails: list[dict[str, Any]], email: dict[str, Any]) -> None:
    item = {"op": "add", "path": "emails", "value": email}
    once = patch_user(_stored({"schemas": [USER_URN], "userName": "b", "emails": emails}), item)
    assert not patch_user(once.document, item).changed


@few
@given(USERS)
def test_adding_what_is_there_is_no_change(body: dict[str, Any]) -> None:
    document = _stored(body)
    assert not patch_user(document, {"op": "add", "value": document}).changed
    for name, value in document.items():
        assert not patch_user(document, {"op": "Add", "path": name, "value": value}).changed


@few
@given(USERS, EMAILS)
def test_what_was_added_can_be_removed_by_value(body: dict[str, Any], emails: list[dict[str, Any]]) -> None:
    added = patch_user(_stored({**body, "emails": []}), {"op": "add", "path": "emails", "value": emails}).document
    removed = patch_user(added, {"op": "remove", "path": "emails", "value": added.get("emails", [])})
    assert removed.document == _stored({**body, "emails": []})


@few
@given(USERS)
def test_removing_everything_leaves_the_required(body: dict[str, Any]) -> None:
    document = _stored(body)
    items = [{"op": "remove", "path": name} for name in document if name not in ("schemas", "userName")]
    assume(items)
    assert patch_user(document, *items).document == {"schemas": [USER_URN], "userName": document["userName"]}

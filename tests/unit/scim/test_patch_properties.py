"""What holds for every PATCH: atomic, never in place, in stored form, idempotent where it should be."""

import copy
from typing import Any

from hypothesis import assume, given, settings

from control_plane.scim.core_schemas import USER_URN
from control_plane.scim.errors import ScimError
from control_plane.scim.patch import PatchResult
from control_plane.scim.validate import normalise
from tests.unit.scim.samples import REGISTRY, patch_user
from tests.unit.scim.strategies import EMAILS, OPERATIONS, USERS

few = settings(max_examples=60, deadline=None)


def _stored(body: dict[str, Any]) -> dict[str, Any]:
    return normalise("User", body, REGISTRY).document


def _try(document: dict[str, Any], items: list[dict[str, Any]]) -> PatchResult | None:
    try:
        return patch_user(document, *items)
    except ScimError:
        return None


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

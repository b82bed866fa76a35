"""What one request may ask of one core: lists, path-less values, selections. Each limit itself is allowed."""

from typing import Any

import orjson
import pytest

from control_plane.scim.core_schemas import GROUP_URN, USER_URN
from control_plane.scim.errors import InvalidValue, TooMany
from control_plane.scim.limits import MAX_ELEMENTS, MAX_MEMBER_SELECTIONS, MAX_PATCH_KEYS
from control_plane.scim.members import RemoveSelected
from control_plane.scim.validate import normalise
from tests.unit.scim.samples import BADGE_RULES, BADGE_URN, RULES, patch_group, patch_user, user


def _emails(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"value": f"{number}@example.com"} for number in range(start, start + count)]


def _op(op: str, path: str | None, value: object = None) -> dict[str, Any]:
    return {"op": op, "path": path, "value": value}


def test_a_body_has_a_thousand_elements_of_an_attribute() -> None:
    body = {"schemas": [USER_URN], "userName": "b", "emails": _emails(MAX_ELEMENTS)}
    assert len(normalise("User", body, RULES).document["emails"]) == MAX_ELEMENTS


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ({"emails": _emails(MAX_ELEMENTS + 1)}, "emails can have at most 1000 elements, these are 1001"),
        ({"emails": [None] * (MAX_ELEMENTS + 1)}, "emails can have"),
        ({BADGE_URN: {"number": "1", "tags": ["x"] * (MAX_ELEMENTS + 1)}}, f"{BADGE_URN}:tags can have"),
    ],
)
def test_more_elements_are_too_many_and_named(attributes: dict[str, Any], named: str) -> None:
    with pytest.raises(TooMany, match=named):
        normalise("User", {"schemas": [USER_URN], "userName": "b", **attributes}, BADGE_RULES)


def test_members_are_exempt_from_the_limit_of_elements() -> None:
    members = [{"value": str(number)} for number in range(MAX_ELEMENTS + 1)]
    body = {"schemas": [GROUP_URN], "displayName": "g", "members": members}
    assert len(normalise("Group", body, RULES).members or ()) == MAX_ELEMENTS + 1
    (added,) = patch_group(_op("add", "members", members)).members
    assert len(getattr(added, "ids", ())) == MAX_ELEMENTS + 1


def test_readonly_lists_are_dropped_whatever_their_length() -> None:
    body = {"schemas": [USER_URN], "userName": "b", "groups": [{"value": "g"}] * (MAX_ELEMENTS + 1)}
    assert "groups" not in normalise("User", body, RULES).document


FULL = user(emails=_emails(MAX_ELEMENTS))


@pytest.mark.parametrize(
    "item",
    [
        _op("add", "emails", [{"value": "new"}]),
        _op("add", None, {"emails": {"value": "new"}}),
        _op("add", 'emails[type eq "new"].value', "new"),
        _op("replace", "emails", _emails(MAX_ELEMENTS + 1)),
    ],
)
def test_a_patch_that_leaves_more_elements_is_too_many(item: dict[str, Any]) -> None:
    with pytest.raises(TooMany, match="emails can have at most 1000 elements"):
        patch_user(FULL, item)


def test_a_list_that_is_longer_already_may_change_and_shrink() -> None:
    before = {**user(), "emails": _emails(MAX_ELEMENTS + 2)}
    found = patch_user(before, _op("remove", 'emails[value eq "0@example.com"]')).document["emails"]
    assert found == before["emails"][1:]
    found = patch_user(before, _op("replace", 'emails[value eq "0@example.com"].type', "work")).document["emails"]
    assert found[0] == {"value": "0@example.com", "type": "work"}


def _unknown(count: int) -> dict[str, int]:
    return {f"k{number}": 1 for number in range(count)}


def test_values_without_a_path_have_a_thousand_keys_together() -> None:
    assert len(patch_user(user(), _op("add", None, _unknown(MAX_PATCH_KEYS))).ignored) == MAX_PATCH_KEYS
    with pytest.raises(TooMany, match="at most 1000 keys"):
        patch_user(user(), _op("add", None, _unknown(MAX_PATCH_KEYS + 1)))
    half = _unknown(MAX_PATCH_KEYS // 2)
    with pytest.raises(TooMany, match=r"operation 3: .* at most 1000 keys"):
        patch_user(user(), _op("add", None, half), _op("replace", None, half), _op("add", None, {"title": "T"}))
    with pytest.raises(TooMany, match="at most 1000 keys"):
        patch_user(user(), _op("add", BADGE_URN, _unknown(MAX_PATCH_KEYS + 1)), rules=BADGE_RULES)


def _selections(count: int) -> list[dict[str, Any]]:
    return [_op("remove", f'members[display eq "{number}"]') for number in range(count)]


def test_twenty_selections_of_members_in_a_patch() -> None:
    found = patch_group(*_selections(MAX_MEMBER_SELECTIONS)).members
    assert [type(one) for one in found] == [RemoveSelected] * MAX_MEMBER_SELECTIONS
    with pytest.raises(TooMany, match="at most 20 selections of members"):
        patch_group(*_selections(MAX_MEMBER_SELECTIONS + 1))


def test_members_by_their_ids_are_no_selections() -> None:
    items = [_op("remove", f'members[value eq "{number}"]') for number in range(900)]
    assert len(patch_group(*items, *_selections(MAX_MEMBER_SELECTIONS)).members) == MAX_MEMBER_SELECTIONS + 1


def test_selections_that_a_later_operation_makes_void_do_not_count() -> None:
    assert len(patch_group(*_selections(MAX_MEMBER_SELECTIONS + 1), _op("replace", "members", [])).members) == 1


def test_paths_that_take_long_to_read_are_too_many() -> None:
    ids = " or ".join(f'value eq "{number:036}"' for number in range(32))
    items = [_op("remove", f"members[{ids}]")] * 200
    assert len(orjson.dumps(items)) < 1024 * 1024
    with pytest.raises(TooMany, match="too much work on members"):
        patch_group(*items)


def test_the_value_of_a_member_may_be_spelled_in_any_case() -> None:
    (added,) = patch_group(_op("add", "members", [{"Value": "a"}, {"value": "b"}, "c"])).members
    assert getattr(added, "ids", ()) == ("a", "b", "c")
    with pytest.raises(InvalidValue, match="each element of members"):
        patch_group(_op("add", "members", [{"value": 5}]))

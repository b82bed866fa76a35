"""The SCIM planner: from what a target shows to the requests that make it agree."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.connectors.base import Desired, Op, Plan, Remote
from workers.connectors.scim_plan import ENTERPRISE, GROUP_SCHEMA, USER_SCHEMA, plan, wanted
from workers.messages import Effect, ResourceKind

Json = dict[str, Any]


def user(**attributes: Any) -> Desired:
    return Desired(ResourceKind.USER, "muster-1", {"schemas": [USER_SCHEMA], "userName": "ada"} | attributes)


def group(members: set[str], **attributes: Any) -> Desired:
    document = {"schemas": [GROUP_SCHEMA], "displayName": "Engineers"} | attributes
    return Desired(ResourceKind.GROUP, "muster-g", document, frozenset(members))


def shown(**attributes: Any) -> Remote:
    return Remote("r1", {"id": "r1", "userName": "ada", "externalId": "muster-1"} | attributes)


def operations(planned: Plan) -> list[Json]:
    if not planned.steps:
        return []
    [step] = planned.steps
    assert step.op is Op.UPDATE
    result: list[Json] = step.payload["Operations"]
    return result


def replace(path: str, value: Any) -> Json:
    return {"op": "replace", "path": path, "value": value}


def remove(path: str) -> Json:
    return {"op": "remove", "path": path}


WORK = {"value": "a@x", "type": "work", "primary": True}
HOME = {"value": "a@y", "type": "home"}

UPDATES: list[tuple[str, Json, Json, list[Json]]] = [
    ("equal", {"title": "x"}, {"title": "x"}, []),
    ("changed", {"title": "x"}, {"title": "y"}, [replace("title", "x")]),
    ("missing", {"title": "x"}, {}, [replace("title", "x")]),
    ("no longer desired", {}, {"title": "y"}, [remove("title")]),
    ("null is unassigned on both sides", {"title": None}, {"nickName": None}, []),
    ("letters matter", {"title": "X"}, {"title": "x"}, [replace("title", "X")]),
    ("deactivated", {"active": False}, {"active": True}, [replace("active", False)]),
    ("a string is no boolean", {"active": True}, {"active": "True"}, [replace("active", True)]),
    ("active is never removed", {}, {"active": True}, []),
    ("names of attributes ignore case", {"title": "x"}, {"TITLE": "x"}, []),
    ("not ours: groups, password, meta", {}, {"groups": [{"value": "g"}], "password": "p", "meta": {}}, []),
    ("not ours: what no schema of ours has", {}, {"urn:x:y": {"a": 1}, "color": "red"}, []),
    ("part of the name", {"name": {"givenName": "A"}}, {"name": {"givenName": "B"}}, [replace("name.givenName", "A")]),
    (
        "part of the name is gone",
        {"name": {"givenName": "A"}},
        {"name": {"givenName": "A", "middleName": "M"}},
        [remove("name.middleName")],
    ),
    ("a whole name", {"name": {"givenName": "A"}}, {}, [replace("name", {"givenName": "A"})]),
    ("a name that says nothing", {"name": {"givenName": None}}, {"name": {}}, []),
    ("no name", {}, {"name": {"givenName": "A"}}, [remove("name")]),
    ("order of values does not matter", {"emails": [WORK, HOME]}, {"emails": [HOME, WORK]}, []),
    (
        "what says nothing does not matter",
        {"emails": [HOME]},
        {"emails": [HOME | {"primary": False, "display": None, "$ref": "x"}]},
        [],
    ),
    ("multi-valued whole", {"emails": [WORK]}, {"emails": [WORK, HOME]}, [replace("emails", [WORK])]),
    ("multi-valued gone", {"emails": []}, {"emails": [WORK]}, [remove("emails")]),
    (
        "extension",
        {ENTERPRISE: {"department": "D"}},
        {ENTERPRISE: {"department": "E", "division": "V"}},
        [remove(f"{ENTERPRISE}:division"), replace(f"{ENTERPRISE}:department", "D")],
    ),
    (
        "of the manager only the id counts",
        {ENTERPRISE: {"manager": {"value": "m", "displayName": "M"}}},
        {ENTERPRISE: {"manager": {"value": "m", "$ref": "../m", "displayName": "Other"}}},
        [],
    ),
    (
        "another manager",
        {ENTERPRISE: {"manager": {"value": "m"}}},
        {ENTERPRISE: {"manager": {"value": "n"}}},
        [replace(f"{ENTERPRISE}:manager", {"value": "m"})],
    ),
    (
        "the extension's name ignores case",
        {ENTERPRISE: {"department": "D"}},
        {ENTERPRISE.lower(): {"Department": "D"}},
        [],
    ),
]


@pytest.mark.parametrize(("want", "have", "expected"), [row[1:] for row in UPDATES], ids=[row[0] for row in UPDATES])
def test_only_what_differs_is_written(want: Json, have: Json, expected: list[Json]) -> None:
    planned = plan(user(**want), shown(**have), can_patch=True)
    assert sorted(operations(planned), key=str) == sorted(expected, key=str)
    assert planned.effect is (Effect.UPDATED if expected else Effect.NONE)


def test_external_id_is_the_idps_or_ours() -> None:
    assert wanted(user(externalId="e1"), user(externalId="e1").document or {})["externalId"] == "e1"
    assert wanted(user(), user().document or {})["externalId"] == "muster-1"


def test_create_sends_what_is_managed_and_nothing_else() -> None:
    desired = user(
        id="x",
        meta={"version": "1"},
        groups=[],
        password="p",
        title="T",
        nickName=None,
        **{ENTERPRISE: {"division": "D"}},
    )
    planned = plan(desired, None, can_patch=True)
    [step] = planned.steps
    assert planned.effect is Effect.CREATED
    assert (step.op, step.remote_id) == (Op.CREATE, "")
    assert step.payload == {
        "schemas": [USER_SCHEMA, ENTERPRISE],
        "userName": "ada",
        "title": "T",
        "externalId": "muster-1",
        ENTERPRISE: {"division": "D"},
    }


def test_put_keeps_what_is_the_targets_own() -> None:
    have = shown(
        title="old",
        nickName="gone",
        color="red",
        password="p",
        groups=[1],
        meta={"v": 1},
        **{ENTERPRISE: {"division": "D", "badge": 7}, "urn:x:y": {"a": 1}},
    )
    planned = plan(user(title="new"), have, can_patch=False)
    [step] = planned.steps
    assert step.op is Op.REPLACE
    body = dict(step.payload)
    assert set(body.pop("schemas")) == {USER_SCHEMA, ENTERPRISE, "urn:x:y"}
    assert body == {
        "id": "r1",
        "userName": "ada",
        "externalId": "muster-1",
        "title": "new",
        "color": "red",
        ENTERPRISE: {"badge": 7},
        "urn:x:y": {"a": 1},
    }


def test_deleted() -> None:
    gone = Desired(ResourceKind.USER, "")
    assert [step.op for step in plan(gone, Remote("r1"), can_patch=True).steps] == [Op.DELETE]
    assert plan(gone, None, can_patch=True) == Plan([], Effect.NONE)


def test_members_are_a_delta_removals_first() -> None:
    have = Remote("g1", {"displayName": "Engineers", "externalId": "muster-g"}, frozenset({"a", "b"}))
    planned = plan(group({"b", "c"}), have, can_patch=True)
    assert [(step.op, step.members) for step in planned.steps] == [
        (Op.REMOVE_MEMBERS, ("a",)),
        (Op.ADD_MEMBERS, ("c",)),
    ]


@pytest.mark.parametrize(("count", "chunks"), [(0, [0]), (500, [500]), (501, [500, 1]), (1250, [500, 500, 250])])
def test_a_new_group_starts_with_the_first_members(count: int, chunks: list[int]) -> None:
    planned = plan(group({f"m{number}" for number in range(count)}), None, can_patch=True)
    first, *rest = planned.steps
    assert [len(first.payload.get("members", [])), *(len(step.members) for step in rest)] == chunks
    assert all(step.remote_id == "" for step in rest), "the id is known when the group is made"


def test_removals_travel_in_smaller_chunks() -> None:
    have = Remote("g1", {"displayName": "Engineers", "externalId": "muster-g"}, frozenset(f"m{n}" for n in range(250)))
    planned = plan(group(set()), have, can_patch=True)
    assert [len(step.members) for step in planned.steps] == [100, 100, 50]


def test_without_patch_a_group_is_put_whole() -> None:
    have = Remote("g1", {"displayName": "Engineers", "externalId": "muster-g"}, frozenset({"a"}))
    [step] = plan(group({"b", "c"}), have, can_patch=False).steps
    assert step.op is Op.REPLACE
    assert step.payload["members"] == [{"value": "b"}, {"value": "c"}]


# A target that does as it is told shows, after the plan, something with nothing left to do.

texts = st.one_of(st.none(), st.text(max_size=3))
extensions = st.one_of(st.none(), st.fixed_dictionaries({}, optional={"department": texts, "division": texts}))
attributes = st.fixed_dictionaries(
    {},
    optional={
        "title": texts,
        "active": st.booleans(),
        "name": st.one_of(st.none(), st.fixed_dictionaries({}, optional={"givenName": texts, "familyName": texts})),
        "emails": st.lists(st.fixed_dictionaries({"value": st.text(max_size=2)}), max_size=3),
        ENTERPRISE: extensions,
    },
)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(want=attributes, have=attributes)
def test_after_a_plan_nothing_is_left_to_do(want: Json, have: Json) -> None:
    there = shown(**have)
    for can_patch in (True, False):
        first = plan(user(**want), there, can_patch=can_patch)
        after = there.attributes
        for step in first.steps:
            after = dict(step.payload) if step.op is Op.REPLACE else _patched(after, step.payload["Operations"])
        assert plan(user(**want), Remote("r1", after), can_patch=can_patch).steps == []


def _patched(attributes: Json, changes: list[Json]) -> Json:
    """Apply operations as a plain target does: each path has at most one level."""
    result = {name: dict(value) if isinstance(value, dict) else value for name, value in attributes.items()}
    for change in changes:
        path = change["path"]
        parent, _, leaf = path.rpartition(":") if path.startswith("urn:") else path.rpartition(".")
        if parent and not isinstance(result.get(parent), dict):
            result[parent] = {}
        holder = result[parent] if parent else result
        if change["op"] == "remove":
            holder.pop(leaf, None)
        else:
            holder[leaf] = change["value"]
    return result

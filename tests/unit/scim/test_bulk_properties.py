"""The bulk planner on any references between any operations."""

from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from control_plane.scim import bulk
from control_plane.scim.errors import InvalidSyntax, InvalidValue

NAMES = "abcdefgh"
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=12)
    | st.sampled_from(["bulkId:a", "bulkId:zz", "/Users"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["path", "value", "$ref", "x"]), inner),
    max_leaves=10,
)


@st.composite
def requests(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Creations of distinct names in any order that refer to any of them, with changes and deletions in between."""
    names = draw(st.permutations(NAMES))[: draw(st.integers(1, len(NAMES)))]
    targets = st.lists(st.sampled_from(NAMES), max_size=3, unique=True)
    found: list[dict[str, Any]] = []
    for name in names:
        path = draw(st.sampled_from(["/Users", "/Groups"]))
        data = {"members": [{"value": f"bulkId:{one}"} for one in draw(targets)]}
        found.append({"method": "POST", "path": path, "bulkId": name, "data": data})
    for target in draw(targets):
        at = draw(st.integers(0, len(found)))
        found.insert(
            at, {"method": draw(st.sampled_from(["PUT", "DELETE"])), "path": f"/Users/bulkId:{target}", "data": {}}
        )
    return found


def _reach(needs: dict[int, set[int]], start: int) -> set[int]:
    found, waiting = set[int](), [start]
    while waiting:
        for one in needs[waiting.pop()] - found:
            found.add(one)
            waiting.append(one)
    return found


@given(requests())
def test_every_step_comes_after_what_it_refers_to_and_circles_are_whole(operations: list[dict[str, Any]]) -> None:
    plan = bulk.plan({"Operations": operations})
    creators = {one["bulkId"]: at for at, one in enumerate(operations) if "bulkId" in one}
    needs = {
        at: {creators[name] for name in one.references} if one.error is None else set[int]()
        for at, one in enumerate(plan.operations)
    }
    step_of = {at: number for number, step in enumerate(plan.steps) for at in step}
    assert sorted(at for step in plan.steps for at in step) == list(range(len(operations)))
    for at, needed in needs.items():
        reached = _reach(needs, at)
        for other in needed:
            assert step_of[other] <= step_of[at]
        for other in range(len(operations)):
            is_circle = other in reached and at in _reach(needs, other)
            assert (step_of[other] == step_of[at]) == (is_circle or other == at)


@given(requests())
def test_every_reference_is_resolved_or_its_operation_failed(operations: list[dict[str, Any]]) -> None:
    plan = bulk.plan({"Operations": operations})
    ids = {one.bulk_id: f"ID-{one.bulk_id}" for one in plan.operations if one.method == "POST"}
    for one in plan.operations:
        if one.references <= ids.keys():
            assert one.error is None
            assert "bulkId:" not in str(bulk.resolved(one.data, ids)) + bulk.resolved_id(one, ids)
        else:
            assert isinstance(one.error, bulk.Conflict)


@given(requests())
def test_what_refers_only_backwards_stays_in_order(operations: list[dict[str, Any]]) -> None:
    known: set[str] = set()
    backward = []
    for at, one in enumerate(bulk.plan({"Operations": operations}).operations):
        if one.references <= known:
            backward.append(operations[at])
            known |= {one.bulk_id} if one.bulk_id else set()
    if backward:
        assert bulk.plan({"Operations": backward}).steps == tuple((at,) for at in range(len(backward)))


OPERATION = st.dictionaries(st.sampled_from(["method", "path", "bulkId", "data", "version"]), json_values)


@given(OPERATION, OPERATION)
def test_any_operation_is_understood_or_refused(operation: dict[str, Any], other: dict[str, Any]) -> None:
    plan = bulk.plan({"Operations": [operation, other]})
    assert len(plan.operations) == 2
    for one in plan.operations:
        assert one.error is not None or one.method in bulk.METHODS


@given(st.dictionaries(st.sampled_from(["Operations", "failOnErrors", "schemas"]), json_values))
def test_any_body_is_planned_or_refused(body: dict[str, Any]) -> None:
    with suppress(InvalidSyntax, InvalidValue):
        bulk.plan(body)

"""Bulk operations that share a transaction have the outcome they would have one after the other."""

from typing import Any

import pytest

from control_plane.storage import uniqueness
from tests.fixtures.control_plane import Plane
from tests.fixtures.postgres import Database
from tests.wire.test_bulk import Bulk, group, patch, report, user


@pytest.fixture
async def bulk(plane: Plane, database: Database) -> Bulk:
    return Bulk(plane, await plane.tenant(), database)


async def test_a_unique_value_that_a_neighbour_gives_up_or_fails_with_is_free(bulk: Bulk) -> None:
    ids = [one.id for one in await bulk.send(group("a"), group("b"))]
    renames = [patch(f"/Groups/{id_}", "displayName", name) for id_, name in zip(ids, ("c", "a"), strict=True)]
    assert await bulk.statuses(*renames) == [200, 200]
    assert await bulk.names() == ["c", "a"]
    nameless = {**group("x"), "data": {**group("x")["data"], "displayName": "d", "externalId": "e" * 2_000}}
    assert await bulk.statuses(nameless, {**group("y"), "data": {**group("y")["data"], "displayName": "D"}}) == [
        400,
        201,
    ]


async def test_a_value_is_free_when_the_neighbour_that_wanted_it_refers_to_a_failure(bulk: Bulk) -> None:
    await bulk.send(user("boss"))
    head, heir = user("head", userName="BOSS"), group("heir", displayName="TEAM")
    results = await bulk.send(head, group("team", "head"), heir, report("a", "head"), user("b", userName="A"))
    assert [one.status for one in results] == [409, 409, 201, 409, 201]
    assert sorted(await bulk.names()) == ["A", "TEAM", "boss"]


@pytest.mark.parametrize("path", ['members[display eq "New"]', 'members [display eq "New"]'])
async def test_a_selection_of_members_sees_what_came_before_it(bulk: Bulk, path: str) -> None:
    ada = (await bulk.send(user("ada")))[0].id
    team = (await bulk.send(group("g", members=[{"value": ada}])))[0].id
    selection = {"op": "remove", "path": path}
    body = {"method": "PATCH", "path": f"/Groups/{team}", "data": {"Operations": [selection]}}
    assert await bulk.statuses(patch(f"/Users/{ada}", "displayName", "New"), body) == [200, 200]
    assert await bulk.member_ids(team) == set()


async def test_a_circle_of_any_size_claims_its_unique_values_at_once(
    bulk: Bulk, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, claim = [], uniqueness.claim

    async def counted(tx: Any, claims: Any) -> Any:
        calls.append(len(claims))
        return await claim(tx, claims)

    monkeypatch.setattr(uniqueness, "claim", counted)
    results = await bulk.send(*(group(f"g{at:03}", f"g{(at + 1) % 250:03}") for at in range(250)))
    assert {one.status for one in results} == {201}
    assert calls == [250]

"""Bulk operations that share a transaction have the outcome they would have one after the other."""

import pytest

from tests.fixtures.control_plane import Plane
from tests.fixtures.postgres import Database
from tests.wire.test_bulk import Bulk, group, patch, user


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


async def test_a_selection_of_members_sees_what_came_before_it(bulk: Bulk) -> None:
    ada = (await bulk.send(user("ada")))[0].id
    team = (await bulk.send(group("g", members=[{"value": ada}])))[0].id
    selection = {"op": "remove", "path": 'members[display eq "New"]'}
    body = {"method": "PATCH", "path": f"/Groups/{team}", "data": {"Operations": [selection]}}
    assert await bulk.statuses(patch(f"/Users/{ada}", "displayName", "New"), body) == [200, 200]
    assert await bulk.member_ids(team) == set()

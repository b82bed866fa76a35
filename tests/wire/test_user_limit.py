"""One user more than the tenant may have is 403, in bulk too, and whoever has a place gets it."""

import asyncio

import grpc

from protos.tenancy.v1 import tenancy_pb2 as tenancy
from tests.fixtures.control_plane import Plane
from tests.fixtures.postgres import Database
from tests.wire.conftest import Refusal, refused
from tests.wire.test_bulk import Bulk, group, user
from tests.wire.test_directory import GROUP, USER, Directory
from tests.wire.test_tenants import create, update


async def limited(plane: Plane, limit: int) -> Directory:
    return Directory(plane, (await create(plane, limits=tenancy.TenantLimits(max_users=limit))).id)


async def outcome(directory: Directory, name: str) -> str:
    try:
        await directory.create(USER, userName=name)
    except grpc.aio.AioRpcError as err:
        return str(Refusal(err).info.metadata["status"])
    return "201"


async def test_one_more_than_the_limit_is_forbidden(plane: Plane) -> None:
    directory = await limited(plane, 1)
    ada = await directory.create(USER, userName="ada")
    refusal = await refused(directory.create(USER, userName="bob"))
    assert (refusal.code, refusal.info.metadata["status"]) == (grpc.StatusCode.PERMISSION_DENIED, "403")
    assert refusal.text == "the tenant's limit of users is reached (max_users is 1)"
    # Everything else goes on: groups, changes, and another one in the place of a deleted one.
    await directory.create(GROUP, displayName="Staff")
    await directory.patch(ada, {"op": "replace", "path": "title", "value": "Countess"})
    await directory.delete(ada)
    assert await outcome(directory, "bob") == "201"


async def test_a_new_limit_counts_for_the_next_request(plane: Plane) -> None:
    directory = await limited(plane, 1)
    assert [await outcome(directory, name) for name in ("a", "b")] == ["201", "403"]
    wanted = tenancy.Tenant(id=directory.tenant, limits=tenancy.TenantLimits(max_users=2))
    await update(plane, wanted, "limits.max_users")
    assert [await outcome(directory, name) for name in ("b", "c")] == ["201", "403"]
    await update(plane, tenancy.Tenant(id=directory.tenant), "limits")
    assert await outcome(directory, "c") == "201"


async def test_the_limit_is_exact_when_many_come_at_once(plane: Plane) -> None:
    directory = await limited(plane, 7)
    outcomes = await asyncio.gather(*(outcome(directory, f"user-{number}") for number in range(20)))
    assert sorted(outcomes) == ["201"] * 7 + ["403"] * 13
    assert (await directory.find(USER))[0] == 7


async def test_in_bulk_the_first_ones_get_the_places(plane: Plane, database: Database) -> None:
    bulk = Bulk(plane, (await limited(plane, 3)).tenant, database)
    results = await bulk.send(user("a"), user("b"), group("g"), user("c"), user("d"), user("e"), group("h"))
    assert [one.status for one in results] == [201, 201, 201, 201, 403, 403, 201]
    assert results[4].detail == "the tenant's limit of users is reached (max_users is 3)"


async def test_in_bulk_who_fails_takes_nobodys_place(plane: Plane, database: Database) -> None:
    directory = await limited(plane, 2)
    await directory.create(USER, userName="a")
    bulk = Bulk(plane, directory.tenant, database)
    assert await bulk.statuses(user("1", userName="A"), user("2", userName="b"), user("3", userName="c")) == [
        409,
        201,
        403,
    ]


async def test_in_bulk_what_refers_to_a_user_without_a_place_fails_with_it(plane: Plane, database: Database) -> None:
    bulk = Bulk(plane, (await limited(plane, 1)).tenant, database)
    results = await bulk.send(user("a"), user("b"), group("g", "b"), group("h", "a"))
    assert [one.status for one in results][:2] == [201, 403]
    assert results[2].status >= 400
    assert results[3].status == 201

"""Bulk through gRPC over a real database: few transactions, an outcome for each operation, references resolved."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from control_plane.scim.errors import InvalidValue
from control_plane.services import bulk as bulk_service
from control_plane.services.writes import Batch, Writer
from protos.directory.v1 import directory_pb2 as pb
from protos.tenancy.v1 import tenancy_pb2
from tests.fixtures.control_plane import Plane, running_plane, settings
from tests.fixtures.postgres import Database
from tests.wire.conftest import refused

USER, GROUP = pb.RESOURCE_TYPE_USER, pb.RESOURCE_TYPE_GROUP
USER_URN, GROUP_URN = (f"urn:ietf:params:scim:schemas:core:2.0:{name}" for name in ("User", "Group"))
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
NOBODY = "01900000-0000-7000-8000-000000000000"


def user(bulk_id: str, **data: Any) -> dict[str, Any]:
    body = {"schemas": [USER_URN], "userName": bulk_id, **data}
    return {"method": "POST", "path": "/Users", "bulkId": bulk_id, "data": body}


def report(bulk_id: str, manager: str) -> dict[str, Any]:
    return user(bulk_id, **{ENTERPRISE: {"manager": {"value": f"bulkId:{manager}"}}})


def group(bulk_id: str, *members: str, **data: Any) -> dict[str, Any]:
    listed = [{"value": f"bulkId:{one}"} for one in members]
    body = {"schemas": [GROUP_URN], "displayName": bulk_id, "members": listed, **data}
    return {"method": "POST", "path": "/Groups", "bulkId": bulk_id, "data": body}


def patch(path: str, attribute: str, value: Any, version: str = "") -> dict[str, Any]:
    data = {"Operations": [{"op": "replace", "path": attribute, "value": value}]}
    return {"method": "PATCH", "path": path, "data": data, **({"version": version} if version else {})}


def put(path: str, version: str, **data: Any) -> dict[str, Any]:
    return {"method": "PUT", "path": path, "version": version, "data": {"schemas": [USER_URN], **data}}


def delete(path: str, version: str = "") -> dict[str, Any]:
    return {"method": "DELETE", "path": path, **({"version": version} if version else {})}


class Bulk:
    """Bulk requests in the name of one tenant, and what they left behind."""

    def __init__(self, plane: Plane, tenant: str, database: Database) -> None:
        self.plane, self.tenant, self.database = plane, tenant, database
        self._meta = plane.gateway.metadata(actor_id="key123")

    async def send(self, *operations: Any, **fields: Any) -> list[pb.BulkResult]:
        document = json.dumps({"Operations": list(operations), **fields})
        request = pb.BulkWriteRequest(tenant_id=self.tenant, document=document)
        return list((await self.plane.gateway.directory.BulkWrite(request, metadata=self._meta)).results)

    async def statuses(self, *operations: Any, **fields: Any) -> list[int]:
        return [one.status for one in await self.send(*operations, **fields)]

    async def get(self, kind: pb.ResourceType.ValueType, id_: str) -> pb.Resource:
        request = pb.GetResourceRequest(tenant_id=self.tenant, type=kind, id=id_, with_members=True)
        return (await self.plane.gateway.directory.GetResource(request, metadata=self._meta)).resource

    async def member_ids(self, id_: str) -> set[str]:
        return {one["value"] for one in json.loads((await self.get(GROUP, id_)).members or "[]")}

    async def names(self) -> list[str]:
        """The user names and group names there are, in order of their ids."""
        return [
            row[0] for row in await self.rows("SELECT coalesce(user_name, display_name) FROM resources ORDER BY id")
        ]

    async def transactions(self) -> int:
        """In how many transactions the resources that there are were last written."""
        return int((await self.rows("SELECT count(DISTINCT xmin::text) FROM resources"))[0][0])

    async def rows(self, sql: str) -> list[Any]:
        async with await psycopg.AsyncConnection.connect(self.database.superuser_url) as connection:
            return await (await connection.execute(sql.encode())).fetchall()

    @asynccontextmanager
    async def locked(self, id_: str) -> AsyncIterator[None]:
        """Keep everybody from writing a resource."""
        async with await psycopg.AsyncConnection.connect(self.database.superuser_url) as connection:
            await connection.execute("SELECT FROM resources WHERE id = %s FOR UPDATE", [id_])
            yield


@pytest.fixture
async def bulk(plane: Plane, database: Database) -> Bulk:
    return Bulk(plane, await plane.tenant(), database)


@pytest.fixture
async def hasty(database: Database, queue_url: str) -> AsyncIterator[Bulk]:
    """A control plane that gives a statement one second, not five."""
    async with running_plane(settings(database, queue_url, postgres_timeout_s=1.0)) as plane:
        yield Bulk(plane, await plane.tenant(), database)


async def test_a_thousand_users_are_created_in_five_transactions(bulk: Bulk) -> None:
    results = await bulk.send(*(user(f"u{at:04}", title="t") for at in range(1000)))
    assert {(one.method, one.status, one.version, one.type) for one in results} == {("POST", 201, 1, USER)}
    assert [one.bulk_id for one in results] == await bulk.names()
    assert await bulk.transactions() == 5
    made = await bulk.get(USER, results[999].id)
    assert (made.user_name, json.loads(made.document)["title"]) == ("u0999", "t")


async def test_every_operation_is_audited_with_its_actor(bulk: Bulk) -> None:
    one, _ = await bulk.send(user("a"), group("g", "a"))
    await bulk.send(delete(f"/Users/{one.id}"))
    rows = await bulk.rows("SELECT action, actor_id FROM audit_events WHERE actor_id = 'key123' ORDER BY id")
    assert sorted(rows) == [("group.create", "key123"), ("user.create", "key123"), ("user.delete", "key123")]


async def test_users_and_their_groups_by_turns_are_one_transaction(bulk: Bulk) -> None:
    pairs = [[user(f"u{at}"), group(f"g{at}", f"u{at}")] for at in range(20)]
    results = await bulk.send(*(one for pair in pairs for one in pair))
    assert {one.status for one in results} == {201}
    assert await bulk.transactions() == 1
    for member, holder in zip(results[::2], results[1::2], strict=True):
        assert await bulk.member_ids(holder.id) == {member.id}


async def test_a_reference_may_come_before_what_it_refers_to(bulk: Bulk) -> None:
    everybody, one, head = await bulk.send(group("g", "a", "b"), report("a", "b"), user("b"))
    assert [everybody.status, one.status, head.status] == [201, 201, 201]
    assert await bulk.member_ids(everybody.id) == {one.id, head.id}
    stored = json.loads((await bulk.get(USER, one.id)).document)
    assert stored[ENTERPRISE]["manager"]["value"] == head.id


async def test_a_path_and_a_patch_may_refer_to_a_creation(bulk: Bulk) -> None:
    existing = (await bulk.send(group("g")))[0].id
    add = {"op": "add", "path": "members", "value": [{"value": "bulkId:a"}, {"value": "bulkId:b"}]}
    remove = {"op": "remove", "path": 'members[value eq "bulkId:b"]'}
    results = await bulk.send(
        {"method": "PATCH", "path": f"/Groups/{existing}", "data": {"Operations": [add]}},
        # The bare list is the RFC's own example of a PATCH in a bulk request (RFC 7644 section 3.7.3).
        {"method": "patch", "path": f"/Groups/{existing}", "data": [remove]},
        patch("/Users/bulkId:a", "title", "x"),
        user("a"),
        user("b"),
        delete("/Users/bulkId:b"),
    )
    assert [one.status for one in results] == [200, 200, 200, 201, 201, 204]
    assert [one.version for one in results] == [2, 3, 2, 1, 1, 0]
    assert results[2].id == results[3].id
    assert await bulk.member_ids(existing) == {results[3].id}


async def test_groups_may_refer_to_each_other_in_a_circle(bulk: Bulk) -> None:
    one, other, person = await bulk.send(group("a", "b", "p"), group("b", "a"), user("p"))
    assert [one.status, other.status, person.status] == [201, 201, 201]
    assert await bulk.member_ids(one.id) == {other.id, person.id}
    assert await bulk.member_ids(other.id) == {one.id}
    # Created, and then given the members that did not exist yet.
    assert one.version == other.version == (await bulk.get(GROUP, one.id)).version == 2


async def test_a_circle_is_allowed_where_unknown_members_are_refused(bulk: Bulk) -> None:
    request = tenancy_pb2.UpdateTenantRequest(tenant=tenancy_pb2.Tenant(id=bulk.tenant))
    request.tenant.compatibility.reject_unknown_members = True
    request.update_mask.paths.append("compatibility.reject_unknown_members")
    await bulk.plane.admin.tenants.UpdateTenant(request, metadata=bulk.plane.admin.metadata())
    results = await bulk.send(
        group("a", "b", "p"), group("b", "a"), user("p"), group("c", "p"), group("d", members=[{"value": NOBODY}])
    )
    assert [one.status for one in results] == [201, 201, 201, 201, 400]
    assert await bulk.member_ids(results[0].id) == {results[1].id, results[2].id}
    assert await bulk.member_ids(results[3].id) == {results[2].id}


async def test_managers_may_refer_to_each_other_in_a_circle(bulk: Bulk) -> None:
    results = await bulk.send(report("a", "b"), report("b", "c"), report("c", "a"), report("own", "own"))
    assert [one.status for one in results] == [201] * 4
    managers = [json.loads((await bulk.get(USER, one.id)).document)[ENTERPRISE]["manager"]["value"] for one in results]
    assert managers == [results[1].id, results[2].id, results[0].id, results[3].id]


async def test_a_circle_larger_than_a_transaction_should_be_is_not_divided(bulk: Bulk) -> None:
    results = await bulk.send(*(group(f"g{at:03}", f"g{(at + 1) % 250:03}") for at in range(250)))
    assert {one.status for one in results} == {201}
    assert await bulk.transactions() == 1
    assert await bulk.member_ids(results[0].id) == {results[1].id}
    assert await bulk.member_ids(results[249].id) == {results[0].id}


async def test_a_circle_with_a_failure_leaves_nothing(bulk: Bulk) -> None:
    # The last of the circle has no "schemas".
    last = {"method": "POST", "path": "/Users", "bulkId": "c", "data": {ENTERPRISE: {"manager": "bulkId:a"}}}
    results = await bulk.send(report("a", "b"), report("b", "c"), last, user("d"), failOnErrors=4)
    assert [(one.status, one.scim_type) for one in results] == [(409, ""), (409, ""), (400, "invalidSyntax"), (201, "")]
    assert "bulkId" in results[0].detail
    assert await bulk.names() == ["d"]


async def test_a_circle_whose_members_cannot_be_added_leaves_nothing(
    bulk: Bulk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refusing(_self: Writer, _tx: object, _scope: object, items: Sequence[object]) -> Batch:
        return Batch([InvalidValue("members: no") for _ in items])

    monkeypatch.setattr(Writer, "change", refusing)
    assert await bulk.statuses(group("a", "b"), group("b", "a"), user("c")) == [400, 400, 201]
    assert await bulk.names() == ["c"]


async def test_the_errors_of_a_circle_have_one_cause_which_is_told(bulk: Bulk) -> None:
    last = {"method": "POST", "path": "/Users", "bulkId": "b", "data": {ENTERPRISE: {"manager": "bulkId:a"}}}
    assert await bulk.statuses(report("a", "b"), last, user("c"), failOnErrors=1) == [409, 400]


async def test_what_refers_to_a_failure_fails_and_names_it(bulk: Bulk) -> None:
    await bulk.send(user("boss"))
    results = await bulk.send(
        user("head", userName="BOSS"),
        report("a", "head"),
        report("b", "a"),
        group("g", "b"),
        patch("/Users/bulkId:head", "title", "x"),
        group("h", "unheard"),
        user("free"),
    )
    assert [one.status for one in results] == [409, 409, 409, 409, 409, 409, 201]
    assert [one.scim_type for one in results] == ["uniqueness", "", "", "", "", "", ""]
    named = ["userName", "'head'", "'a'", "'b'", "'head'", "'unheard'"]
    assert [name in one.detail for name, one in zip(named, results, strict=False)] == [True] * 6
    assert [one.id for one in results[:6]] == [""] * 6
    assert await bulk.names() == ["boss", "free"]


async def test_of_two_equal_user_names_the_first_wins(bulk: Bulk) -> None:
    names = [name for at in range(20) for name in (f"Name{at}", f"nAME{at}")]
    results = await bulk.send(*(user(name) for name in names))
    assert [one.status for one in results] == [201, 409] * 20
    assert {one.scim_type for one in results[1::2]} == {"uniqueness"}
    assert await bulk.names() == names[::2]


async def test_versions_are_compared(bulk: Bulk) -> None:
    ids = [one.id for one in await bulk.send(*(user(f"u{at}") for at in range(6)))]
    results = await bulk.send(
        put(f"/Users/{ids[0]}", 'W/"1"', userName="u0", title="x"),
        put(f"/Users/{ids[1]}", 'W/"2"', userName="u1", title="x"),
        patch(f"/Users/{ids[2]}", "title", "x", 'W/"1"'),
        patch(f"/Users/{ids[3]}", "title", "x", 'W/"7", "8"'),
        delete(f"/Users/{ids[4]}", '"1"'),
        delete(f"/Users/{ids[5]}", 'W/"9"'),
    )
    assert [one.status for one in results] == [200, 412, 200, 412, 204, 412]
    assert [one.version for one in results] == [2, 0, 2, 0, 0, 0]
    assert [one.id for one in results] == ids
    assert await bulk.names() == ["u0", "u1", "u2", "u3", "u5"]


async def test_wrong_operations_leave_the_others(bulk: Bulk) -> None:
    results = await bulk.send(
        user("a"),
        user("b", userName=""),
        {**user("c"), "path": "/Devices"},
        patch(f"/Users/{NOBODY}", "title", "x"),
        delete("/Groups/not-an-id"),
        {"method": "GET", "path": "/Users", "bulkId": "q"},
        user("d"),
    )
    assert [one.status for one in results] == [201, 400, 404, 404, 404, 400, 201]
    assert [one.scim_type for one in results[1:6]] == ["invalidValue", "", "", "", "invalidSyntax"]
    assert [one.bulk_id for one in results] == ["a", "b", "c", "", "", "q", "d"]
    assert [one.id for one in results[1:5]] == ["", "", NOBODY, ""]
    assert await bulk.names() == ["a", "d"]


async def test_operations_on_one_resource_keep_their_order(bulk: Bulk) -> None:
    one = (await bulk.send(user("a")))[0].id
    results = await bulk.send(
        patch(f"/Users/{one}", "title", "first"),
        patch(f"/Users/{one}", "title", "second", 'W/"2"'),
        delete(f"/Users/{one}"),
        user("b", userName="A"),
        patch(f"/Users/{one}", "title", "late"),
    )
    assert [(item.status, item.version) for item in results] == [(200, 2), (200, 3), (204, 0), (201, 1), (404, 0)]


async def test_a_taken_name_fails_one_change_of_many(bulk: Bulk) -> None:
    ids = [one.id for one in await bulk.send(*(user(name) for name in ("a", "b", "c", "taken")))]
    names = ["A2", "TAKEN", "c2"]
    changes = [patch(f"/Users/{id_}", "userName", name) for id_, name in zip(ids, names, strict=False)]
    results = await bulk.send(*changes)
    assert [(one.status, one.scim_type) for one in results] == [(200, ""), (409, "uniqueness"), (200, "")]
    assert await bulk.names() == ["A2", "b", "c2", "taken"]


async def test_names_can_be_handed_on_within_one_request(bulk: Bulk) -> None:
    ids = [one.id for one in await bulk.send(user("a"), user("b"))]
    results = await bulk.statuses(
        patch(f"/Users/{ids[0]}", "userName", "x"), patch(f"/Users/{ids[1]}", "userName", "a"), user("n", userName="b")
    )
    assert results == [200, 200, 201]
    assert await bulk.names() == ["x", "a", "b"]


@pytest.mark.parametrize(
    ("limit", "statuses", "names"),
    [
        (None, [201, 409, 201, 400, 201, 409, 201], ["taken", "a", "b", "c", "d"]),
        (4, [201, 409, 201, 400, 201, 409, 201], ["taken", "a", "b", "c", "d"]),
        (3, [201, 409, 201, 400, 201, 409], ["taken", "a", "b", "c"]),
        (2, [201, 409, 201, 400], ["taken", "a", "b"]),
        (1, [201, 409], ["taken", "a"]),
    ],
)
async def test_nothing_is_done_past_the_last_allowed_error(
    bulk: Bulk, limit: int | None, statuses: list[int], names: list[str]
) -> None:
    await bulk.send(user("taken"))
    wrong = user("w", userName="Taken"), {**user("v"), "data": None}, user("z", userName="TAKEN")
    operations = [user("a"), wrong[0], user("b"), wrong[1], user("c"), wrong[2], user("d")]
    assert await bulk.statuses(*operations, failOnErrors=limit) == statuses
    assert await bulk.names() == names


async def test_the_limit_of_errors_holds_over_several_runs(bulk: Bulk) -> None:
    one = (await bulk.send(user("a")))[0].id
    operations = [user("x", userName="a"), patch(f"/Users/{one}", "userName", ""), user("b"), delete(f"/Users/{one}")]
    assert await bulk.statuses(*operations, failOnErrors=2) == [409, 400]
    assert await bulk.names() == ["a"]


async def test_a_request_over_the_limit_is_refused_whole(bulk: Bulk) -> None:
    refusal = await refused(bulk.send(*(user(f"u{at}") for at in range(1001))))
    assert refusal.info.metadata["status"] == "413"
    assert "maxOperations (1000)" in refusal.text
    assert await bulk.names() == []


async def test_a_tenant_that_does_not_exist_is_refused(plane: Plane, database: Database) -> None:
    refusal = await refused(Bulk(plane, NOBODY, database).send(user("a")))
    assert refusal.info.reason == "NOT_FOUND"


async def test_what_was_committed_is_reported_when_the_database_fails_in_between(hasty: Bulk) -> None:
    held = (await hasty.send(user("held")))[0].id
    operations = [user("before"), patch(f"/Users/{held}", "title", "x"), user("after")]
    async with hasty.locked(held):
        assert await hasty.statuses(*operations, failOnErrors=1) == [201, 503]
        assert await hasty.statuses(patch(f"/Users/{held}", "title", "x"), user("later")) == [503, 201]
    assert await hasty.names() == ["held", "before", "later"]


async def test_after_two_outages_in_succession_the_rest_is_not_tried(hasty: Bulk) -> None:
    held = (await hasty.send(user("held")))[0].id
    async with hasty.locked(held):
        results = await hasty.send(patch(f"/Users/{held}", "title", "x"), delete(f"/Users/{held}"), user("a"))
    assert [one.status for one in results] == [503, 503, 503]
    assert "not tried" in results[2].detail
    assert await hasty.names() == ["held"]


async def test_what_takes_too_long_is_not_tried(bulk: Bulk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_service, "MAX_TIME_S", 0)
    results = await bulk.send(user("a"), user("b", userName=""))
    assert [one.status for one in results] == [503, 503]
    assert "not tried" in results[0].detail
    assert await bulk.statuses(user("a"), user("b"), failOnErrors=1) == [503]
    assert await bulk.names() == []


async def test_our_own_fault_fails_one_operation_of_many(bulk: Bulk, monkeypatch: pytest.MonkeyPatch) -> None:
    create = Writer.create

    async def faulty(self: Writer, tx: Any, scope: Any, items: Any) -> Any:
        if any(item.body["userName"] == "broken" for item in items):
            raise RuntimeError("a fault")
        return await create(self, tx, scope, items)

    monkeypatch.setattr(Writer, "create", faulty)
    results = await bulk.send(user("a"), user("broken"), report("b", "broken"), user("c"))
    assert [one.status for one in results] == [201, 500, 409, 201]
    assert "fault" not in results[1].detail
    assert await bulk.names() == ["a", "c"]

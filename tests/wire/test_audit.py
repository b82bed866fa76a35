"""The audit trail through gRPC: what is recorded, what of it is for all to see, and how a person is erased from it."""

import json
from collections import Counter
from typing import Any
from uuid import uuid4

import grpc
import psycopg
import pytest

from control_plane.api.policy import POLICY
from control_plane.domain.ids import SYSTEM_TENANT
from control_plane.services import refusals
from protos.audit.v1 import audit_pb2
from protos.directory.v1 import directory_pb2
from tests.fixtures.control_plane import ADMIN, Plane, running_plane, settings
from tests.fixtures.postgres import Database
from tests.wire.conftest import Refusal, refused
from tests.wire.test_bulk import Bulk, patch, user
from tests.wire.test_directory import GROUP, USER, Directory

NAME, EMAIL, SHOWN, PASSWORD = "canary.lovelace", "canary@example.org", "Canary Lovelace", "canary-t0p-secret"
CANARIES = (NAME, EMAIL, SHOWN, PASSWORD, "canary")


@pytest.fixture
async def directory(plane: Plane) -> Directory:
    return Directory(plane, await plane.tenant())


async def rows(database: Database, sql: str, *values: object) -> list[Any]:
    async with await psycopg.AsyncConnection.connect(database.superuser_url) as connection:
        return await (await connection.execute(sql.encode(), values)).fetchall()


async def dump(database: Database) -> str:
    """Everything that the trail's tables hold, bytes as text too."""
    found = await rows(
        database, "SELECT to_jsonb(e)::text, encode(coalesce(personal, ''), 'escape') FROM audit_events e"
    )
    found += await rows(
        database, "SELECT to_jsonb(s)::text, encode(coalesce(key_sealed, ''), 'escape') FROM audit_subjects s"
    )
    return "\n".join(f"{text} {raw}" for text, raw in found).lower()


async def make_canary(directory: Directory) -> directory_pb2.Resource:
    return await directory.create(
        USER, userName=NAME, displayName=SHOWN, emails=[{"value": EMAIL, "primary": True}], password=PASSWORD
    )


async def refused_write(directory: Directory, **body: Any) -> Refusal:
    return await refused(directory.create(USER, **body))


async def erase(plane: Plane, tenant: str, user_id: str) -> int:
    request = audit_pb2.EraseSubjectRequest(tenant_id=tenant, resource_id=user_id)
    return (await plane.admin.audit.EraseSubject(request, metadata=plane.admin.metadata())).events


async def test_nothing_of_a_person_stands_in_clear(directory: Directory, database: Database) -> None:
    made = await make_canary(directory)
    await directory.patch(made, {"op": "replace", "path": "displayName", "value": f"{SHOWN} II"})
    await directory.replace(made, userName=NAME, displayName=SHOWN, password=PASSWORD)
    await refused_write(directory, userName=NAME.upper())
    await refused_write(directory, userName=NAME, active=NAME, displayName=[EMAIL])
    await refused(
        directory.patch(made, {"op": "remove", "path": f'emails[value eq "{EMAIL}x"]'}, {"op": "add", "path": EMAIL})
    )
    request = directory_pb2.DeleteResourceRequest(tenant_id=directory.tenant, type=USER, id=EMAIL)
    await refused(directory.plane.gateway.directory.DeleteResource(request, metadata=directory._meta))
    bulk = Bulk(directory.plane, directory.tenant, database)
    assert await bulk.statuses(
        user(EMAIL, userName=NAME), patch(f"/Users/{made.id}", "userName", ""), patch(f"/Users/{EMAIL}", "title", NAME)
    ) == [409, 400, 404]
    await directory.delete(made)
    text = await dump(database)
    assert [one for one in CANARIES if one in text] == []


async def test_personal_values_are_shown_to_who_asks_for_them(directory: Directory) -> None:
    made = await make_canary(directory)
    await directory.patch(made, {"op": "replace", "path": "displayName", "value": "Ada"})
    await directory.patch(made, {"op": "replace", "path": "nickName", "value": "x" * 2000})
    await directory.delete(made)
    plain = await directory.audit(resource_id=made.id)
    assert [(one.action, one.personal, one.is_erased) for one in plain] == [
        ("user.delete", "", False), ("user.patch", "", False), ("user.patch", "", False), ("user.create", "", False)
    ]  # fmt: skip
    shown = [json.loads(one.personal) for one in await directory.audit(resource_id=made.id, include_personal=True)]
    deleted, cut, patched, created = shown
    assert deleted == {"userName": NAME, "displayName": "Ada"}
    assert cut["changes"] == {"nickName": {"new": {"omitted_bytes": 2002}}}
    assert patched["changes"] == {"displayName": {"old": SHOWN, "new": "Ada"}}
    assert created["changes"]["emails"]["new"][0]["value"] == EMAIL
    assert PASSWORD not in str(shown)


async def test_a_group_is_told_by_its_name_and_counts(directory: Directory) -> None:
    ada, bob = [await directory.create(USER, userName=name) for name in ("ada", "bob")]
    team = await directory.create(GROUP, displayName="Team", members=[{"value": ada.id}])
    await directory.patch(team, {"op": "replace", "path": "members", "value": [{"value": bob.id}]})
    patched, created = await directory.audit(resource_id=team.id, include_personal=True)
    assert json.loads(created.details) == {
        "displayName": "Team", "attributes": ["displayName", "schemas"], "members_added": 1
    }  # fmt: skip
    assert json.loads(patched.details) == {
        "displayName": "Team", "attributes": [], "members_added": 1, "members_removed": 1
    }  # fmt: skip
    assert patched.personal == ""


async def test_a_deleted_user_is_erased_and_stays_so(database: Database, queue_url: str) -> None:
    async with running_plane(settings(database, queue_url)) as plane:
        directory = Directory(plane, await plane.tenant())
        made, other = await make_canary(directory), await directory.create(USER, userName="other")
        refusal = await refused(erased(plane, directory.tenant, made.id))
        assert (refusal.code, refusal.info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "FAILED_PRECONDITION")
        await directory.delete(made)
        before = await rows(database, "SELECT id, commitment, personal FROM audit_events ORDER BY id")
        assert await erase(plane, directory.tenant, made.id) == 2
        assert (await refused(erased(plane, directory.tenant, str(uuid4())))).code is grpc.StatusCode.NOT_FOUND
        await check_erased(directory, made.id)
        (event,) = await directory.audit(action="audit.erase", outcome=audit_pb2.OUTCOME_SUCCESS)
        assert json.loads(event.details) == {"events": 2, "targets_to_come": 0}
        assert json.loads((await directory.audit(resource_id=other.id, include_personal=True))[0].personal)
    async with running_plane(settings(database, queue_url)) as plane:
        await check_erased(Directory(plane, directory.tenant), made.id)
    after = {row[0]: row for row in await rows(database, "SELECT id, commitment, personal FROM audit_events")}
    assert all(after[row[0]] == row for row in before)
    assert await rows(database, "SELECT key_sealed FROM audit_subjects WHERE subject_id = %s", made.id) == [(None,)]


def erased(plane: Plane, tenant: str, user_id: str) -> Any:
    request = audit_pb2.EraseSubjectRequest(tenant_id=tenant, resource_id=user_id)
    return plane.admin.audit.EraseSubject(request, metadata=plane.admin.metadata())


async def check_erased(directory: Directory, user_id: str) -> None:
    events = await directory.audit(resource_id=user_id, include_personal=True, resource_type="user")
    told = [(one.is_erased, one.personal) for one in events if one.action in ("user.create", "user.delete")]
    assert told == [(True, ""), (True, "")]


async def test_a_refused_write_is_one_event(directory: Directory) -> None:
    made = await directory.create(USER, userName="ada")
    await refused_write(directory, userName="ADA")
    await refused(directory.patch(made, {"op": "replace", "path": "userName", "value": ""}))
    patched, created = await directory.audit(outcome=audit_pb2.OUTCOME_FAILURE)
    assert (created.action, created.resource_id, created.actor_id) == ("user.create", "", "key123")
    assert created.reason == "409 uniqueness: userName … is already in use"
    assert (patched.action, patched.resource_id) == ("user.patch", made.id)
    assert patched.reason.startswith("400 invalidValue: ")
    assert patched.request_id


async def test_each_refused_bulk_operation_is_an_event(directory: Directory, database: Database) -> None:
    bulk = Bulk(directory.plane, directory.tenant, database)
    made = await directory.create(USER, userName="ada")
    statuses = await bulk.statuses(user("ada"), user("eve"), patch(f"/Users/{made.id}", "userName", ""))
    assert statuses == [409, 201, 400]
    events = await directory.audit(outcome=audit_pb2.OUTCOME_FAILURE)
    assert sorted((one.action, one.resource_id) for one in events) == [("user.create", ""), ("user.patch", made.id)]
    await refused(bulk.send("nonsense", failOnErrors="x"))
    (whole,) = await directory.audit(action="bulk.write")
    assert whole.outcome == audit_pb2.OUTCOME_FAILURE


async def test_every_refused_action_is_one_event(
    plane: Plane, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "MAX_PER_SECOND", 1_000)
    audited = {name: rule.audit_action for name, rule in POLICY.items() if rule.audit_action}
    codes = {name: await empty_call(plane, name) for name in audited}
    # Of the others nothing is wrong with an empty message.
    failed = {name for name, code in codes.items() if code is not grpc.StatusCode.OK}
    told = await rows(database, "SELECT details->>'rpc', action FROM audit_events WHERE outcome = 2")
    counts = Counter(rpc for rpc, _ in told)
    assert counts == Counter({_short(name): 1 for name in failed})
    for rpc, action in told:
        wanted = next(rule for name, rule in audited.items() if _short(name) == rpc)
        assert action == wanted or wanted.startswith("<type>"), rpc


def _short(method: str) -> str:
    return ".".join(method.split("."))[1:].rsplit(".", 1)[-1]


async def empty_call(plane: Plane, method: str) -> grpc.StatusCode:
    async with grpc.aio.insecure_channel(plane.address) as channel:
        call: grpc.aio.UnaryStreamMultiCallable[bytes, bytes]
        call = channel.unary_stream(method, request_serializer=lambda _: b"", response_deserializer=lambda raw: raw)
        stream = call(b"", metadata=(("authorization", f"Bearer {ADMIN}"),), timeout=5)
        try:
            async for _ in stream:
                pass
        except grpc.aio.AioRpcError as err:
            return err.code()
        return grpc.StatusCode.OK


async def test_who_may_not_call_is_told_of(plane: Plane, directory: Directory) -> None:
    meta = plane.worker.metadata()
    request = audit_pb2.ListAuditEventsRequest(tenant_id=directory.tenant)
    assert (await refused(plane.worker.audit.ListAuditEvents(request, metadata=meta))).code
    (event,) = await directory.audit(action="access.deny")
    assert (event.resource_type, event.resource_id) == ("rpc", "AuditService/ListAuditEvents")
    assert event.reason.startswith("PERMISSION_DENIED: ")
    request.tenant_id = str(uuid4())
    await refused(plane.worker.audit.ListAuditEvents(request, metadata=meta))
    assert len(await directory.audit(action="access.deny")) == 1
    ours = Directory(plane, str(SYSTEM_TENANT))
    assert len(await ours.audit(action="access.deny")) == 1


async def test_reads_are_counted_and_written_when_a_control_plane_stops(database: Database, queue_url: str) -> None:
    async with running_plane(settings(database, queue_url)) as plane:
        directory = Directory(plane, await plane.tenant())
        made = await directory.create(USER, userName="ada")
        for _ in range(3):
            await directory.get(made)
        await directory.find(GROUP)
        await directory.pages()
        assert {one.action for one in await directory.audit()} == {"tenant.create", "user.create"}
    found = await rows(
        database, "SELECT action, actor_id, resource_id, details->>'count' FROM audit_events WHERE action ~ 'get|list'"
    )
    assert sorted(found) == [
        ("group.list", "key123", "", "1"), ("resource.list", "key123", "", "1"), ("user.get", "key123", "", "3")
    ]  # fmt: skip


async def test_the_trail_is_asked_for_by_every_condition(directory: Directory) -> None:
    made = await directory.create(USER, userName="ada")
    (event,) = await directory.audit(action="user.create")
    exact: dict[str, Any] = {
        "actor_type": audit_pb2.ACTOR_TYPE_TOKEN, "actor_id": "key123", "action": "user.*", "resource_type": "user",
        "resource_id": made.id, "outcome": audit_pb2.OUTCOME_SUCCESS, "request_id": event.request_id,
    }  # fmt: skip
    assert await directory.audit(**exact) == [event]
    for name, value in exact.items():
        assert event in await directory.audit(**{name: value}), name
        other = audit_pb2.OUTCOME_FAILURE if name == "outcome" else audit_pb2.ACTOR_TYPE_WORKER
        wrong = "other" if isinstance(value, str) else other
        assert await directory.audit(**{**exact, name: wrong}) == [], name
    assert await directory.audit(**exact, trace_id="0" * 32) == []

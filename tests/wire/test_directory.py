"""The directory through gRPC: one transaction with audit and desired versions, PATCH in proportion, paging."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from protos.audit.v1 import audit_pb2
from protos.directory.v1 import directory_pb2 as pb
from protos.tenancy.v1 import tenancy_pb2
from tests.fixtures.control_plane import Plane
from tests.wire.conftest import refused

USER, GROUP = pb.RESOURCE_TYPE_USER, pb.RESOURCE_TYPE_GROUP
CORE = "urn:ietf:params:scim:schemas:core:2.0:"


class Directory:
    """Short calls in the name of one tenant, as a gateway makes them."""

    def __init__(self, plane: Plane, tenant: str) -> None:
        self.plane, self.tenant = plane, tenant
        self._meta = plane.gateway.metadata(actor_id="key123", actor_address="192.0.2.7")
        self._stub = plane.gateway.directory

    async def create(self, kind: pb.ResourceType.ValueType, **body: Any) -> pb.Resource:
        name = "User" if kind == USER else "Group"
        request = pb.CreateResourceRequest(
            tenant_id=self.tenant, type=kind, document=json.dumps({"schemas": [CORE + name], **body})
        )
        return (await self._stub.CreateResource(request, metadata=self._meta)).resource

    async def get(self, one: pb.Resource) -> pb.Resource:
        request = pb.GetResourceRequest(tenant_id=self.tenant, type=one.type, id=one.id, with_members=True)
        return (await self._stub.GetResource(request, metadata=self._meta)).resource

    async def find(self, kind: pb.ResourceType.ValueType, **fields: Any) -> tuple[int, list[pb.Resource]]:
        request = pb.ListResourcesRequest(tenant_id=self.tenant, type=kind, **fields)
        pieces = [piece async for piece in self._stub.ListResources(request, metadata=self._meta)]
        return pieces[0].total_results, [one for piece in pieces for one in piece.resources]

    async def read(self, one: pb.Resource, **fields: Any) -> pb.Resource:
        request = pb.GetResourceRequest(tenant_id=self.tenant, type=one.type, id=one.id, with_members=True, **fields)
        return (await self._stub.GetResource(request, metadata=self._meta)).resource

    async def pages(self, **fields: Any) -> list[pb.ListResourcesResponse]:
        request = pb.ListResourcesRequest(tenant_id=self.tenant, **fields)
        return [piece async for piece in self._stub.ListResources(request, metadata=self._meta)]

    async def set_switch(self, **switches: bool) -> None:
        request = tenancy_pb2.UpdateTenantRequest(
            tenant=tenancy_pb2.Tenant(id=self.tenant, compatibility=tenancy_pb2.Compatibility(**switches)),
            update_mask=FieldMask(paths=[f"compatibility.{name}" for name in switches]),
        )
        await self.plane.admin.tenants.UpdateTenant(request, metadata=self.plane.admin.metadata())

    async def patch(self, one: pb.Resource, *operations: dict[str, Any], **fields: Any) -> pb.PatchResourceResponse:
        document = json.dumps({"Operations": list(operations)})
        request = pb.PatchResourceRequest(tenant_id=self.tenant, type=one.type, id=one.id, document=document, **fields)
        return await self._stub.PatchResource(request, metadata=self._meta)

    async def replace(self, one: pb.Resource, **body: Any) -> pb.Resource:
        name = "User" if one.type == USER else "Group"
        document = json.dumps({"schemas": [CORE + name], **body})
        request = pb.ReplaceResourceRequest(tenant_id=self.tenant, type=one.type, id=one.id, document=document)
        return (await self._stub.ReplaceResource(request, metadata=self._meta)).resource

    async def delete(self, one: pb.Resource) -> None:
        request = pb.DeleteResourceRequest(tenant_id=self.tenant, type=one.type, id=one.id)
        await self._stub.DeleteResource(request, metadata=self._meta)

    async def audit(self, **conditions: Any) -> list[audit_pb2.AuditEvent]:
        request = audit_pb2.ListAuditEventsRequest(tenant_id=self.tenant, **conditions)
        answer = await self.plane.admin.audit.ListAuditEvents(request, metadata=self.plane.admin.metadata())
        return list(answer.events)


@pytest.fixture
async def directory(plane: Plane) -> Directory:
    return Directory(plane, await plane.tenant())


def member_ids(one: pb.Resource) -> set[str]:
    return {member["value"] for member in json.loads(one.members or "[]")}


async def test_a_created_user_reads_back_as_answered(directory: Directory) -> None:
    made = await directory.create(USER, userName="Ada", displayName="Ada L", externalId="x1")
    read = await directory.get(made)
    assert (made.version, made.user_name, made.external_id, made.active) == (1, "Ada", "x1", True)
    assert json.loads(read.document) == json.loads(made.document)
    assert (read.create_time, read.update_time) == (made.create_time, made.update_time)


async def test_two_creates_of_one_name_in_any_case_one_wins(directory: Directory) -> None:
    outcomes = await asyncio.gather(
        *(directory.create(USER, userName=name) for name in ("Bob", "bob", "BOB")), return_exceptions=True
    )
    assert sum(isinstance(one, pb.Resource) for one in outcomes) == 1
    codes = {one.code() for one in outcomes if isinstance(one, grpc.aio.AioRpcError)}
    assert codes == {grpc.StatusCode.ALREADY_EXISTS}
    assert (await directory.find(USER))[0] == 1


async def test_a_rename_to_a_taken_name_is_refused_whole(directory: Directory) -> None:
    await directory.create(USER, userName="taken")
    one = await directory.create(USER, userName="free", title="before")
    refusal = await refused(
        directory.patch(
            one,
            {"op": "replace", "path": "title", "value": "after"},
            {"op": "replace", "path": "userName", "value": "TAKEN"},
        )
    )
    assert refusal.info.metadata["scim_type"] == "uniqueness"
    assert json.loads((await directory.get(one)).document)["title"] == "before"


async def test_a_patch_that_changes_nothing_leaves_no_trace(directory: Directory) -> None:
    one = await directory.create(USER, userName="same", title="t")
    answer = await directory.patch(one, {"op": "replace", "path": "title", "value": "t"})
    assert (answer.changed, answer.resource.version) == (False, 1)
    assert [event.action for event in await directory.audit(resource_id=one.id)] == ["user.create"]


async def test_members_are_added_removed_and_replaced(directory: Directory) -> None:
    people = [await directory.create(USER, userName=f"m{number}") for number in range(4)]
    group = await directory.create(GROUP, displayName="G", members=[{"value": people[0].id}])
    assert member_ids(group) == {people[0].id}
    added = await directory.patch(
        group, {"op": "Add", "path": "members", "value": [{"value": one.id} for one in people[1:3]]}
    )
    assert (added.resource.version, member_ids(added.resource)) == (2, {one.id for one in people[:3]})
    again = await directory.patch(group, {"op": "add", "path": "members", "value": [{"value": people[1].id}]})
    assert (again.changed, again.resource.version) == (False, 2)
    removed = await directory.patch(group, {"op": "remove", "path": f'members[value eq "{people[0].id}"]'})
    assert member_ids(removed.resource) == {one.id for one in people[1:3]}
    replaced = await directory.replace(group, displayName="G", members=[{"value": people[3].id}])
    assert member_ids(replaced) == {people[3].id}
    assert member_ids(await directory.replace(group, displayName="G")) == set()


async def test_unknown_members_are_skipped_and_named_in_the_audit(directory: Directory) -> None:
    stranger = str(uuid4())
    group = await directory.create(GROUP, displayName="G", members=[{"value": stranger}, {"value": "no-uuid"}])
    assert group.members in ("", "[]")
    event = (await directory.audit(action="group.create"))[0]
    assert set(json.loads(event.details)["unknown_members"]) == {stranger, "no-uuid"}


async def test_a_deleted_user_leaves_its_groups_and_its_name(directory: Directory) -> None:
    one = await directory.create(USER, userName="gone")
    group = await directory.create(GROUP, displayName="G", members=[{"value": one.id}])
    await directory.delete(one)
    assert (await refused(directory.get(one))).code is grpc.StatusCode.NOT_FOUND
    after = await directory.get(group)
    assert (member_ids(after), after.version) == (set(), 2)
    assert (await directory.create(USER, userName="GONE")).version == 1


async def test_lists_page_in_order_of_creation_with_exact_totals(directory: Directory) -> None:
    made = [(await directory.create(USER, userName=f"p{number}")).id for number in range(7)]
    total, first = await directory.find(USER, count=3)
    assert (total, [one.id for one in first]) == (7, made[:3])
    total, last = await directory.find(USER, start_index=6, count=10)
    assert (total, [one.id for one in last]) == (7, made[5:])
    assert (await directory.find(USER, count=0)) == (7, [])
    assert (await directory.find(USER, start_index=-5, count=-5)) == (7, [])


@pytest.mark.parametrize(
    ("text", "hits"),
    [('userName eq "ANNA"', 1), ('externalId eq "e1"', 1), ('externalId eq "E1"', 0), ('displayName eq "anna b"', 1)],
)
async def test_eq_filters_follow_the_case_rules(directory: Directory, text: str, hits: int) -> None:
    await directory.create(USER, userName="anna", externalId="e1", displayName="Anna B")
    assert (await directory.find(USER, filter=text))[0] == hits


async def test_if_match_is_compared_inside_the_transaction(directory: Directory) -> None:
    one = await directory.create(USER, userName="etag")
    await directory.patch(one, {"op": "replace", "path": "title", "value": "x"}, etag='W/"1"')
    refusal = await refused(directory.patch(one, {"op": "replace", "path": "title", "value": "y"}, etag='W/"1"'))
    assert refusal.info.metadata["status"] == "412"


async def test_every_write_is_audited_with_actor_and_names_but_no_values(directory: Directory) -> None:
    one = await directory.create(USER, userName="secret-name", title="secret-title")
    await directory.patch(one, {"op": "replace", "path": "title", "value": "other-secret"})
    await directory.delete(one)
    events = await directory.audit(actor_id="key123")
    assert [event.action for event in events] == ["user.delete", "user.patch", "user.create"]
    assert {event.actor_address for event in events} == {"192.0.2.7"}
    assert json.loads(events[1].details) == {"attributes": ["title"]}
    assert "secret" not in "".join(event.details for event in events)


async def test_concurrent_member_adds_lose_nobody(directory: Directory) -> None:
    people = [await directory.create(USER, userName=f"c{number}") for number in range(20)]
    group = await directory.create(GROUP, displayName="G")
    await asyncio.gather(
        *(directory.patch(group, {"op": "add", "path": "members", "value": [{"value": one.id}]}) for one in people)
    )
    assert member_ids(await directory.get(group)) == {one.id for one in people}


async def test_a_large_group_is_streamed(directory: Directory, plane: Plane) -> None:
    people = [await directory.create(USER, userName=f"l{number}") for number in range(5)]
    group = await directory.create(GROUP, displayName="G", members=[{"value": one.id} for one in people])
    request = pb.StreamMembersRequest(tenant_id=directory.tenant, id=group.id, reference_base="https://x/scim/v2")
    stream = plane.gateway.directory.StreamMembers(request, metadata=plane.gateway.metadata())
    pieces = [piece.members async for piece in stream]
    members = json.loads("[" + ",".join(pieces) + "]")
    assert [one["value"] for one in members] == sorted(one.id for one in people)
    assert members[0]["$ref"] == f"https://x/scim/v2/Users/{members[0]['value']}"


async def test_a_write_raises_what_is_wanted_in_every_target(directory: Directory, plane: Plane) -> None:
    request = tenancy_pb2.CreateTargetRequest(
        tenant_id=directory.tenant,
        display_name="App",
        scim=tenancy_pb2.ScimTargetConfig(base_url="http://127.0.0.1:9/x"),
    )
    await directory.create(USER, userName="before")
    target = (await plane.admin.targets.CreateTarget(request, metadata=plane.admin.metadata())).target
    await directory.create(USER, userName="after")
    status = await plane.admin.targets.GetTargetStatus(
        tenancy_pb2.GetTargetStatusRequest(tenant_id=directory.tenant, id=target.id), metadata=plane.admin.metadata()
    )
    assert (status.total, status.pending) == (2, 2)
    assert target.state == tenancy_pb2.TARGET_STATE_PAUSED
    assert "bearer_token" not in str(target)


async def test_a_tenant_that_does_not_exist_gets_no_resources(plane: Plane) -> None:
    nobody = Directory(plane, str(uuid4()))
    refusal = await refused(nobody.create(USER, userName="ghost"))
    assert (refusal.code, refusal.info.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")

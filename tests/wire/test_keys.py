"""Keys over the wire: rotations that nobody's work notices, sealing keys that come and go, and secrets that stay in."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import orjson
import pytest

from control_plane.app import control_plane
from control_plane.cli.keys import INSTALLATION
from control_plane.runtime.settings import SettingsError
from protos.audit.v1 import audit_pb2
from protos.keys.v1 import keys_pb2 as pb
from protos.tenancy.v1 import tenancy_pb2
from tests.fixtures.control_plane import Plane, running_plane, settings
from tests.fixtures.postgres import Database
from tests.wire.conftest import refused
from tests.wire.test_directory import USER, Directory
from tests.wire.test_leases import connected, done, with_target

OLD, NEW = (base64.b64encode(byte * 32).decode() for byte in (b"k", b"n"))


async def rotate(plane: Plane, tenant: str) -> list[pb.RotateDataKeyResponse]:
    call = plane.admin.keys.RotateDataKey(pb.RotateDataKeyRequest(tenant_id=tenant), metadata=plane.admin.metadata())
    return [step async for step in call]


async def rewrap(plane: Plane) -> pb.RewrapDataKeysResponse:
    call = plane.admin.keys.RewrapDataKeys(pb.RewrapDataKeysRequest(), metadata=plane.admin.metadata())
    return [step async for step in call][-1]


async def wrapping(plane: Plane) -> list[pb.KeyEncryptionKey]:
    request = pb.ListKeyEncryptionKeysRequest()
    return list((await plane.admin.keys.ListKeyEncryptionKeys(request, metadata=plane.admin.metadata())).keys)


async def data_keys(plane: Plane, tenant: str) -> list[pb.DataKey]:
    request = pb.ListDataKeysRequest(tenant_id=tenant)
    return list((await plane.admin.keys.ListDataKeys(request, metadata=plane.admin.metadata())).keys)


async def events(plane: Plane, tenant: str, action: str) -> list[dict[str, object]]:
    request = audit_pb2.ListAuditEventsRequest(tenant_id=tenant, action=action)
    answer = await plane.admin.audit.ListAuditEvents(request, metadata=plane.admin.metadata())
    return [orjson.loads(one.details) for one in answer.events]


@asynccontextmanager
async def plane_with(database: Database, queue_url: str, key: str, retired: str = "") -> AsyncIterator[Plane]:
    async with running_plane(settings(database, queue_url, sealing_key=key, sealing_keys_retired=retired)) as plane:
        yield plane


async def leased_secret(plane: Plane, name: str, directory: Directory) -> str:
    """Return the secret that a worker is given for the tenant's target with its next lease."""
    async with connected(plane) as worker:
        await directory.create(USER, userName=name)
        lease = await worker.lease()
        await worker.turn(done=[done(lease)])
        await worker.until_settled(lease.fence)
        return next(one.scim.bearer_token for message in worker.heard for one in message.targets)


async def test_a_rotation_reports_its_progress_and_workers_do_not_notice(plane: Plane) -> None:
    directory, _ = await with_target(plane)
    assert await leased_secret(plane, "ada", directory) == "t0p-secret"
    steps = await rotate(plane, directory.tenant)
    assert (steps[0].resealed, steps[0].is_done) == (0, False)
    assert (steps[-1].is_done, steps[-1].version) == (True, 2)
    # The target's secret, and the key that seals what the audit trail says of ada.
    assert steps[-1].resealed == steps[-1].total >= 1
    assert [(key.version, key.is_primary) for key in await data_keys(plane, directory.tenant)] == [(2, True)]
    assert await leased_secret(plane, "bob", directory) == "t0p-secret"
    assert [event["step"] for event in await events(plane, directory.tenant, "key.rotate")] == ["end", "start"]


async def test_the_installation_has_keys_of_its_own(plane: Plane) -> None:
    assert (await rotate(plane, INSTALLATION))[-1].is_done
    assert [key.is_primary for key in await data_keys(plane, INSTALLATION)] == [True]


async def test_there_must_be_such_a_tenant(plane: Plane) -> None:
    nobody = "0192f0c1-2345-7abc-8def-012345678901"
    metadata = plane.admin.metadata()
    for call in (
        plane.admin.keys.RotateDataKey(pb.RotateDataKeyRequest(tenant_id=nobody), metadata=metadata),
        plane.admin.keys.ListDataKeys(pb.ListDataKeysRequest(tenant_id=nobody), metadata=metadata),
    ):
        assert (await refused(call)).code is grpc.StatusCode.NOT_FOUND


async def test_a_new_sealing_key_takes_over(database: Database, queue_url: str) -> None:
    async with plane_with(database, queue_url, OLD) as plane:
        directory, _ = await with_target(plane)
        for name in "xyz":
            await plane.tenant(name)
        first = tenancy_pb2.ListTenantsRequest(page_size=2)
        token = (await plane.admin.tenants.ListTenants(first, metadata=plane.admin.metadata())).next_page_token
        (old,) = await wrapping(plane)
        assert (old.is_primary, old.is_available, old.data_keys) == (True, True, 1)
    async with plane_with(database, queue_url, NEW, OLD) as plane:
        # A page token made with the former key still leads on.
        second = tenancy_pb2.ListTenantsRequest(page_size=2, page_token=token)
        page = await plane.admin.tenants.ListTenants(second, metadata=plane.admin.metadata())
        assert [tenant.display_name for tenant in page.tenants] == ["y", "z"]
        last = await rewrap(plane)
        assert (last.rewrapped, last.total, last.is_done) == (1, 1, True)
        assert [(key.is_primary, key.data_keys) for key in await wrapping(plane)] == [(True, 1), (False, 0)]
        assert len(await events(plane, INSTALLATION, "key.rewrap")) == 2
    async with plane_with(database, queue_url, NEW) as plane:
        moved = Directory(plane, directory.tenant)
        assert await leased_secret(plane, "ada", moved) == "t0p-secret"


async def test_a_sealing_key_that_is_gone_is_named(database: Database, queue_url: str) -> None:
    async with plane_with(database, queue_url, OLD) as plane:
        directory, _ = await with_target(plane)
        (old,) = await wrapping(plane)
    async with plane_with(database, queue_url, NEW) as plane:
        call = plane.admin.keys.RotateDataKey(
            pb.RotateDataKeyRequest(tenant_id=directory.tenant), metadata=plane.admin.metadata()
        )
        refusal = await refused(call)
        assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION
        assert old.id in refusal.text
        assert [key.is_available for key in await wrapping(plane) if key.id == old.id] == [False]


@pytest.mark.parametrize("retired", ["no base64!", base64.b64encode(b"short").decode(), f"{OLD},x"])
async def test_a_retired_key_must_be_a_key(database: Database, queue_url: str, retired: str) -> None:
    with pytest.raises(SettingsError, match="MUSTER_SEALING_KEYS_RETIRED"):
        await control_plane(settings(database, queue_url, sealing_keys_retired=retired)).__aenter__()


async def test_no_answer_about_a_target_has_its_secret(plane: Plane) -> None:
    directory, target = await with_target(plane)
    stub, metadata = plane.admin.targets, plane.admin.metadata()
    of = {"tenant_id": directory.tenant, "id": target}
    config = tenancy_pb2.ScimTargetConfig(base_url="http://127.0.0.1:9/scim", bearer_token="t0p-secret")
    change = tenancy_pb2.UpdateTargetRequest(tenant_id=directory.tenant, id=target, scim=config)
    change.update_mask.paths.append("scim.bearer_token")
    again = tenancy_pb2.CreateTargetRequest(tenant_id=directory.tenant, display_name="Two", scim=config)
    answers = [
        await stub.CreateTarget(again, metadata=metadata),
        await stub.GetTarget(tenancy_pb2.GetTargetRequest(**of), metadata=metadata),
        await stub.ListTargets(tenancy_pb2.ListTargetsRequest(tenant_id=directory.tenant), metadata=metadata),
        await stub.UpdateTarget(change, metadata=metadata),
        await stub.PauseTarget(tenancy_pb2.PauseTargetRequest(**of), metadata=metadata),
        await stub.ActivateTarget(tenancy_pb2.ActivateTargetRequest(**of), metadata=metadata),
        await stub.GetTargetStatus(tenancy_pb2.GetTargetStatusRequest(**of), metadata=metadata),
        await plane.admin.audit.ListAuditEvents(
            audit_pb2.ListAuditEventsRequest(tenant_id=directory.tenant), metadata=metadata
        ),
    ]
    assert [answer for answer in answers if b"t0p-secret" in answer.SerializeToString()] == []

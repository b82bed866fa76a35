"""The trail over gRPC: sealed within a second, tailed, exported, verified, with checkpoints outside the database."""

import asyncio
import base64
import csv
import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import orjson
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask

from control_plane.app import control_plane
from control_plane.cli.audit_files import verify_file
from control_plane.client.channel import open_channel
from control_plane.client.control_plane import ControlPlane
from control_plane.domain.audit_check import ProblemKind
from control_plane.domain.checkpoints import SigningKey
from control_plane.runtime.settings import SettingsError
from control_plane.services import audit_sealer
from control_plane.services.audit_tail import AuditTail
from protos.audit.v1 import audit_pb2 as pb
from protos.tenancy.v1 import tenancy_pb2
from tests.fixtures.control_plane import ADMIN, Plane, running_plane, settings
from tests.fixtures.postgres import Database, PostgresServer
from tests.wire.conftest import refused
from tests.wire.test_directory import USER, Directory

SEED = b"s" * 32
NOBODY = "00000000-0000-7000-8000-000000000000"
SYSTEM = "00000000-0000-0000-0000-000000000000"


@pytest.fixture(autouse=True)
def _seals_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody here waits a second for a seal."""
    monkeypatch.setattr(audit_sealer, "EVERY_S", 0.02)


@pytest_asyncio.fixture
async def sealed(database: Database, queue_url: str, tmp_path: Path) -> AsyncIterator[Plane]:
    """A control plane that makes checkpoints."""
    chosen = settings(
        database, queue_url, audit_signing_key=base64.b64encode(SEED).decode(), audit_checkpoint_dir=str(tmp_path / "c")
    )
    async with running_plane(chosen) as one:
        yield one


async def rename(plane: Plane, tenant: str, count: int, start: int = 0) -> None:
    """Make ``count`` events."""
    for number in range(start, start + count):
        request = tenancy_pb2.UpdateTenantRequest(
            tenant=tenancy_pb2.Tenant(id=tenant, display_name=f"=Acme {number}"),
            update_mask=FieldMask(paths=["display_name"]),
        )
        await plane.admin.tenants.UpdateTenant(request, metadata=plane.admin.metadata())


def tail(plane: Plane, tenant: str, **more: object) -> "grpc.aio.UnaryStreamCall[object, pb.TailAuditEventsResponse]":
    request = pb.TailAuditEventsRequest(tenant_id=tenant, **more)  # type: ignore[arg-type]  # the message checks
    return plane.admin.audit.TailAuditEvents(request, metadata=plane.admin.metadata())  # type: ignore[return-value]


async def take(call: object, count: int) -> list[pb.AuditEvent]:
    """Return the next ``count`` events."""
    found: list[pb.AuditEvent] = []
    async with asyncio.timeout(10):
        async for message in call:  # type: ignore[attr-defined]  # a stream of responses
            found += message.events
            if len(found) >= count:
                return found
    raise AssertionError("the tail ended")


async def sealed_up_to(plane: Plane, tenant: str, seq: int) -> list[pb.AuditEvent]:
    """Return the tenant's events when ``seq`` is sealed."""
    return await take(tail(plane, tenant, after_seq=0), seq)


async def exported(plane: Plane, tenant: str, **more: object) -> bytes:
    request = pb.ExportAuditEventsRequest(tenant_id=tenant, **more)  # type: ignore[arg-type]  # the message checks
    call = plane.admin.audit.ExportAuditEvents(request, metadata=plane.admin.metadata())
    return b"".join([piece.data async for piece in call])


async def verdict(plane: Plane, tenant: str) -> pb.VerifyAuditTrailResponse:
    call = plane.admin.audit.VerifyAuditTrail(
        pb.VerifyAuditTrailRequest(tenant_id=tenant), metadata=plane.admin.metadata()
    )
    steps = [step async for step in call]
    assert steps[-1].is_done
    return steps[-1]


async def test_a_tail_goes_on_where_another_ended_without_gap_or_repeat(plane: Plane) -> None:
    tenant = await plane.tenant()
    await rename(plane, tenant, 3)
    first = await sealed_up_to(plane, tenant, 4)
    assert [event.seq for event in first] == [1, 2, 3, 4]
    watchers = [tail(plane, tenant, after_seq=2), tail(plane, tenant, after_seq=4)]
    await rename(plane, tenant, 2, 3)
    seen = await asyncio.gather(take(watchers[0], 4), take(watchers[1], 2))
    assert [[event.seq for event in events] for events in seen] == [[3, 4, 5, 6], [5, 6]]
    assert all(len(event.hash) == 32 for event in seen[0])


async def test_a_tail_from_now_on_sees_only_what_is_asked_for(plane: Plane) -> None:
    tenant = await plane.tenant()
    await sealed_up_to(plane, tenant, 1)
    call = tail(plane, tenant, filter=pb.AuditFilter(action="tenant.*"))
    assert (await anext(aiter(call))).seq == 1
    await rename(plane, tenant, 1)
    assert [event.action for event in await take(call, 1)] == ["tenant.update"]


async def test_a_tail_beyond_the_end_is_refused(plane: Plane) -> None:
    """After a restore from a backup it would wait, and leave out what comes until then."""
    tenant = await plane.tenant()
    await sealed_up_to(plane, tenant, 1)
    refusal = await refused(take(tail(plane, tenant, after_seq=2), 1))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_quiet_tail_gives_signs_of_life(
    database: Database, queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AuditTail.__init__, "__defaults__", (0.02,))
    async with running_plane(settings(database, queue_url)) as plane:
        tenant = await plane.tenant()
        await sealed_up_to(plane, tenant, 1)
        call = tail(plane, tenant, after_seq=1)
        async with asyncio.timeout(10):
            messages = [await anext(aiter(call)) for _ in range(3)]
        assert [(list(one.events), one.seq) for one in messages] == [([], 1)] * 3
        call.cancel()


async def test_a_tail_ends_when_the_control_plane_does(database: Database, queue_url: str) -> None:
    async with AsyncExitStack() as outlives:
        async with control_plane(settings(database, queue_url, drain_s=30.0)) as running:
            channel = await outlives.enter_async_context(open_channel(f"127.0.0.1:{running.port}"))
            api = ControlPlane(channel, ADMIN)
            call = api.audit.TailAuditEvents(pb.TailAuditEventsRequest(tenant_id=SYSTEM), metadata=api.metadata())
            await anext(aiter(call))
            ended = asyncio.create_task(_to_end(call))
        # By itself, not because its time to drain was over.
        assert await ended is grpc.StatusCode.OK


async def _to_end(call: object) -> grpc.StatusCode:
    try:
        async for _ in call:  # type: ignore[attr-defined]  # a stream of responses
            pass
    except grpc.aio.AioRpcError as err:
        return err.code()
    return grpc.StatusCode.OK


async def test_a_trail_is_verified_and_tampering_is_named(
    sealed: Plane, postgres_server: PostgresServer, database: Database
) -> None:
    tenant = await sealed.tenant()
    await rename(sealed, tenant, 3)
    events = await sealed_up_to(sealed, tenant, 4)
    made = await sealed.admin.audit.CreateCheckpoint(pb.CreateCheckpointRequest(), metadata=sealed.admin.metadata())
    whole = await verdict(sealed, tenant)
    assert (whole.verified, whole.total, whole.last_seq, list(whole.problems)) == (4, 4, 4, [])
    assert whole.checkpoint == made.checkpoint
    postgres_server.execute_in(
        database,
        "ALTER TABLE audit_events DISABLE TRIGGER ALL",
        f"UPDATE audit_events SET reason = 'x' WHERE id = '{events[1].id}'",
    )
    (problem,) = (await verdict(sealed, tenant)).problems
    assert (problem.kind, problem.seq, problem.event_id) == (pb.PROBLEM_KIND_CHANGED, 2, events[1].id)


async def test_an_export_is_verified_without_any_server(sealed: Plane, tmp_path: Path) -> None:
    tenant = await sealed.tenant()
    await rename(sealed, tenant, 3)
    await sealed_up_to(sealed, tenant, 4)
    await sealed.admin.audit.CreateCheckpoint(pb.CreateCheckpointRequest(), metadata=sealed.admin.metadata())
    key = await sealed.admin.audit.GetCheckpointKey(pb.GetCheckpointKeyRequest(), metadata=sealed.admin.metadata())
    public = SigningKey(SEED).public
    assert (key.key_id, key.public_key) == (public.id, public.raw)
    path, checkpoints = tmp_path / "export.jsonl", tmp_path / "c" / "checkpoints.jsonl"
    path.write_bytes(await exported(sealed, tenant))
    for file in (None, checkpoints):
        found = verify_file(path, file, [public])
        assert found.problems == []
        assert (found.first_seq, found.last_seq, found.verified, found.vouched_seq) == (1, 4, 4, 4)
    path.write_bytes(
        path.read_bytes().replace(b"=Acme 1", b"=Acme 7").replace(b'"outcome":"success"', b'"outcome":"x"', 1)
    )
    assert ProblemKind.CHANGED in {one.kind for one in verify_file(path, checkpoints, [public]).problems}
    # That somebody took the trail is in the trail.
    events = await sealed_up_to(sealed, tenant, 5)
    assert (events[4].action, events[4].actor_id) == ("audit.export", "admin")


async def test_exports_have_other_forms(plane: Plane) -> None:
    tenant = await plane.tenant("=HYPERLINK()")
    await rename(plane, tenant, 1)
    await sealed_up_to(plane, tenant, 2)
    table = list(csv.DictReader(io.StringIO((await exported(plane, tenant, format=pb.EXPORT_FORMAT_CSV)).decode())))
    assert [row["action"] for row in table] == ["tenant.create", "tenant.update"]
    lines = (await exported(plane, tenant, format=pb.EXPORT_FORMAT_OCSF)).splitlines()
    first = orjson.loads(lines[0])
    assert (first["class_uid"], first["type_uid"], first["metadata"]["tenant_uid"]) == (3004, 300401, tenant)
    some = (await exported(plane, tenant, filter=pb.AuditFilter(action="tenant.update"))).splitlines()
    assert orjson.loads(some[0])["export"]["complete"] is False
    assert [orjson.loads(line)["action"] for line in some[1:-1]] == ["tenant.update"]


async def test_times_choose_a_stretch_that_can_be_verified(plane: Plane, tmp_path: Path) -> None:
    tenant = await plane.tenant()
    await rename(plane, tenant, 4)
    events = await sealed_up_to(plane, tenant, 5)
    wanted = pb.AuditFilter(start_time=events[1].time, end_time=events[3].time)
    path = tmp_path / "part.jsonl"
    path.write_bytes(await exported(plane, tenant, filter=wanted))
    found = verify_file(path, None, [])
    assert (found.first_seq, found.last_seq, found.verified, found.problems) == (2, 3, 2, [])


async def test_refusals(plane: Plane) -> None:
    metadata, audit = plane.admin.metadata(), plane.admin.audit
    for call in (
        audit.TailAuditEvents(pb.TailAuditEventsRequest(tenant_id=NOBODY), metadata=metadata),
        audit.ExportAuditEvents(pb.ExportAuditEventsRequest(tenant_id=NOBODY), metadata=metadata),
        audit.VerifyAuditTrail(pb.VerifyAuditTrailRequest(tenant_id=NOBODY), metadata=metadata),
    ):
        assert (await refused(call)).code is grpc.StatusCode.NOT_FOUND
    for made in (
        audit.CreateCheckpoint(pb.CreateCheckpointRequest(), metadata=metadata),
        audit.GetCheckpointKey(pb.GetCheckpointKeyRequest(), metadata=metadata),
    ):
        assert (await refused(made)).code is grpc.StatusCode.FAILED_PRECONDITION
    assert not (await verdict(plane, SYSTEM)).problems


@pytest.mark.parametrize(
    "changes",
    [
        {"audit_signing_key": base64.b64encode(SEED).decode()},
        {"audit_checkpoint_dir": "/tmp"},
        {"audit_signing_key": "c2hvcnQ=", "audit_checkpoint_dir": "/tmp"},
        {"audit_signing_key": base64.b64encode(SEED).decode(), "audit_checkpoint_dir": "/proc/nowhere"},
    ],
)
async def test_half_a_configuration_is_refused_at_the_start(
    database: Database, queue_url: str, changes: dict[str, str]
) -> None:
    with pytest.raises(SettingsError):
        async with control_plane(settings(database, queue_url, **changes)):
            pass


async def test_personal_values_come_if_asked_for_and_an_erased_person_leaves_the_trail_whole(
    plane: Plane, tmp_path: Path
) -> None:
    directory = Directory(plane, await plane.tenant())
    made = await directory.create(USER, userName="ada.canary")
    for wanted in (True, False):
        events = await take(tail(plane, directory.tenant, after_seq=0, include_personal=wanted), 2)
        assert ("ada.canary" in events[1].personal) is wanted
        for form in (pb.EXPORT_FORMAT_JSONL, pb.EXPORT_FORMAT_CSV, pb.EXPORT_FORMAT_OCSF):
            file = await exported(plane, directory.tenant, format=form, include_personal=wanted)
            assert (b"ada.canary" in file) is wanted
    await directory.delete(made)
    request = pb.EraseSubjectRequest(tenant_id=directory.tenant, resource_id=made.id)
    assert (await plane.admin.audit.EraseSubject(request, metadata=plane.admin.metadata())).events == 2
    # The tenant, the user and its end, six exports, the erasure.
    events = await sealed_up_to(plane, directory.tenant, 10)
    told = {event.action: event.is_erased for event in events}
    assert (told["user.create"], told["user.delete"], told["audit.erase"]) == (True, True, False)
    assert not (await verdict(plane, directory.tenant)).problems
    path = tmp_path / "trail.jsonl"
    path.write_bytes(file := await exported(plane, directory.tenant, include_personal=True))
    assert b"ada.canary" not in file
    assert verify_file(path, None, []).problems == []

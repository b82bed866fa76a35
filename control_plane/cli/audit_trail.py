"""`muster audit export|tail|verify|checkpoint|key`: the trail as a file, as it grows, and whether it is whole."""

import asyncio
import base64
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from control_plane.cli import audit
from control_plane.cli.admin import (
    Address,
    Admin,
    AdminToken,
    AsJson,
    ReadyFile,
    Tenant,
    admin_command,
    run_admin,
)
from control_plane.cli.audit_files import Counter, read_key, verdict_dict, verify_file, whole_file
from control_plane.cli.output import as_dict, enum_text, print_fields, print_json, printable, time_text
from control_plane.cli.panels import fail
from control_plane.cli.spans import parse_moment

if TYPE_CHECKING:
    from protos.audit.v1 import audit_pb2 as pb

app = audit.app
# As long as the policy table lets an export and a verification last.
LONG_S = 3600.0
RETRY_S = 1.0


class Form(StrEnum):
    """The form of an export."""

    JSONL = "jsonl"
    CSV = "csv"
    OCSF = "ocsf"


Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to; - is the standard output.")]
Format = Annotated[Form, typer.Option("--format", help="jsonl can be verified offline.")]
After = Annotated[int | None, typer.Option("--after", metavar="SEQ", min=0, help="Begin behind this place.")]
OptionalTenant = Annotated[
    str, typer.Option("--tenant", metavar="ID", envvar="MUSTER_TENANT", help="The tenant's id; not with --file.")
]
File = Annotated[Path | None, typer.Option("--file", metavar="FILE", help="An export as jsonl, instead of a server.")]
Checkpoints = Annotated[
    Path | None, typer.Option("--checkpoints", metavar="FILE", help="With --file: a copy of checkpoints.jsonl.")
]
PublicKey = Annotated[
    list[str] | None,
    typer.Option("--public-key", metavar="KEY", help="With --file: base64, hex, or a file; `muster audit key`."),
]


@admin_command(audit.app, "export")
async def export(
    admin: Admin,
    *,
    tenant: Tenant,
    output: Output,
    form: Format = Form.JSONL,
    since: audit.Since = "",
    until: audit.Until = "",
    actor: audit.Actor = "",
    actor_type: audit.ActorType = None,
    action: audit.Action = "",
    resource_type: audit.ResourceType = "",
    resource: audit.ResourceId = "",
    outcome: audit.Ended = None,
    personal: audit.Personal = False,
) -> None:
    """Write the trail to a file, oldest first. With conditions besides times it cannot be verified offline."""
    from protos.audit.v1 import audit_pb2 as pb

    wanted = _filter(actor, actor_type, action, resource_type, resource, outcome)
    now = datetime.now(UTC)
    if since:
        wanted.start_time.FromDatetime(parse_moment(since, now))
    if until:
        wanted.end_time.FromDatetime(parse_moment(until, now))
    format_ = pb.ExportFormat.Value(f"EXPORT_FORMAT_{form.name}")
    request = pb.ExportAuditEventsRequest(tenant_id=tenant, filter=wanted, format=format_, include_personal=personal)
    counter, events = Counter("events"), 0
    try:
        with whole_file(output) as file:
            pieces = admin.api.audit.ExportAuditEvents(request, timeout=LONG_S, metadata=admin.api.metadata())
            async for piece in pieces:
                file.write(piece.data)
                events = max(events, piece.events)
                counter.show(events)
    except OSError as err:
        fail(f"{output} cannot be written: {err.strerror}")
    finally:
        counter.end()
    if admin.as_json:
        typer.echo(f'{{"events": {events}}}', err=True)
    else:
        typer.echo(f"{events} events in {output}", err=True)


@admin_command(audit.app, "tail")
async def tail(
    admin: Admin,
    *,
    tenant: Tenant,
    after: After = None,
    actor: audit.Actor = "",
    actor_type: audit.ActorType = None,
    action: audit.Action = "",
    resource_type: audit.ResourceType = "",
    resource: audit.ResourceId = "",
    outcome: audit.Ended = None,
    personal: audit.Personal = False,
) -> None:
    """Print events as they are sealed, until Ctrl-C. With --json one object a line; goes on after a lost connection."""
    import grpc

    from protos.audit.v1 import audit_pb2 as pb

    request = pb.TailAuditEventsRequest(
        tenant_id=tenant,
        filter=_filter(actor, actor_type, action, resource_type, resource, outcome),
        after_seq=after,
        include_personal=personal,
    )
    while True:
        try:
            async for message in admin.api.audit.TailAuditEvents(request, metadata=admin.api.metadata()):
                request.after_seq = message.seq
                for event in message.events:
                    _print_event(event, as_json=admin.as_json)
        except grpc.aio.AioRpcError as err:
            # Before the first message it may never work: say so. Later it did.
            if err.code() != grpc.StatusCode.UNAVAILABLE or not request.HasField("after_seq"):
                raise
        await asyncio.sleep(RETRY_S)


@audit.app.command("verify")
def verify(
    *,
    tenant: OptionalTenant = "",
    file: File = None,
    checkpoints: Checkpoints = None,
    public_key: PublicKey = None,
    as_json: AsJson = False,
    ready_file: ReadyFile = None,
    control_plane: Address = "",
    admin_token: AdminToken = "",
) -> None:
    """Tell whether the trail is whole, and where it is not; ends with 1 if it is not.

    With --file an export is verified, without any server: against the checkpoint in it, and against --checkpoints.
    """
    if file is not None:
        _verify_offline(file, checkpoints, public_key or [], as_json=as_json)
    elif not tenant:
        fail("say --tenant ID, or --file EXPORT for an export", 2)
    else:
        run_admin(
            lambda admin: _verify_online(admin, tenant),
            as_json=as_json,
            ready_file=ready_file,
            control_plane=control_plane,
            admin_token=admin_token,
        )


@admin_command(audit.app, "checkpoint")
async def checkpoint(admin: Admin) -> None:
    """Sign the heads of all chains now, and write that outside the database."""
    from protos.audit.v1 import audit_pb2 as pb

    answer = await admin.api.audit.CreateCheckpoint(
        pb.CreateCheckpointRequest(), timeout=60, metadata=admin.api.metadata()
    )
    made = answer.checkpoint
    if admin.as_json:
        print_json(as_dict(made))
    else:
        typer.echo(f"Checkpoint {made.number} over {made.heads} chains, {time_text(made.time)}, key {made.key_id}.")


@admin_command(audit.app, "key")
async def key(admin: Admin) -> None:
    """Print the public key that checkpoints are verified with. Keep it where nobody who runs Muster can change it."""
    from protos.audit.v1 import audit_pb2 as pb

    answer = await admin.call(admin.api.audit.GetCheckpointKey, pb.GetCheckpointKeyRequest())
    spelled = base64.b64encode(answer.public_key).decode()
    if admin.as_json:
        print_json({"key_id": answer.key_id, "public_key": spelled})
    else:
        print_fields([("key id", answer.key_id), ("public key", spelled)])


async def _verify_online(admin: Admin, tenant: str) -> None:
    from protos.audit.v1 import audit_pb2 as pb

    counter, last = Counter("events verified"), pb.VerifyAuditTrailResponse()
    request = pb.VerifyAuditTrailRequest(tenant_id=tenant)
    async for last in admin.api.audit.VerifyAuditTrail(request, timeout=LONG_S, metadata=admin.api.metadata()):
        counter.show(last.verified, last.total)
    counter.end()
    if not last.is_done:
        fail("the verification ended without a verdict: try again")
    problems = [
        {
            "kind": pb.ProblemKind.Name(one.kind).removeprefix("PROBLEM_KIND_"),
            "seq": one.seq,
            "event_id": one.event_id,
            "description": one.description,
        }
        for one in last.problems
    ]
    number = last.checkpoint.number if last.HasField("checkpoint") else None
    told = {"is_whole": not problems, "tenant_id": tenant, "last_seq": last.last_seq, "verified": last.verified}
    _tell({**told, "checkpoint": number, "problems": problems}, as_json=admin.as_json)


def _verify_offline(file: Path, checkpoints: Path | None, spelled: list[str], *, as_json: bool) -> None:
    from control_plane.domain.checkpoints import VerifyKey

    if not spelled:
        fail("say --public-key KEY: without it anybody could have made the export", 2)
    try:
        verdict = verify_file(file, checkpoints, [VerifyKey(read_key(one)) for one in spelled])
    except ValueError as err:
        fail(str(err))
    told = verdict_dict(verdict)
    _tell(told, as_json=as_json)
    if not as_json and verdict.vouched_seq < verdict.last_seq:
        typer.echo(f"No checkpoint vouches for what is behind {verdict.vouched_seq}: it is only whole in itself.")


def _tell(told: dict[str, Any], *, as_json: bool) -> None:
    """Print a verdict; end with 1 if something is wrong."""
    if as_json:
        print_json(told)
    elif told["is_whole"]:
        vouched = "no checkpoint" if told["checkpoint"] is None else f"checkpoint {told['checkpoint']}"
        first = told["last_seq"] - told["verified"] + 1
        where = f"{first} to {told['last_seq']}" if told["verified"] else f"up to {told['last_seq']}"
        typer.echo(f"Whole: {told['verified']} events, {where}, {vouched}.")
    else:
        for one in told["problems"]:
            where = f" at {one['seq']}" if one["seq"] else ""
            which = f" (event {one['event_id']})" if one["event_id"] else ""
            typer.echo(f"{one['kind']}{where}{which}: {one['description']}")
        typer.echo(f"NOT whole: {len(told['problems'])} problems in {told['verified']} events.")
    if not told["is_whole"]:
        raise typer.Exit(1)


def _filter(
    actor: str,
    actor_type: audit.Kind | None,
    action: str,
    resource_type: str,
    resource: str,
    outcome: audit.Outcome | None,
) -> "pb.AuditFilter":
    from protos.audit.v1 import audit_pb2 as pb

    wanted = pb.AuditFilter(actor_id=actor, action=action, resource_type=resource_type, resource_id=resource)
    if outcome is not None:
        wanted.outcome = pb.Outcome.Value(f"OUTCOME_{outcome.name}")
    if actor_type is not None:
        wanted.actor_type = pb.ActorType.Value(f"ACTOR_TYPE_{actor_type.name}")
    return wanted


def _print_event(event: "pb.AuditEvent", *, as_json: bool) -> None:
    import json

    from protos.audit.v1 import audit_pb2 as pb

    if as_json:
        typer.echo(json.dumps(as_dict(event), ensure_ascii=False))
        return
    kind = enum_text(pb.ActorType.Name(event.actor_type), "ACTOR_TYPE_")
    ended = enum_text(pb.Outcome.Name(event.outcome), "OUTCOME_")
    who, what = f"{kind} {event.actor_id}", f"{event.action} {event.resource_id}"
    more = (event.reason or event.details, "(erased)" if event.is_erased else event.personal)
    line = "  ".join((f"{event.seq:>8}", time_text(event.time), who, what, ended, *filter(None, more)))
    typer.echo(printable(line))

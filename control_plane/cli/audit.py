"""`muster audit`: what was done, by whom, with what outcome."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from control_plane.cli.admin import Admin, Tenant, admin_command
from control_plane.cli.output import as_dict, enum_text, print_json, print_table, time_text
from control_plane.cli.spans import parse_moment

if TYPE_CHECKING:
    from protos.audit.v1 import audit_pb2 as pb

app = typer.Typer(name="audit", help="The audit trail of a tenant.", no_args_is_help=True)


class Outcome(StrEnum):
    """How an action ended."""

    SUCCESS = "success"
    FAILURE = "failure"


Since = Annotated[
    str, typer.Option("--since", metavar="TIME", help="Not before, such as 2026-11-23T10:00:00Z, or 2h ago as 2h.")
]
Until = Annotated[str, typer.Option("--until", metavar="TIME", help="Before; as --since.")]
Actor = Annotated[str, typer.Option("--actor", help="Exactly this actor: a token's key id, admin, a worker's id.")]
Action = Annotated[str, typer.Option("--action", help="Exactly this action, such as user.create.")]
ResourceId = Annotated[str, typer.Option("--resource", metavar="ID", help="Exactly this resource.")]
Ended = Annotated[Outcome | None, typer.Option("--outcome", help="Only what ended so.")]
Limit = Annotated[int, typer.Option("--limit", min=0, help="At most this many; 0 for all.")]


@admin_command(app, "list")
async def list_events(
    admin: Admin,
    *,
    tenant: Tenant,
    since: Since = "",
    until: Until = "",
    actor: Actor = "",
    action: Action = "",
    resource: ResourceId = "",
    outcome: Ended = None,
    limit: Limit = 100,
) -> None:
    """List events, newest first. Conditions are joined by "and"."""
    from protos.audit.v1 import audit_pb2 as pb

    request = pb.ListAuditEventsRequest(tenant_id=tenant, actor_id=actor, action=action, resource_id=resource)
    now = datetime.now(UTC)
    if since:
        request.start_time.FromDatetime(parse_moment(since, now))
    if until:
        request.end_time.FromDatetime(parse_moment(until, now))
    if outcome is not None:
        request.outcome = pb.Outcome.Value(f"OUTCOME_{outcome.name}")
    pages = admin.pages(admin.api.audit.ListAuditEvents, request, limit)
    events = [event async for page in pages for event in page.events]
    if admin.as_json:
        print_json({"events": [as_dict(event) for event in events]})
    else:
        columns = ("TIME (UTC)", "ACTOR", "ACTION", "RESOURCE", "OUTCOME", "REASON", "DETAILS")
        print_table(columns, (_row(event) for event in events))


def _row(event: "pb.AuditEvent") -> tuple[str, ...]:
    from protos.audit.v1 import audit_pb2 as pb

    return (
        time_text(event.time),
        f"{enum_text(pb.ActorType.Name(event.actor_type), 'ACTOR_TYPE_')} {event.actor_id}",
        event.action,
        event.resource_id,
        enum_text(pb.Outcome.Name(event.outcome), "OUTCOME_"),
        event.reason,
        event.details,
    )

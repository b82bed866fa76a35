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


class Kind(StrEnum):
    """Who acts, by kind."""

    TOKEN = "token"  # noqa: S105 - a kind of actor
    ADMIN = "admin"
    WORKER = "worker"
    SYSTEM = "system"
    OPERATOR = "operator"
    SERVICE = "service"


Since = Annotated[
    str, typer.Option("--since", metavar="TIME", help="Not before, such as 2026-11-23T10:00:00Z, or 2h ago as 2h.")
]
Until = Annotated[str, typer.Option("--until", metavar="TIME", help="Before; as --since.")]
Actor = Annotated[
    str, typer.Option("--actor", help="Exactly this actor: a token's key id, admin, an operator's or a worker's id.")
]
ActorType = Annotated[Kind | None, typer.Option("--actor-type", help="Only this kind of actor.")]
Action = Annotated[str, typer.Option("--action", help='This action, such as user.create, or all of a noun: "token.*".')]
ResourceType = Annotated[str, typer.Option("--resource-type", help="Such as user, group, token, target, tenant.")]
ResourceId = Annotated[str, typer.Option("--resource", metavar="ID", help="Exactly this resource.")]
Ended = Annotated[Outcome | None, typer.Option("--outcome", help="Only what ended so.")]
RequestId = Annotated[str, typer.Option("--request-id", metavar="ID", help="Exactly this request.")]
TraceId = Annotated[str, typer.Option("--trace-id", metavar="ID", help="Exactly this trace.")]
Personal = Annotated[bool, typer.Option("--personal", help="Show names and values that belong to persons, too.")]
Limit = Annotated[int, typer.Option("--limit", min=0, help="At most this many; 0 for all.")]
User = Annotated[str, typer.Option("--user", metavar="ID", help="The id of the deleted user.")]


@admin_command(app, "list")
async def list_events(
    admin: Admin,
    *,
    tenant: Tenant,
    since: Since = "",
    until: Until = "",
    actor: Actor = "",
    actor_type: ActorType = None,
    action: Action = "",
    resource_type: ResourceType = "",
    resource: ResourceId = "",
    outcome: Ended = None,
    request_id: RequestId = "",
    trace_id: TraceId = "",
    personal: Personal = False,
    limit: Limit = 100,
) -> None:
    """List events, newest first. Conditions are joined by "and"."""
    from protos.audit.v1 import audit_pb2 as pb

    request = pb.ListAuditEventsRequest(
        tenant_id=tenant,
        actor_id=actor,
        action=action,
        resource_type=resource_type,
        resource_id=resource,
        request_id=request_id,
        trace_id=trace_id,
        include_personal=personal,
    )
    now = datetime.now(UTC)
    if since:
        request.start_time.FromDatetime(parse_moment(since, now))
    if until:
        request.end_time.FromDatetime(parse_moment(until, now))
    if outcome is not None:
        request.outcome = pb.Outcome.Value(f"OUTCOME_{outcome.name}")
    if actor_type is not None:
        request.actor_type = pb.ActorType.Value(f"ACTOR_TYPE_{actor_type.name}")
    pages = admin.pages(admin.api.audit.ListAuditEvents, request, limit)
    events = [event async for page in pages for event in page.events]
    if admin.as_json:
        print_json({"events": [as_dict(event) for event in events]})
        return
    columns = ("TIME (UTC)", "ACTOR", "ACTION", "RESOURCE", "OUTCOME", "REASON", "DETAILS")
    shown = (*columns, "PERSONAL") if personal else columns
    print_table(shown, (_row(event)[: len(shown)] for event in events))


@admin_command(app, "erase")
async def erase(admin: Admin, *, tenant: Tenant, user: User) -> None:
    """Make a deleted user's names and values in the trail unreadable for ever. Its events stay."""
    from protos.audit.v1 import audit_pb2 as pb

    request = pb.EraseSubjectRequest(tenant_id=tenant, resource_id=user)
    answer = await admin.call(admin.api.audit.EraseSubject, request)
    if admin.as_json:
        print_json(as_dict(answer))
    else:
        typer.echo(f"Erased user {user} from {answer.events} events.")


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
        "(erased)" if event.is_erased else event.personal,
    )

"""`muster token`: SCIM bearer tokens. A secret is printed once, when it is made, and never again."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from control_plane.cli.admin import Admin, Tenant, admin_command
from control_plane.cli.output import as_dict, enum_text, print_fields, print_json, print_table, time_text
from control_plane.cli.spans import parse_span

if TYPE_CHECKING:
    from protos.tenancy.v1 import tenancy_pb2 as pb

app = typer.Typer(name="token", help="SCIM bearer tokens of a tenant.", no_args_is_help=True)

UNTIL_REVOKED = "until-revoked"
# So long before its end a token is shown as one to be rotated.
SOON = timedelta(days=30)

TokenId = Annotated[str, typer.Argument(metavar="ID", help="The token's id (not its secret).")]
Label = Annotated[str, typer.Option("--label", help='A note for people, such as "Okta production".')]
ReadOnly = Annotated[bool, typer.Option("--read-only", help="Only GET; else read and write.")]
Ttl = Annotated[str, typer.Option("--ttl", metavar="SPAN", help="How long it lives, such as 90d; else 365d.")]
NeverExpires = Annotated[bool, typer.Option("--never-expires", help="It lives until it is revoked.")]
Network = Annotated[
    list[str] | None,
    typer.Option("--network", metavar="CIDR", help="Accept it from there only; may be given several times."),
]
Overlap = Annotated[
    str,
    typer.Option(
        "--overlap",
        metavar="SPAN",
        help=f"How long the old one goes on working: 0s to 7d, or {UNTIL_REVOKED}; else 24h.",
    ),
]


@admin_command(app, "create")
async def create(
    admin: Admin,
    *,
    tenant: Tenant,
    label: Label = "",
    read_only: ReadOnly = False,
    ttl: Ttl = "",
    never_expires: NeverExpires = False,
    network: Network = None,
) -> None:
    """Make a token. Its secret is shown now and never again."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    request = pb.CreateTokenRequest(
        tenant_id=tenant, label=label, allowed_networks=network or [], never_expires=never_expires
    )
    if read_only:
        request.scopes.append(pb.SCOPE_SCIM_READ)
    if ttl:
        request.ttl.FromTimedelta(parse_span(ttl))
    _show_new(admin, await admin.call(admin.api.tokens.CreateToken, request))


@admin_command(app, "list")
async def list_tokens(admin: Admin, *, tenant: Tenant) -> None:
    """List a tenant's tokens, revoked ones included, newest first."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    pages = admin.pages(admin.api.tokens.ListTokens, pb.ListTokensRequest(tenant_id=tenant), limit=0)
    tokens = [token async for page in pages for token in page.tokens]
    if admin.as_json:
        print_json({"tokens": [as_dict(token) for token in tokens]})
        return
    columns = ("ID", "KEY", "LABEL", "SCOPES", "STATE", "EXPIRES", "LAST USED", "FROM", "AGENT")
    now = datetime.now(UTC)
    print_table(columns, (_row(token, now) for token in tokens))


@admin_command(app, "rotate")
async def rotate(admin: Admin, token_id: TokenId, *, tenant: Tenant, overlap: Overlap = "") -> None:
    """Make a successor; the old token goes on working for the overlap.

    If the answer got lost, rotate again: a successor that was never used is revoked.
    """
    from protos.tenancy.v1 import tenancy_pb2 as pb

    request = pb.RotateTokenRequest(tenant_id=tenant, id=token_id)
    if overlap == UNTIL_REVOKED:
        request.until_revoked = True
    elif overlap:
        request.overlap.FromTimedelta(parse_span(overlap))
    answer = await admin.call(admin.api.tokens.RotateToken, request)
    _show_new(admin, answer)
    if not admin.as_json:
        old, now = answer.replaced, datetime.now(UTC)
        typer.echo(f"\nThe old token {old.key_id} {_life(old, now)}; it was {_use(old, now)}.")


@admin_command(app, "revoke")
async def revoke(admin: Admin, token_id: TokenId, *, tenant: Tenant) -> None:
    """Revoke a token at once, on every gateway."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    answer = await admin.call(admin.api.tokens.RevokeToken, pb.RevokeTokenRequest(tenant_id=tenant, id=token_id))
    if admin.as_json:
        print_json(as_dict(answer.token))
        return
    _show(answer.token)
    typer.echo(f"\nThe token was {_use(answer.token, datetime.now(UTC))}.")


def _show_new(admin: Admin, answer: "pb.CreateTokenResponse | pb.RotateTokenResponse") -> None:
    if admin.as_json:
        print_json(as_dict(answer))
        return
    _show(answer.token)
    typer.echo(f"\nThe token, shown only now:\n{answer.secret}")


def _show(token: "pb.Token") -> None:
    print_fields(
        (
            ("id", token.id),
            ("key", token.key_id),
            ("label", token.label),
            ("scopes", _scopes(token)),
            ("networks", ", ".join(token.allowed_networks)),
            ("created", time_text(token.create_time)),
            ("by", token.creator),
            ("expires", time_text(token.expire_time) or "never"),
            ("revoked", time_text(token.revoke_time)),
            ("replaces", token.replaces),
        )
    )


def _row(token: "pb.Token", now: datetime) -> tuple[str, ...]:
    return (
        token.id,
        token.key_id,
        token.label,
        _scopes(token),
        _state(token, now),
        time_text(token.expire_time) or "never",
        time_text(token.last_use_time) or "never",
        token.last_use_address,
        token.last_use_user_agent,
    )


def _scopes(token: "pb.Token") -> str:
    from protos.tenancy.v1 import tenancy_pb2 as pb

    return ", ".join(enum_text(pb.Scope.Name(scope), "SCOPE_") for scope in token.scopes)


def _state(token: "pb.Token", now: datetime) -> str:
    if token.HasField("revoke_time"):
        return "revoked"
    if token.HasField("expire_time"):
        left = token.expire_time.ToDatetime(UTC) - now
        if left <= timedelta(0):
            return "expired"
        return "expires soon" if left <= SOON else "active"
    return "active"


def _life(token: "pb.Token", now: datetime) -> str:
    """Return until when a rotated token works, as the end of "the old token ..."."""
    if not token.HasField("expire_time"):
        return "works until it is revoked"
    ends = token.expire_time.ToDatetime(UTC)
    return f"works until {time_text(token.expire_time)} UTC" if ends > now else "works no more"


def _use(token: "pb.Token", now: datetime) -> str:
    """Return when and from where a token was last used, as the end of "it was ..."."""
    if not token.HasField("last_use_time"):
        return "never used"
    ago = _ago(now - token.last_use_time.ToDatetime(UTC))
    return f"used {ago} from {token.last_use_address}" if token.last_use_address else f"used {ago}"


def _ago(span: timedelta) -> str:
    seconds = max(0, int(span.total_seconds()))
    for unit, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds // unit} {name} ago"
    return f"{seconds} s ago"

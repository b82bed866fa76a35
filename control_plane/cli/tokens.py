"""`muster token`: SCIM bearer tokens. A secret is printed once, when it is made, and never again."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from control_plane.cli.admin import Admin, Tenant, admin_command
from control_plane.cli.output import as_dict, enum_text, print_fields, print_json, print_table, time_text
from control_plane.cli.spans import parse_span

if TYPE_CHECKING:
    from protos.tenancy.v1 import tenancy_pb2 as pb

app = typer.Typer(name="token", help="SCIM bearer tokens of a tenant.", no_args_is_help=True)

TokenId = Annotated[str, typer.Argument(metavar="ID", help="The token's id (not its secret).")]
Label = Annotated[str, typer.Option("--label", help='A note for people, such as "Okta production".')]
ReadOnly = Annotated[bool, typer.Option("--read-only", help="Only GET; else read and write.")]
Ttl = Annotated[str, typer.Option("--ttl", metavar="SPAN", help="How long it lives, such as 90d; else for ever.")]
Overlap = Annotated[
    str, typer.Option("--overlap", metavar="SPAN", help="How long the old one goes on working, 0s to 7d; else 24h.")
]


@admin_command(app, "create")
async def create(
    admin: Admin, *, tenant: Tenant, label: Label = "", read_only: ReadOnly = False, ttl: Ttl = ""
) -> None:
    """Make a token. Its secret is shown now and never again."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    request = pb.CreateTokenRequest(tenant_id=tenant, label=label)
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
    now = datetime.now(UTC)
    rows = (
        (token.id, token.key_id, token.label, _scopes(token), _state(token, now), time_text(token.create_time))
        for token in tokens
    )
    print_table(("ID", "KEY", "LABEL", "SCOPES", "STATE", "CREATED"), rows)


@admin_command(app, "rotate")
async def rotate(admin: Admin, token_id: TokenId, *, tenant: Tenant, overlap: Overlap = "") -> None:
    """Make a successor; the old token goes on working for the overlap."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    request = pb.RotateTokenRequest(tenant_id=tenant, id=token_id)
    if overlap:
        request.overlap.FromTimedelta(parse_span(overlap))
    _show_new(admin, await admin.call(admin.api.tokens.RotateToken, request))


@admin_command(app, "revoke")
async def revoke(admin: Admin, token_id: TokenId, *, tenant: Tenant) -> None:
    """Revoke a token at once, on every gateway."""
    from protos.tenancy.v1 import tenancy_pb2 as pb

    answer = await admin.call(admin.api.tokens.RevokeToken, pb.RevokeTokenRequest(tenant_id=tenant, id=token_id))
    if admin.as_json:
        print_json(as_dict(answer.token))
    else:
        _show(answer.token)


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
            ("created", time_text(token.create_time)),
            ("expires", time_text(token.expire_time)),
            ("revoked", time_text(token.revoke_time)),
        )
    )


def _scopes(token: "pb.Token") -> str:
    from protos.tenancy.v1 import tenancy_pb2 as pb

    return ", ".join(enum_text(pb.Scope.Name(scope), "SCOPE_") for scope in token.scopes)


def _state(token: "pb.Token", now: datetime) -> str:
    if token.HasField("revoke_time"):
        return "revoked"
    if token.HasField("expire_time"):
        expired = token.expire_time.ToDatetime(UTC) <= now
        return "expired" if expired else f"until {time_text(token.expire_time)}"
    return "valid"

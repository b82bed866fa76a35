"""`muster api-key`: bearer tokens for the admin API. A secret is printed once, when it is made, and never again."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from control_plane.cli.admin import Admin, admin_command
from control_plane.cli.output import as_dict, print_fields, print_json, print_table, time_text
from control_plane.cli.spans import parse_span

if TYPE_CHECKING:
    from protos.identity.v1 import identity_pb2 as pb

app = typer.Typer(name="api-key", help="API keys of operators and of internal services.", no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(metavar="ID", help="The key's id (not its secret).")]
Operator = Annotated[str, typer.Option("--operator", metavar="ID", help="Whose it will be: this operator's.")]
Service = Annotated[str, typer.Option("--service", metavar="NAME", help="Whose it will be: this internal service's.")]
Label = Annotated[str, typer.Option("--label", help='A note for people, such as "laptop".')]
Scopes = Annotated[
    list[str] | None,
    typer.Option(
        "--scope", help="What a service may do, such as tokens:read; `muster api-key scopes` names all. Repeatable."
    ),
]
Tenants = Annotated[
    list[str] | None,
    typer.Option("--tenant", metavar="ID", help="The only tenants a service may act for. Repeatable; else all."),
]
Networks = Annotated[
    list[str] | None,
    typer.Option("--from", metavar="CIDR", help="The only networks it is accepted from. Repeatable; else all."),
]
Ttl = Annotated[str, typer.Option("--ttl", metavar="SPAN", help="How long it lives, such as 90d; else 365d.")]
Forever = Annotated[bool, typer.Option("--never-expires", help="It never expires.")]


@admin_command(app, "create")
async def create(
    admin: Admin,
    *,
    operator: Operator = "",
    service: Service = "",
    label: Label = "",
    scopes: Scopes = None,
    tenants: Tenants = None,
    networks: Networks = None,
    ttl: Ttl = "",
    never_expires: Forever = False,
) -> None:
    """Make a key for an operator or a service. Its secret is shown now and never again."""
    from protos.identity.v1 import identity_pb2 as pb

    if bool(operator) == bool(service):
        raise ValueError("say whose key it will be: --operator ID or --service NAME")
    request = pb.CreateApiKeyRequest(
        label=label,
        scopes=scopes or (),
        tenant_ids=tenants or (),
        allowed_networks=networks or (),
        never_expires=never_expires,
    )
    if operator:
        request.operator_id = operator
    else:
        request.service = service
    if ttl:
        request.ttl.FromTimedelta(parse_span(ttl))
    answer = await admin.call(admin.api.api_keys.CreateApiKey, request)
    if admin.as_json:
        print_json(as_dict(answer))
        return
    _show(answer.api_key)
    typer.echo(f"\nThe API key, shown only now:\n{answer.secret}")


@admin_command(app, "list")
async def list_keys(admin: Admin) -> None:
    """List API keys, revoked ones included, newest first: all for owners, their own for everybody else."""
    from protos.identity.v1 import identity_pb2 as pb

    pages = admin.pages(admin.api.api_keys.ListApiKeys, pb.ListApiKeysRequest(), limit=0)
    keys = [key async for page in pages for key in page.api_keys]
    if admin.as_json:
        print_json({"api_keys": [as_dict(key) for key in keys]})
        return
    now = datetime.now(UTC)
    rows = (
        (key.id, key.key_id, _owner(key), key.label, _state(key, now), time_text(key.last_use_time)) for key in keys
    )
    print_table(("ID", "KEY", "OWNER", "LABEL", "STATE", "LAST USED"), rows)


@admin_command(app, "revoke")
async def revoke(admin: Admin, key_id: KeyId) -> None:
    """Revoke a key at once."""
    from protos.identity.v1 import identity_pb2 as pb

    answer = await admin.call(admin.api.api_keys.RevokeApiKey, pb.RevokeApiKeyRequest(id=key_id))
    if admin.as_json:
        print_json(as_dict(answer.api_key))
    else:
        _show(answer.api_key)


@admin_command(app, "scopes")
async def scopes(admin: Admin) -> None:
    """Name the scopes that a service's key can have."""
    from protos.identity.v1 import identity_pb2 as pb

    answer = await admin.call(admin.api.api_keys.ListScopes, pb.ListScopesRequest())
    if admin.as_json:
        print_json(as_dict(answer))
    else:
        for scope in answer.scopes:
            typer.echo(scope)


def _show(key: "pb.ApiKey") -> None:
    print_fields(
        (
            ("id", key.id),
            ("key", key.key_id),
            ("owner", _owner(key)),
            ("label", key.label),
            ("scopes", ", ".join(key.scopes)),
            ("tenants", ", ".join(key.tenant_ids)),
            ("accepted from", ", ".join(key.allowed_networks)),
            ("created", time_text(key.create_time)),
            ("created by", key.creator),
            ("expires", time_text(key.expire_time)),
            ("revoked", time_text(key.revoke_time)),
            ("last used", time_text(key.last_use_time)),
            ("last used from", key.last_use_address),
        )
    )


def _owner(key: "pb.ApiKey") -> str:
    return f"service {key.service}" if key.HasField("service") else f"operator {key.operator_id}"


def _state(key: "pb.ApiKey", now: datetime) -> str:
    if key.HasField("revoke_time"):
        return "revoked"
    if key.HasField("expire_time"):
        expired = key.expire_time.ToDatetime(UTC) <= now
        return "expired" if expired else f"until {time_text(key.expire_time)}"
    return "valid"

"""`muster operator` and `muster whoami`: who may administer Muster."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from control_plane.cli.admin import Admin, admin_command
from control_plane.cli.output import as_dict, enum_text, print_fields, print_json, print_table, time_text

if TYPE_CHECKING:
    from protos.identity.v1 import identity_pb2 as pb

app = typer.Typer(name="operator", help="People who administer Muster, by role.", no_args_is_help=True)

PREFIX = "OPERATOR_ROLE_"


class Role(StrEnum):
    """What a person may do."""

    OWNER = "owner"
    OPERATOR = "operator"
    AUDITOR = "auditor"


OperatorId = Annotated[str, typer.Argument(metavar="ID", help="The operator's id.")]
Email = Annotated[str, typer.Argument(metavar="EMAIL", help="Names the person; no two operators share one.")]
NewEmail = Annotated[str, typer.Option("--email", help="The new e-mail address.")]
Name = Annotated[str | None, typer.Option("--name", help="What people call them.")]
TheRole = Annotated[Role, typer.Option("--role", help="What they may do: see docs/admin-api.md.")]
NewRole = Annotated[Role | None, typer.Option("--role", help="What they may do from now on.")]
Issuer = Annotated[str, typer.Option("--oidc-issuer", metavar="URL", help='The "iss" of their OIDC tokens.')]
Subject = Annotated[str, typer.Option("--oidc-subject", metavar="SUB", help='The "sub" of their OIDC tokens.')]
NoOidc = Annotated[bool, typer.Option("--no-oidc", help="Accept no OIDC token of theirs any more.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@admin_command(app, "create")
async def create(
    admin: Admin,
    email: Email,
    *,
    role: TheRole,
    name: Name = None,
    oidc_issuer: Issuer = "",
    oidc_subject: Subject = "",
) -> None:
    """Make an operator, who can do nothing before `muster api-key create --operator ID`, or an OIDC subject."""
    from protos.identity.v1 import identity_pb2 as pb

    request = pb.CreateOperatorRequest(email=email, display_name=name or "", role=_wire(role))
    if _has_oidc(oidc_issuer, oidc_subject):
        request.oidc.issuer, request.oidc.subject = oidc_issuer, oidc_subject
    _show(admin, (await admin.call(admin.api.operators.CreateOperator, request)).operator)


@admin_command(app, "list")
async def list_operators(admin: Admin) -> None:
    """List operators in order of creation."""
    from protos.identity.v1 import identity_pb2 as pb

    pages = admin.pages(admin.api.operators.ListOperators, pb.ListOperatorsRequest(), limit=0)
    operators = [operator async for page in pages for operator in page.operators]
    if admin.as_json:
        print_json({"operators": [as_dict(each) for each in operators]})
        return
    rows = ((each.id, each.email, each.display_name, _role(each), _state(each)) for each in operators)
    print_table(("ID", "EMAIL", "NAME", "ROLE", "STATE"), rows)


@admin_command(app, "show")
async def show(admin: Admin, operator_id: OperatorId) -> None:
    """Show an operator."""
    from protos.identity.v1 import identity_pb2 as pb

    _show(admin, (await admin.call(admin.api.operators.GetOperator, pb.GetOperatorRequest(id=operator_id))).operator)


@admin_command(app, "update")
async def update(
    admin: Admin,
    operator_id: OperatorId,
    *,
    email: NewEmail = "",
    name: Name = None,
    role: NewRole = None,
    oidc_issuer: Issuer = "",
    oidc_subject: Subject = "",
    no_oidc: NoOidc = False,
) -> None:
    """Change an operator, in force with their next call; what is not given stays."""
    from protos.identity.v1 import identity_pb2 as pb

    request = pb.UpdateOperatorRequest(operator=pb.Operator(id=operator_id))
    wanted, paths = request.operator, request.update_mask.paths
    if email:
        wanted.email = email
        paths.append("email")
    if name is not None:
        wanted.display_name = name
        paths.append("display_name")
    if role is not None:
        wanted.role = _wire(role)
        paths.append("role")
    if _has_oidc(oidc_issuer, oidc_subject):
        if no_oidc:
            raise ValueError("--no-oidc goes without --oidc-issuer and --oidc-subject")
        wanted.oidc.issuer, wanted.oidc.subject = oidc_issuer, oidc_subject
    if no_oidc or oidc_issuer:
        paths.append("oidc")
    if not paths:
        raise ValueError("nothing to change: see muster operator update --help")
    _show(admin, (await admin.call(admin.api.operators.UpdateOperator, request)).operator)


@admin_command(app, "disable")
async def disable(admin: Admin, operator_id: OperatorId) -> None:
    """Refuse every key and token of an operator from now on."""
    await _set_disabled(admin, operator_id, disabled=True)


@admin_command(app, "enable")
async def enable(admin: Admin, operator_id: OperatorId) -> None:
    """Accept a disabled operator's keys and tokens again."""
    await _set_disabled(admin, operator_id, disabled=False)


@admin_command(app, "delete")
async def delete(admin: Admin, operator_id: OperatorId, *, yes: Yes = False) -> None:
    """Delete an operator with every key. The audit trail keeps the id."""
    from protos.identity.v1 import identity_pb2 as pb

    if not yes:
        typer.confirm(f"Delete operator {operator_id} with every key?", abort=True, err=True)
    await admin.call(admin.api.operators.DeleteOperator, pb.DeleteOperatorRequest(id=operator_id))
    if admin.as_json:
        print_json({})
    else:
        typer.echo(f"operator {operator_id} is deleted")


async def whoami(admin: Admin) -> None:
    """Say who calls with this token, as whom, and what they may do."""
    from protos.identity.v1 import identity_pb2 as pb

    caller = await admin.call(admin.api.operators.GetCaller, pb.GetCallerRequest())
    if admin.as_json:
        print_json(as_dict(caller))
        return
    print_fields(
        (
            ("role", caller.role),
            ("actor", caller.actor_id),
            ("email", caller.operator.email),
            ("name", caller.operator.display_name),
            ("scopes", ", ".join(caller.scopes)),
            ("tenants", ", ".join(caller.tenant_ids)),
            ("methods", str(len(caller.methods))),
        )
    )


def register(root: typer.Typer, panel: str) -> None:
    """Add `operator` and `whoami` to the command tree."""
    root.add_typer(app, rich_help_panel=panel)
    admin_command(root, "whoami", panel)(whoami)


async def _set_disabled(admin: Admin, operator_id: str, *, disabled: bool) -> None:
    from protos.identity.v1 import identity_pb2 as pb

    request = pb.UpdateOperatorRequest(operator=pb.Operator(id=operator_id, disabled=disabled))
    request.update_mask.paths.append("disabled")
    _show(admin, (await admin.call(admin.api.operators.UpdateOperator, request)).operator)


def _has_oidc(issuer: str, subject: str) -> bool:
    if bool(issuer) != bool(subject):
        raise ValueError("--oidc-issuer and --oidc-subject are only of use together")
    return bool(issuer)


def _wire(role: Role) -> "pb.OperatorRole.ValueType":
    from protos.identity.v1 import identity_pb2 as pb

    return pb.OperatorRole.Value(PREFIX + role.name)


def _role(operator: "pb.Operator") -> str:
    from protos.identity.v1 import identity_pb2 as pb

    return enum_text(pb.OperatorRole.Name(operator.role), PREFIX)


def _state(operator: "pb.Operator") -> str:
    return f"disabled since {time_text(operator.disable_time)}" if operator.disabled else "enabled"


def _show(admin: Admin, operator: "pb.Operator") -> None:
    if admin.as_json:
        print_json(as_dict(operator))
        return
    print_fields(
        (
            ("id", operator.id),
            ("email", operator.email),
            ("name", operator.display_name),
            ("role", _role(operator)),
            ("state", _state(operator)),
            ("created", time_text(operator.create_time)),
            ("oidc issuer", operator.oidc.issuer),
            ("oidc subject", operator.oidc.subject),
        )
    )

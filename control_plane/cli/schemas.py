"""`muster schema`: a tenant's own extensions of users and groups, as JSON of RFC 7643 section 7."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from control_plane.cli.admin import Admin, Tenant, admin_command
from control_plane.cli.output import print_fields, print_json, print_table, time_text

if TYPE_CHECKING:
    from protos.directory.v1 import directory_pb2 as pb

app = typer.Typer(name="schema", help="Custom schemas of a tenant.", no_args_is_help=True)


class Extended(StrEnum):
    """The resource types that can be extended."""

    USER = "User"
    GROUP = "Group"


Urn = Annotated[str, typer.Argument(metavar="URN", help="The schema's URN, in any case.")]
File = Annotated[
    Path,
    typer.Option(
        "--file",
        metavar="FILE",
        help='The schema as /Schemas shows it: {"id": URN, "name": ..., "attributes": [{"name": ..., "type": ...}]}.',
    ),
]
ResourceType = Annotated[
    Extended | None,
    typer.Option(
        "--resource-type", case_sensitive=False, help='What it extends; else the file\'s "resourceType", else User.'
    ),
]


@admin_command(app, "create")
async def create(admin: Admin, *, tenant: Tenant, file: File, resource_type: ResourceType = None) -> None:
    """Create an extension; it is advertised and understood at once."""
    from protos.directory.v1 import directory_pb2 as pb

    body = _read(file)
    wire = _parse({**body, "resourceType": resource_type or body.get("resourceType", Extended.USER)}, tenant)
    answer = await admin.call(admin.api.schemas.CreateSchema, pb.CreateSchemaRequest(schema=wire))
    _show(admin, answer.schema)


@admin_command(app, "list")
async def list_schemas(admin: Admin, *, tenant: Tenant) -> None:
    """List a tenant's extensions, in order of creation."""
    from protos.directory.v1 import directory_pb2 as pb

    answer = await admin.call(admin.api.schemas.ListSchemas, pb.ListSchemasRequest(tenant_id=tenant))
    if admin.as_json:
        print_json({"schemas": [_as_json(schema) for schema in answer.schemas]})
    else:
        rows = (
            (each.id, each.name, _type(each), str(len(each.attributes)), time_text(each.create_time))
            for each in answer.schemas
        )
        print_table(("ID", "NAME", "EXTENDS", "ATTRIBUTES", "CREATED"), rows)


@admin_command(app, "show")
async def show(admin: Admin, urn: Urn, *, tenant: Tenant) -> None:
    """Show an extension; with --json in the form that --file takes."""
    from protos.directory.v1 import directory_pb2 as pb

    answer = await admin.call(admin.api.schemas.GetSchema, pb.GetSchemaRequest(tenant_id=tenant, id=urn))
    _show(admin, answer.schema)


@admin_command(app, "update")
async def update(admin: Admin, *, tenant: Tenant, file: File) -> None:
    """Replace the extension that the file's "id" names. Attributes can be added, not removed or given another type."""
    from protos.directory.v1 import directory_pb2 as pb

    body = _read(file)
    request = pb.UpdateSchemaRequest(schema=_parse({"resourceType": Extended.USER, **body}, tenant))
    if "resourceType" not in body:
        # It stays what it is; RFC 7643 section 7 has no place for it.
        request.schema.ClearField("resource_type")
    _show(admin, (await admin.call(admin.api.schemas.UpdateSchema, request)).schema)


@admin_command(app, "delete")
async def delete(admin: Admin, urn: Urn, *, tenant: Tenant) -> None:
    """Delete an extension that no user or group has values of."""
    from protos.directory.v1 import directory_pb2 as pb

    await admin.call(admin.api.schemas.DeleteSchema, pb.DeleteSchemaRequest(tenant_id=tenant, id=urn))
    if admin.as_json:
        print_json({"deleted": urn})
    else:
        typer.echo(f"deleted {urn}")


def _read(file: Path) -> dict[str, Any]:
    """Return the JSON object in ``file``; ValueError if there is none."""
    try:
        body = json.loads(file.read_bytes())
    except OSError as err:
        raise ValueError(f"{file} cannot be read: {err.strerror}") from err
    except ValueError as err:
        raise ValueError(f"{file} is not JSON: {err}") from err
    if not isinstance(body, dict):
        raise ValueError(f"{file} must hold one JSON object")
    return body


def _parse(body: dict[str, Any], tenant: str) -> "pb.Schema":
    """Return the wire form of a schema; ValueError, naming the attribute, if no server could accept it."""
    from control_plane.api import convert_schemas
    from control_plane.scim.errors import ScimError
    from control_plane.scim.schema_definition import check_extension, from_json

    try:
        extension = from_json(body)
        # Not all that JSON can say can be said on the wire, such as writeOnly: the check refuses it.
        check_extension(extension)
    except ScimError as err:
        raise ValueError(err.detail) from err
    wire = convert_schemas.definition(extension)
    wire.tenant_id = tenant
    return wire


def _as_json(schema: "pb.Schema") -> dict[str, Any]:
    from control_plane.api import convert_schemas
    from control_plane.scim.schema_definition import Extension, to_json

    return to_json(Extension(convert_schemas.described(schema), _type(schema)))


def _show(admin: Admin, schema: "pb.Schema") -> None:
    if admin.as_json:
        print_json(_as_json(schema))
        return
    print_fields(
        (
            ("id", schema.id),
            ("name", schema.name),
            ("extends", _type(schema)),
            ("description", schema.description),
            ("created", time_text(schema.create_time)),
            ("updated", time_text(schema.update_time)),
        )
    )
    typer.echo()
    print_table(("ATTRIBUTE", "TYPE", "CHARACTERISTICS"), _rows(_as_json(schema)["attributes"]))


def _rows(attributes: list[dict[str, Any]], within: str = "") -> list[tuple[str, str, str]]:
    """Return a row for each attribute and sub-attribute; of the characteristics only what is not the default."""
    rows = []
    for each in attributes:
        marks = [
            "list" if each["multiValued"] else "",
            "required" if each["required"] else "",
            "case-exact" if each.get("caseExact") else "",
            "" if each["mutability"] == "readWrite" else each["mutability"],
            "" if each["returned"] == "default" else f"returned: {each['returned']}",
            "unique" if each["uniqueness"] == "server" else "",
        ]
        rows.append((within + each["name"], each["type"], ", ".join(mark for mark in marks if mark)))
        rows += _rows(each.get("subAttributes", []), f"{within}{each['name']}.")
    return rows


def _type(schema: "pb.Schema") -> str:
    from protos.directory.v1 import directory_pb2 as pb

    return Extended[pb.ResourceType.Name(schema.resource_type).removeprefix("RESOURCE_TYPE_")]

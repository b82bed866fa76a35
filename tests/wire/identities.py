"""Operators, services and their keys, made as an owner makes them, and a client for whoever holds a token."""

from itertools import count
from typing import Any

import psycopg

from control_plane.client.control_plane import ControlPlane
from protos.identity.v1 import identity_pb2 as pb
from tests.fixtures.control_plane import Plane
from tests.fixtures.postgres import Database

OWNER, OPERATOR, AUDITOR = pb.OPERATOR_ROLE_OWNER, pb.OPERATOR_ROLE_OPERATOR, pb.OPERATOR_ROLE_AUDITOR
_numbers = count(1)


def client(plane: Plane, bearer: str) -> ControlPlane:
    """Return a client that calls with ``bearer``."""
    return ControlPlane(plane.admin.channel, bearer)


async def operator(plane: Plane, role: pb.OperatorRole.ValueType, **fields: object) -> pb.Operator:
    """Make an operator."""
    values = {"email": f"person{next(_numbers)}@example.com", **fields}
    request = pb.CreateOperatorRequest(role=role, **values)  # type: ignore[arg-type]  # test data
    return (await plane.admin.operators.CreateOperator(request, metadata=plane.admin.metadata())).operator


async def key(plane: Plane, **fields: object) -> pb.CreateApiKeyResponse:
    """Make an API key."""
    request = pb.CreateApiKeyRequest(**fields)  # type: ignore[arg-type]  # test data
    return await plane.admin.api_keys.CreateApiKey(request, metadata=plane.admin.metadata())


async def person(plane: Plane, role: pb.OperatorRole.ValueType) -> tuple[pb.Operator, ControlPlane]:
    """Make an operator with a key, and a client for them."""
    made = await operator(plane, role)
    return made, client(plane, (await key(plane, operator_id=made.id)).secret)


async def service(plane: Plane, *scopes: str, tenants: tuple[str, ...] = ()) -> ControlPlane:
    """Make a service's key, and a client for it."""
    return client(plane, (await key(plane, service="billing", scopes=scopes, tenant_ids=tenants)).secret)


async def caller(who: ControlPlane) -> pb.GetCallerResponse:
    """Ask who calls."""
    return await who.operators.GetCaller(pb.GetCallerRequest(), metadata=who.metadata())


async def change(plane: Plane, operator_id: str, **fields: object) -> pb.Operator:
    """Change an operator as an owner does."""
    return await change_as(plane.admin, operator_id, **fields)


async def change_as(who: ControlPlane, operator_id: str, **fields: object) -> pb.Operator:
    """Change an operator; ``None`` clears a field."""
    given = {name: value for name, value in fields.items() if value is not None}
    request = pb.UpdateOperatorRequest(operator=pb.Operator(id=operator_id, **given))  # type: ignore[arg-type]  # as above
    request.update_mask.paths.extend(fields)
    return (await who.operators.UpdateOperator(request, metadata=who.metadata())).operator


async def rows(database: Database, sql: str) -> list[Any]:
    """Return what ``sql`` yields, asked past all policies."""
    async with await psycopg.AsyncConnection.connect(database.superuser_url) as connection:
        return await (await connection.execute(sql.encode())).fetchall()

"""A tenant's custom schemas. There are few (scim.schema_definition.MAX_EXTENSIONS), so a list is all of them."""

from datetime import datetime
from typing import Any, LiteralString

from sqlalchemy import Row, Select, select
from sqlalchemy import delete as remove
from sqlalchemy import insert as insert_into
from sqlalchemy import update as change

from control_plane.domain.errors import NotFound
from control_plane.domain.resources import ResourceType
from control_plane.domain.schemas import CustomSchema
from control_plane.scim.compare import fold
from control_plane.scim.schema_definition import from_json, to_json
from control_plane.storage.engine import Tx
from control_plane.storage.schema import schemas

# Walks resources_by_update, whose always-true condition must be said (0002).
IN_USE: LiteralString = """
    SELECT true FROM resources
    WHERE tenant_id = %(tenant)b AND type = %(type)b::smallint AND version > 0 AND updated_at >= %(since)b::timestamptz
      AND jsonb_exists(document, %(urn)b::text)
    LIMIT 1
"""


async def insert(tx: Tx, schema: CustomSchema) -> None:
    """Store a new schema; the caller has seen that the tenant has none of that URN, with its row locked."""
    await tx.execute(
        insert_into(schemas).values(
            tenant_id=tx.tenant,
            urn=schema.urn,
            urn_key=fold(schema.urn),
            type=int(schema.resource_type),
            created_at=schema.created_at,
            **_settings(schema),
        )
    )


async def get(tx: Tx, urn: str, *, lock: bool = False) -> CustomSchema | None:
    """Return the tenant's schema of this URN in any case, or None. ``lock`` keeps other writers out."""
    query = _own(tx).where(schemas.c.urn_key == fold(urn))
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else _schema(row)


async def list_all(tx: Tx) -> list[CustomSchema]:
    """Return all schemas of the tenant in order of creation."""
    return [_schema(row) for row in await tx.execute(_own(tx).order_by(schemas.c.created_at, schemas.c.urn_key))]


async def update(tx: Tx, schema: CustomSchema) -> None:
    """Store everything of a schema that can change; NotFound if there is none."""
    mine = schemas.c.tenant_id == tx.tenant, schemas.c.urn_key == fold(schema.urn)
    found = await tx.execute(change(schemas).where(*mine).values(**_settings(schema)))
    if found.rowcount == 0:
        raise NotFound("schema", schema.urn)


async def delete(tx: Tx, schema: CustomSchema) -> None:
    """Remove a schema, if it is there."""
    await tx.execute(remove(schemas).where(schemas.c.tenant_id == tx.tenant, schemas.c.urn_key == fold(schema.urn)))


async def is_used(tx: Tx, schema: CustomSchema, since: datetime) -> bool:
    """Tell whether a resource that was written at ``since`` or later has values of the schema.

    Looks into each of these documents, so give ``begin`` a fitting ``timeout_s``.
    """
    params = {"tenant": tx.tenant, "type": int(schema.resource_type), "since": since, "urn": schema.urn}
    return bool(await tx.fetch(IN_USE, params))


def _own(tx: Tx) -> Select[Any]:
    return select(schemas).where(schemas.c.tenant_id == tx.tenant)


def _settings(schema: CustomSchema) -> dict[str, object]:
    definition = schema.extension.schema
    return {
        "name": definition.name,
        "description": definition.description,
        "attributes": to_json(schema.extension)["attributes"],
        "updated_at": schema.updated_at,
    }


def _schema(row: Row[Any]) -> CustomSchema:
    extension = from_json(
        {
            "id": row.urn,
            "name": row.name,
            "description": row.description,
            "resourceType": ResourceType(row.type).scim_name,
            "attributes": row.attributes,
        }
    )
    return CustomSchema(extension, row.created_at, row.updated_at)

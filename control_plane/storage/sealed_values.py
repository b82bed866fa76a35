"""Sealed values wherever they stand: found by the version of the key that sealed them, and replaced in place."""
# ruff: noqa: S608 - composed of the constants in this file and of the names in domain/secrets.py, of nothing else

from collections.abc import Sequence
from typing import LiteralString, NamedTuple
from uuid import UUID

from control_plane.domain.ids import TenantId
from control_plane.domain.secrets import FORM_1, SealedColumn, header
from control_plane.storage.engine import Tx

NIL = UUID(int=0)


class Value(NamedTuple):
    """A sealed value and the id of its row."""

    row: UUID
    sealed: bytes


class Change(NamedTuple):
    """A value, as it was read and as it is to be."""

    row: UUID
    old: bytes
    new: bytes


async def count_others(tx: Tx, where: SealedColumn, version: int) -> int:
    """Return how many values of the tenant are sealed with another version than ``version``, or have form 1."""
    sql: LiteralString = "SELECT count(*)" + _others(where)
    found: int = (await tx.fetch(sql, {"tenant": tx.tenant, "header": header(version)}))[0][0]
    return found


async def others_after(tx: Tx, where: SealedColumn, version: int, after: UUID | None, limit: int) -> list[Value]:
    """Return up to ``limit`` of those values by the id of their row, from the one behind ``after``."""
    sql: LiteralString = (
        f"SELECT {where.row}, {where.column}{_others(where)}"
        f" AND {where.row} > %(after)b::uuid ORDER BY {where.row} LIMIT %(limit)b::bigint"
    )
    params = {"tenant": tx.tenant, "header": header(version), "after": after or NIL, "limit": limit}
    return [Value(*found) for found in await tx.fetch(sql, params)]


async def replace(tx: Tx, where: SealedColumn, changes: Sequence[Change]) -> int:
    """Replace values, but none that somebody has changed since it was read; return how many were replaced."""
    sql: LiteralString = (
        f"UPDATE {where.table} AS t SET {where.column} = given.new"
        " FROM unnest(%(rows)b::uuid[], %(old)b::bytea[], %(new)b::bytea[]) AS given (id, old, new)"
        f" WHERE t.tenant_id = %(tenant)b::uuid AND t.{where.row} = given.id AND t.{where.column} = given.old"
        f" RETURNING t.{where.row}"
    )
    rows, old, new = (list(each) for each in zip(*changes, strict=True))
    return len(await tx.fetch(sql, {"tenant": tx.tenant, "rows": rows, "old": old, "new": new}))


async def with_form_1(tx: Tx, where: SealedColumn, tenants: Sequence[TenantId]) -> list[TenantId]:
    """Return those of ``tenants`` that have values of form 1, which need no data key but a sealing key."""
    sql: LiteralString = (
        f"SELECT DISTINCT tenant_id FROM {where.table} WHERE tenant_id = any(%(tenants)b::uuid[])"
        f" AND substring({where.column} from 1 for 1) = %(form)b::bytea ORDER BY tenant_id"
    )
    return [TenantId(row[0]) for row in await tx.fetch(sql, {"tenants": list(tenants), "form": bytes([FORM_1])})]


def _others(where: SealedColumn) -> LiteralString:
    return (
        f" FROM {where.table} WHERE tenant_id = %(tenant)b::uuid AND {where.column} IS NOT NULL"
        f" AND substring({where.column} from 1 for length(%(header)b::bytea)) <> %(header)b::bytea"
    )

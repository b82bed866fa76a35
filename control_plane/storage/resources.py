"""Users and groups: hot, batch-shaped statements. A caller who means one resource passes a batch of one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, LiteralString

import orjson
from psycopg.errors import UniqueViolation

from control_plane.domain.ids import ResourceId, parse_resource_id
from control_plane.domain.resources import NewResource, ResourceType, StoredResource
from control_plane.scim.compare import fold
from control_plane.scim.errors import InvalidValue, Uniqueness
from control_plane.scim.keys import MAX_KEY_BYTES
from control_plane.storage import resource_sql as statements
from control_plane.storage.engine import Tx
from control_plane.storage.marks import Raised, Written, take_joined, written

__all__ = [
    "MAX_KEY_BYTES",
    "Page",
    "Raised",
    "Written",
    "delete",
    "delete_locked",
    "find",
    "get",
    "get_for_delete",
    "insert",
    "lock_users",
    "page",
    "refuse_long",
    "touch",
    "update",
]


@dataclass(frozen=True, slots=True)
class Page:
    """Some of ``total`` matching resources, in order of creation."""

    total: int
    resources: tuple[StoredResource, ...]


async def insert(tx: Tx, rows: Sequence[NewResource]) -> Written:
    """Store new resources, count them and mark them as wanted in every target of the tenant.

    One whose userName (or id) is taken is missing from ``Written.ids``; the others are stored, with their keys.
    """
    found = await tx.fetch(statements.INSERT, {"tenant": tx.tenant, "slot": tx.slot, **_columns(rows)})
    result = written(tx.tenant, found)
    tx.made |= result.ids
    return result


async def get(
    tx: Tx, resource_type: ResourceType, ids: Iterable[ResourceId], *, lock: bool = False
) -> dict[ResourceId, StoredResource]:
    """Return those of ``ids`` that exist with this type; ``lock`` keeps other writers out until the end of ``tx``."""
    sql: LiteralString = statements.GET_LOCKED if lock else statements.GET
    rows = await tx.fetch(sql, {"tenant": tx.tenant, "type": int(resource_type), "ids": list(ids)})
    return {row[0]: stored(row) for row in rows}


async def lock_users(
    tx: Tx, ids: Iterable[ResourceId]
) -> tuple[dict[ResourceId, StoredResource], dict[ResourceId, bytes | None]]:
    """Return users as ``get(..., lock=True)`` does, and their keys as ``audit_subjects.read`` does."""
    rows = await tx.fetch(statements.GET_USERS_LOCKED, {"tenant": tx.tenant, "ids": list(ids)})
    return {row[0]: stored(row[:-1]) for row in rows}, {row[0]: row[-1][0] for row in rows if row[-1] is not None}


async def update(tx: Tx, rows: Sequence[NewResource]) -> Written:
    """Replace what is stored of each with its keys, raise its version and mark it in every target.

    Lock them first, in an earlier statement: one that waits for the lock knows only the keys from before its wait.
    Uniqueness if another user has the userName: nothing is written, the transaction is lost.
    """
    params = {"tenant": tx.tenant, "at": _latest(rows), "joined": take_joined(tx), **_columns(rows)}
    try:
        found = await tx.fetch(statements.UPDATE, params)
    except UniqueViolation:
        # resources_user_name is the only unique value that an update can touch.
        raise Uniqueness("userName is already in use") from None
    return written(tx.tenant, found)


async def touch(tx: Tx, ids: Iterable[ResourceId], at: datetime) -> Written:
    """Raise the version of each and mark it in every target: for groups whose members changed."""
    params = {"tenant": tx.tenant, "ids": list(ids), "at": at, "joined": take_joined(tx)}
    return written(tx.tenant, await tx.fetch(statements.TOUCH, params))


async def get_for_delete(tx: Tx, ids: Iterable[ResourceId]) -> dict[ResourceId, StoredResource]:
    """Return those of ``ids`` that exist, of either type, locked for their deletion together with their groups.

    Who deletes resources reads them with this, not with ``get(..., lock=True)``: groups may hold each other.
    """
    rows = await tx.fetch(statements.LOCK_FOR_DELETE, {"tenant": tx.tenant, "ids": list(ids)})
    return {row[0]: stored(row) for row in rows}


async def delete_locked(tx: Tx, ids: Iterable[ResourceId], at: datetime) -> Written:
    """Delete resources of any type with their memberships and keys, and mark that they must go from every target.

    ``ids`` are some of those that ONE call of ``get_for_delete`` in this transaction returned. Each group that held one
    rises in version and is marked as well. ``Written.ids`` are the deleted ones.
    """
    params = {"tenant": tx.tenant, "slot": tx.slot, "ids": list(ids), "at": at}
    rows = await tx.fetch(statements.DELETE, params) if params["ids"] else []
    deleted = frozenset(ResourceId(row[0]) for row in rows if row[4])
    return Written(deleted, written(tx.tenant, (row[:4] for row in rows)).raised)


async def delete(tx: Tx, resource_type: ResourceType, ids: Iterable[ResourceId], at: datetime) -> Written:
    """Lock and delete those of ``ids`` that exist with this type, as :func:`delete_locked`."""
    found = await get_for_delete(tx, ids)
    return await delete_locked(tx, [one.id for one in found.values() if one.type is resource_type], at)


async def find(
    tx: Tx,
    resource_type: ResourceType,
    attribute: Literal["id", "userName", "externalId", "displayName"],
    value: str,
    start: int,
    count: int,
) -> Page:
    """Return the resources whose attribute equals ``value``: at most ``count``, from position ``start`` (1 = first).

    userName and displayName compare folded, externalId and id exactly.
    """
    params: dict[str, object] = {
        "tenant": tx.tenant,
        "type": int(resource_type),
        "skip": max(start - 1, 0),
        "count": count,
    }
    match attribute:
        case "id":
            wanted = parse_resource_id(value)
            return _single(await get(tx, resource_type, [wanted]) if wanted else {}, start, count)
        case "userName":
            if resource_type is not ResourceType.USER:
                return Page(0, ())
            rows = await tx.fetch(statements.FIND_USER_NAME, {"tenant": tx.tenant, "value": fold(value)})
            return _single({row[0]: stored(row) for row in rows}, start, count)
        case "externalId":
            return _page(await tx.fetch(statements.FIND_EXTERNAL_ID, {**params, "value": value}))
        case "displayName":
            return _page(await tx.fetch(statements.FIND_DISPLAY_NAME, {**params, "value": fold(value)}))


async def page(tx: Tx, resource_type: ResourceType, start: int, count: int) -> Page:
    """Return at most ``count`` resources in order of creation, from position ``start`` (1 = first)."""
    params: dict[str, object] = {"tenant": tx.tenant, "type": int(resource_type), "count": count}
    if start <= 1:
        return _page(await tx.fetch(statements.FIRST_PAGE, params))
    return _page(await tx.fetch(statements.LATER_PAGE, {**params, "skip": start - 1}))


def refuse_long(row: NewResource) -> None:
    """Raise InvalidValue for a key that no index can hold, beside the tenant: it could not be found again."""
    columns = (
        ("userName", _folded(row.user_name)),
        ("externalId", row.external_id),
        ("displayName", _folded(row.display_name)),
    )
    for attribute, key in (*columns, *row.keys):
        if key is not None and len(key.encode()) > MAX_KEY_BYTES:
            raise InvalidValue(f"{attribute} is longer than {MAX_KEY_BYTES} bytes")


def stored(row: Sequence[Any]) -> StoredResource:
    """Return the resource of a row of ``statements.COLUMNS``."""
    return StoredResource(row[0], ResourceType(row[1]), *row[2:])


def _page(rows: list[tuple[Any, ...]]) -> Page:
    # An empty page has one row, with the total and no resource.
    return Page(rows[0][0], tuple(stored(row[1:]) for row in rows if row[1] is not None))


def _single(found: dict[ResourceId, StoredResource], start: int, count: int) -> Page:
    visible = found.values() if start <= 1 and count > 0 else ()
    return Page(len(found), tuple(visible))


def _columns(rows: Sequence[NewResource]) -> dict[str, object]:
    # In one order in every transaction, so that two batches with the same new names do not deadlock.
    rows = sorted(rows, key=lambda row: (fold(row.user_name or ""), row.id))
    for row in rows:
        refuse_long(row)
    keys = [(row.id, attribute, key) for row in rows for attribute, key in row.keys]
    return {
        "ids": [row.id for row in rows],
        "types": [int(row.type) for row in rows],
        "user_names": [row.user_name for row in rows],
        "user_name_keys": [_folded(row.user_name) for row in rows],
        "external_ids": [row.external_id for row in rows],
        "display_names": [row.display_name for row in rows],
        "display_name_keys": [_folded(row.display_name) for row in rows],
        "actives": [row.active for row in rows],
        "ats": [row.at for row in rows],
        "documents": [orjson.dumps(row.document).decode() for row in rows],
        "key_ids": [one for one, _, _ in keys],
        "key_attributes": [attribute for _, attribute, _ in keys],
        "key_values": [key for _, _, key in keys],
    }


def _folded(value: str | None) -> str | None:
    return None if value is None else fold(value)


def _latest(rows: Sequence[NewResource]) -> datetime:
    return max(row.at for row in rows)

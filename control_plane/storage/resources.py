"""Users and groups: hot, batch-shaped statements. A caller who means one resource passes a batch of one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, LiteralString
from uuid import UUID

import orjson
from psycopg.errors import UniqueViolation

from control_plane.domain.ids import ResourceId
from control_plane.domain.resources import NewResource, ResourceType, StoredResource, fold
from control_plane.scim.errors import InvalidValue, Uniqueness
from control_plane.storage import resource_sql as statements
from control_plane.storage.engine import Tx
from control_plane.storage.marks import Raised, Written, take_joined, written

__all__ = ["Page", "Raised", "Written", "delete", "find", "get", "insert", "page", "touch", "update"]

# What an index can hold, with room for the tenant beside it. More is refused, for it could not be found again.
MAX_KEY_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Page:
    """Some of ``total`` matching resources, in order of creation."""

    total: int
    resources: tuple[StoredResource, ...]


async def insert(tx: Tx, rows: Sequence[NewResource]) -> Written:
    """Store new resources, count them and mark them as wanted in every target of the tenant.

    One whose userName (or id) is taken is missing from ``Written.ids``; the others are stored.
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


async def update(tx: Tx, rows: Sequence[NewResource]) -> Written:
    """Replace what is stored of each, raise its version and mark it in every target; lock it first.

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


async def delete(tx: Tx, resource_type: ResourceType, ids: Iterable[ResourceId], at: datetime) -> Written:
    """Delete resources with their memberships, and mark that they must go from every target.

    Each group that held one rises in version and is marked as well. ``Written.ids`` are the deleted ones.
    """
    wanted = {"tenant": tx.tenant, "type": int(resource_type), "ids": list(ids)}
    existing = [row[0] for row in await tx.fetch(statements.LOCK_FOR_DELETE, wanted)]
    if not existing:
        return Written(frozenset(), ())
    rows = await tx.fetch(statements.DELETE, {"tenant": tx.tenant, "slot": tx.slot, "ids": existing, "at": at})
    return Written(frozenset(existing), written(tx.tenant, (row[:4] for row in rows)).raised)


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
            wanted = _uuid(value)
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


def stored(row: Sequence[Any]) -> StoredResource:
    """Return the resource of a row of ``statements.COLUMNS``."""
    return StoredResource(row[0], ResourceType(row[1]), *row[2:])


def _page(rows: list[tuple[Any, ...]]) -> Page:
    # An empty page has one row, with the total and no resource.
    return Page(rows[0][0], tuple(stored(row[1:]) for row in rows if row[1] is not None))


def _single(found: dict[ResourceId, StoredResource], start: int, count: int) -> Page:
    visible = found.values() if start <= 1 and count > 0 else ()
    return Page(len(found), tuple(visible))


def _uuid(text: str) -> ResourceId | None:
    try:
        wanted = UUID(text)
    except ValueError:
        return None
    # UUID() also takes braces and missing hyphens; an id is caseExact (RFC 7643 section 3.1).
    return ResourceId(wanted) if str(wanted) == text else None


def _columns(rows: Sequence[NewResource]) -> dict[str, object]:
    # In one order in every transaction, so that two batches with the same new names do not deadlock.
    rows = sorted(rows, key=lambda row: (fold(row.user_name or ""), row.id))
    return {
        "ids": [row.id for row in rows],
        "types": [int(row.type) for row in rows],
        "user_names": [row.user_name for row in rows],
        "user_name_keys": [_key("userName", row.user_name) for row in rows],
        "external_ids": [_limited("externalId", row.external_id) for row in rows],
        "display_names": [row.display_name for row in rows],
        "display_name_keys": [_key("displayName", row.display_name) for row in rows],
        "actives": [row.active for row in rows],
        "ats": [row.at for row in rows],
        "documents": [orjson.dumps(row.document).decode() for row in rows],
    }


def _key(attribute: str, value: str | None) -> str | None:
    return None if value is None else _limited(attribute, fold(value))


def _limited(attribute: str, value: str | None) -> str | None:
    if value is not None and len(value.encode()) > MAX_KEY_BYTES:
        raise InvalidValue(f"{attribute} is longer than {MAX_KEY_BYTES} bytes")
    return value


def _latest(rows: Sequence[NewResource]) -> datetime:
    return max(row.at for row in rows)

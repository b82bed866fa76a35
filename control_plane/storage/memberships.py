"""Who is in which group: a join table, changed by set operations and rendered to JSON by the database.

Lock the group (``resources.get(..., lock=True)``) before changing its members, and ``update`` or ``touch`` it
afterwards: that also locks the newcomers' marks (``marks.py``). A group made in the same transaction needs neither.
"""
# ruff: noqa: S608 - composed of the constants in this file, of nothing else

from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID

import orjson

from control_plane.domain.ids import ResourceId
from control_plane.domain.resources import INLINE_MEMBERS
from control_plane.storage.engine import Tx
from control_plane.storage.marks import hold_joined

STREAM_ROWS = 2000

# Only newcomers are looked up and locked: with the lock, one that is being deleted just now counts as unknown instead
# of breaking the foreign key.
GIVEN: LiteralString = """
    WITH given AS MATERIALIZED (
        SELECT DISTINCT id FROM unnest(%(ids)b::uuid[]) AS g (id)
    ), kept AS MATERIALIZED (
        SELECT g.id FROM given g
        JOIN memberships m ON m.group_id = %(group)b::uuid AND m.member_id = g.id AND m.tenant_id = %(tenant)b::uuid
    ), fresh AS MATERIALIZED (
        SELECT id FROM resources
        WHERE id IN (SELECT id FROM given EXCEPT SELECT id FROM kept)
          AND tenant_id = %(tenant)b::uuid AND id <> %(group)b::uuid
        ORDER BY id FOR KEY SHARE
    ), added AS (
        INSERT INTO memberships (tenant_id, group_id, member_id)
        SELECT %(tenant)b::uuid, %(group)b::uuid, id FROM fresh
        ON CONFLICT DO NOTHING
        RETURNING member_id
    )
"""
UNKNOWN: LiteralString = "ARRAY(SELECT id FROM given EXCEPT SELECT id FROM kept EXCEPT SELECT id FROM fresh ORDER BY 1)"
ADDED: LiteralString = "ARRAY(SELECT member_id FROM added)"
ADD: LiteralString = GIVEN + " SELECT " + ADDED + ", 0::bigint, " + UNKNOWN
REPLACE: LiteralString = (
    GIVEN
    + """, gone AS (
        DELETE FROM memberships m
        WHERE m.group_id = %(group)b::uuid AND m.tenant_id = %(tenant)b::uuid
          AND NOT EXISTS (SELECT FROM given g WHERE g.id = m.member_id)
        RETURNING m.member_id
    )
    SELECT """
    + ADDED
    + ", (SELECT count(*) FROM gone), "
    + UNKNOWN
)
REMOVE: LiteralString = """
    WITH gone AS (
        DELETE FROM memberships
        WHERE group_id = %(group)b::uuid AND member_id = any(%(ids)b::uuid[]) AND tenant_id = %(tenant)b::uuid
        RETURNING member_id
    ) SELECT count(*) FROM gone
"""
CLEAR: LiteralString = """
    WITH gone AS (
        DELETE FROM memberships WHERE group_id = %(group)b::uuid AND tenant_id = %(tenant)b::uuid RETURNING member_id
    ) SELECT count(*) FROM gone
"""
# Plain text, put together by hand: json_build_object takes three times as long (performance.md, section 4).
MEMBER: LiteralString = """
    '{"value":"' || m.member_id
    || CASE r.type WHEN 1 THEN '","type":"User"' ELSE '","type":"Group"' END
    || coalesce(',"display":' || to_json(r.display_name)::text, '')
    || CASE WHEN %(base)b::text = '' THEN '' ELSE
        ',"$ref":"' || %(base)b::text || CASE r.type WHEN 1 THEN '/Users/' ELSE '/Groups/' END || m.member_id || '"'
       END
    || '}'
"""
MEMBERS_OF: LiteralString = """
    FROM memberships m JOIN resources r ON r.id = m.member_id AND r.tenant_id = m.tenant_id
    WHERE m.tenant_id = %(tenant)b::uuid AND m.group_id =
"""
RENDER: LiteralString = (
    """
    SELECT g.id, c.total, j.members
    FROM unnest(%(groups)b::uuid[]) AS g (id)
    CROSS JOIN LATERAL (
        SELECT count(*) AS total FROM memberships m WHERE m.group_id = g.id AND m.tenant_id = %(tenant)b::uuid
    ) c
    LEFT JOIN LATERAL (SELECT '[' || string_agg("""
    + MEMBER
    + ", ',' ORDER BY m.member_id) || ']' AS members "
    + MEMBERS_OF
    + " g.id AND c.total <= %(limit)b::bigint) j ON true"
)
STREAM: LiteralString = "SELECT " + MEMBER + MEMBERS_OF + " %(group)b::uuid ORDER BY m.member_id"


@dataclass(frozen=True, slots=True)
class MemberWrite:
    """How many memberships came or went, and which of the given ids name nothing that can be a member."""

    changed: int
    unknown: tuple[str | ResourceId, ...]


async def add(tx: Tx, group: ResourceId, ids: Iterable[str | ResourceId]) -> MemberWrite:
    """Add members. Unknown: not a resource of this tenant, or the group itself; the others are added."""
    return await _write(tx, ADD, group, ids)


async def replace(tx: Tx, group: ResourceId, ids: Iterable[str | ResourceId]) -> MemberWrite:
    """Make ``ids`` the group's only members, writing nothing but the difference."""
    return await _write(tx, REPLACE, group, ids)


async def remove(tx: Tx, group: ResourceId, ids: Iterable[str | ResourceId]) -> MemberWrite:
    """Remove members; one that is none is no change, and is not called unknown."""
    parsed, _ = _parsed(ids)
    rows = await tx.fetch(REMOVE, {"tenant": tx.tenant, "group": group, "ids": list(parsed)})
    return MemberWrite(rows[0][0], ())


async def clear(tx: Tx, group: ResourceId) -> MemberWrite:
    """Remove every member."""
    rows = await tx.fetch(CLEAR, {"tenant": tx.tenant, "group": group})
    return MemberWrite(rows[0][0], ())


async def render(
    tx: Tx, groups: Sequence[ResourceId], reference_base: str, limit: int = INLINE_MEMBERS
) -> dict[ResourceId, tuple[str, int]]:
    """Return, for each group, its members as JSON array text in order of their id, and how many they are.

    The text is "" for a group without members, and for one with more than ``limit``. ``reference_base`` is the URL
    before "/Users" and "/Groups" in ``$ref``; "" leaves ``$ref`` out.
    """
    params = {"tenant": tx.tenant, "groups": list(groups), "base": _escaped(reference_base), "limit": limit}
    return {ResourceId(row[0]): (row[2] or "", row[1]) for row in await tx.fetch(RENDER, params)}


async def stream(
    tx: Tx, group: ResourceId, reference_base: str, chunk_bytes: int = 262_144
) -> AsyncGenerator[str, None]:
    """Yield the members' JSON objects, joined by commas, in pieces of about ``chunk_bytes``, from one snapshot.

    No comma stands between one piece and the next.
    """
    params = {"tenant": tx.tenant, "group": group, "base": _escaped(reference_base)}
    waiting: list[str] = []
    size = 0
    async for rows in tx.stream(STREAM, params, STREAM_ROWS):
        for (member,) in rows:
            if waiting and size + len(member) >= chunk_bytes:
                yield ",".join(waiting)
                waiting, size = [], 0
            waiting.append(member)
            size += len(member.encode()) + 1
    if waiting:
        yield ",".join(waiting)


async def _write(tx: Tx, sql: LiteralString, group: ResourceId, ids: Iterable[str | ResourceId]) -> MemberWrite:
    parsed, malformed = _parsed(ids)
    rows = await tx.fetch(sql, {"tenant": tx.tenant, "group": group, "ids": list(parsed)})
    added, gone, unknown = rows[0]
    tx.joined.update(added)
    if added and group in tx.made:
        await hold_joined(tx)
    return MemberWrite(len(added) + gone, (*malformed, *(parsed[ResourceId(one)] for one in unknown)))


def _parsed(ids: Iterable[str | ResourceId]) -> tuple[dict[ResourceId, str | ResourceId], list[str | ResourceId]]:
    """Return the well-formed ids with the form they were given in, and the rest."""
    parsed: dict[ResourceId, str | ResourceId] = {}
    malformed: list[str | ResourceId] = []
    for one in ids:
        try:
            parsed[ResourceId(UUID(one) if isinstance(one, str) else one)] = one
        except ValueError:
            malformed.append(one)
    return parsed, malformed


def _escaped(text: str) -> str:
    """Return ``text`` as it stands between the quotes of a JSON string."""
    return orjson.dumps(text).decode()[1:-1]

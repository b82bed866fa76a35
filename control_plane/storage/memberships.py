"""Who is in which group: a join table, changed by set operations and rendered to JSON by the database.

Lock the group (``resources.get(..., lock=True)``) before changing its members, and ``update`` or ``touch`` it
afterwards: that also locks the newcomers' marks (``marks.py``). A group made in the same transaction needs neither.
Lock all the groups of a transaction before the first change. Adding, and showing how many they are, costs as much in
a group of 100,000 as in one of ten.
"""
# ruff: noqa: S608 - composed of the constants in this file, of nothing else

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import LiteralString

import orjson

from control_plane.domain.ids import ResourceId, parse_resource_id
from control_plane.domain.resources import INLINE_MEMBERS
from control_plane.scim.errors import TooMany
from control_plane.scim.limits import (
    INLINE_GROUPS,
    INLINE_GROUPS_BYTES,
    INLINE_MEMBERS_BYTES,
    PAGE_GROUPS,
    PAGE_GROUPS_BYTES,
)
from control_plane.storage.engine import Tx
from control_plane.storage.marks import hold_joined

STREAM_ROWS = 2000

# Only newcomers are looked up and locked: with the lock, one that is being deleted just now counts as unknown instead
# of breaking the foreign key. Each is looked up by itself (OFFSET 0 forbids a join): a plan made for all values expects
# few members in the group, and would read it whole. Sets are arrays, or hashed IN under COALESCE: no plan can turn
# that into a nested loop because it expects a small group.
GIVEN: LiteralString = """
    WITH given AS MATERIALIZED (
        SELECT DISTINCT id FROM unnest(%(ids)b::uuid[]) AS g (id)
    ), kept AS MATERIALIZED (
        SELECT g.id FROM given g
        CROSS JOIN LATERAL (
            SELECT FROM memberships m
            WHERE m.group_id = %(group)b::uuid AND m.member_id = g.id AND m.tenant_id = %(tenant)b::uuid OFFSET 0
        ) m
    ), fresh AS MATERIALIZED (
        SELECT id FROM resources
        WHERE id = any(ARRAY(SELECT id FROM given EXCEPT SELECT id FROM kept))
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
          AND NOT coalesce(m.member_id IN (SELECT id FROM given), false)
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
# For many groups that this transaction made: nobody else knows them, so none has members yet.
FILL: LiteralString = """
    WITH given AS MATERIALIZED (
        SELECT DISTINCT group_id, id FROM unnest(%(groups)b::uuid[], %(ids)b::uuid[]) AS g (group_id, id)
    ), fresh AS MATERIALIZED (
        SELECT id FROM resources
        WHERE id = any(%(ids)b::uuid[]) AND tenant_id = %(tenant)b::uuid
        ORDER BY id FOR KEY SHARE
    ), added AS (
        INSERT INTO memberships (tenant_id, group_id, member_id)
        SELECT %(tenant)b::uuid, g.group_id, g.id FROM given g
        WHERE coalesce(g.id IN (SELECT id FROM fresh), false) AND g.id <> g.group_id
        ON CONFLICT DO NOTHING
        RETURNING group_id, member_id
    )
    SELECT g.group_id, g.id, a.member_id IS NOT NULL
    FROM given g LEFT JOIN added a ON a.group_id = g.group_id AND a.member_id = g.id
    ORDER BY 1, 2
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
# Counts one further than the limit: enough to know that it is exceeded. The limit is a subquery, so that no plan relies
# on its value: one that expects the limit to let all members through may collect them all before it counts (a bitmap).
# Whose text is too long counts as having too many. Each member is looked up by itself: beside one huge group, a plan
# for a group of average size would read everybody to show ten.
RENDER: LiteralString = (
    """
    SELECT g.id,
           CASE WHEN octet_length(j.members) > %(bytes)b::bigint THEN %(limit)b::bigint + 1 ELSE c.total END,
           CASE WHEN octet_length(j.members) <= %(bytes)b::bigint THEN j.members END
    FROM unnest(%(groups)b::uuid[]) AS g (id)
    CROSS JOIN LATERAL (
        SELECT count(*) AS total FROM (
            SELECT FROM memberships m WHERE m.group_id = g.id AND m.tenant_id = %(tenant)b::uuid
            ORDER BY m.member_id LIMIT (SELECT %(limit)b::bigint + 1)
        ) m
    ) c
    LEFT JOIN LATERAL (SELECT '[' || string_agg("""
    + MEMBER
    + """, ',' ORDER BY m.member_id) || ']' AS members
        FROM (
            SELECT m.member_id FROM memberships m
            WHERE m.group_id = g.id AND m.tenant_id = %(tenant)b::uuid AND c.total <= %(limit)b::bigint
            ORDER BY m.member_id LIMIT (SELECT %(limit)b::bigint)
        ) m
        CROSS JOIN LATERAL (
            SELECT r.type, r.display_name FROM resources r
            WHERE r.id = m.member_id AND r.tenant_id = %(tenant)b::uuid OFFSET 0
        ) r
    ) j ON true
    """
)
# A user's groups, and the groups that hold those: upwards, by index probes alone (OFFSET 0 forbids joins, which may
# read the memberships of everybody). UNION ends the walk where groups hold each other in a circle. It comes to direct
# groups first, and goes no further than a page may: one that goes beyond is not shown, unless it is of one user alone.
GROUPS_OF: LiteralString = """
    WITH RECURSIVE held (user_id, group_id, is_direct) AS (
        SELECT u.id, m.group_id, true
        FROM unnest(%(users)b::uuid[]) AS u (id)
        CROSS JOIN LATERAL (
            SELECT group_id FROM memberships m WHERE m.member_id = u.id AND m.tenant_id = %(tenant)b::uuid OFFSET 0
        ) m
        UNION
        SELECT h.user_id, m.group_id, false
        FROM held h
        CROSS JOIN LATERAL (
            SELECT group_id FROM memberships m
            WHERE m.member_id = h.group_id AND m.tenant_id = %(tenant)b::uuid OFFSET 0
        ) m
    ), walked AS MATERIALIZED (
        SELECT user_id, group_id, is_direct FROM held LIMIT (SELECT %(page)b::bigint + 1)
    ), walk AS MATERIALIZED (
        SELECT count(*) > %(page)b::bigint AND cardinality(%(users)b::uuid[]) > 1 AS is_over FROM walked
    ), placed AS (
        SELECT user_id, group_id, is_direct,
               row_number() OVER (PARTITION BY user_id ORDER BY is_direct DESC, group_id) AS place
        FROM (SELECT user_id, group_id, bool_or(is_direct) AS is_direct FROM walked GROUP BY 1, 2) h
        WHERE NOT (SELECT is_over FROM walk)
    )
"""
GROUP: LiteralString = """
    '{"value":"' || p.group_id || '"'
    || CASE WHEN %(base)b::text = '' THEN '' ELSE ',"$ref":"' || %(base)b::text || '/Groups/' || p.group_id || '"' END
    || coalesce(',"display":' || to_json(r.display_name)::text, '')
    || CASE WHEN p.is_direct THEN ',"type":"direct"}' ELSE ',"type":"indirect"}' END
"""
# "size": with a comma or the closing bracket behind each object; the opening bracket is the reason for "less than".
RENDER_GROUPS: LiteralString = (
    GROUPS_OF
    + """, shown AS MATERIALIZED (
        SELECT user_id, place, item FROM (
            SELECT p.user_id, p.place, r.item,
                   sum(octet_length(r.item) + 1) OVER (PARTITION BY p.user_id ORDER BY p.place ROWS UNBOUNDED PRECEDING)
                       AS size
            FROM placed p
            CROSS JOIN LATERAL (
                SELECT """
    + GROUP
    + """ AS item
                FROM resources r WHERE r.id = p.group_id AND r.tenant_id = %(tenant)b::uuid OFFSET 0
            ) r
            WHERE p.place <= %(limit)b::bigint
        ) s WHERE size < %(bytes)b::bigint
    ), page AS MATERIALIZED (
        SELECT (SELECT is_over FROM walk) OR coalesce(sum(octet_length(item)), 0) > %(page_bytes)b::bigint AS is_over
        FROM shown
    )
    SELECT p.is_over, s.user_id, '[' || string_agg(s.item, ',' ORDER BY s.place) || ']'
    FROM page p LEFT JOIN shown s ON NOT p.is_over
    GROUP BY 1, 2
    """
)
STREAM: LiteralString = (
    "SELECT "
    + MEMBER
    + """
    FROM memberships m JOIN resources r ON r.id = m.member_id AND r.tenant_id = m.tenant_id
    WHERE m.tenant_id = %(tenant)b::uuid AND m.group_id = %(group)b::uuid ORDER BY m.member_id
    """
)


@dataclass(frozen=True, slots=True)
class MemberLimits:
    """Up to how many members, and how many bytes of JSON, a group shows them inside."""

    count: int = INLINE_MEMBERS
    size_bytes: int = INLINE_MEMBERS_BYTES


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """How many groups, and how many bytes of JSON, one user shows at most; and all users of a page together."""

    count: int = INLINE_GROUPS
    size_bytes: int = INLINE_GROUPS_BYTES
    page_count: int = PAGE_GROUPS
    page_bytes: int = PAGE_GROUPS_BYTES


INLINE_MEMBER_LIMITS, INLINE_GROUP_LIMITS = MemberLimits(), GroupLimits()


@dataclass(frozen=True, slots=True)
class MemberWrite:
    """How many memberships came or went, and which of the given ids name nothing that can be a member.

    ``removed`` of the changed ones went.
    """

    changed: int
    unknown: tuple[str | ResourceId, ...]
    removed: int = 0


async def add(tx: Tx, group: ResourceId, ids: Iterable[str | ResourceId]) -> MemberWrite:
    """Add members. Unknown: not a resource of this tenant, or the group itself; the others are added."""
    return await _write(tx, ADD, group, ids)


async def fill(tx: Tx, members: Mapping[ResourceId, Iterable[str | ResourceId]]) -> dict[ResourceId, MemberWrite]:
    """Give groups that this transaction made their members, all in one statement. Unknown: as in :func:`add`.

    One statement also for the sake of locks: two batches that fill groups one by one, with the same people, deadlock.
    """
    parsed = {group: _parsed(ids) for group, ids in members.items()}
    pairs = [(group, one) for group, (known, _) in parsed.items() for one in known]
    params = {"tenant": tx.tenant, "groups": [group for group, _ in pairs], "ids": [one for _, one in pairs]}
    unknown: dict[ResourceId, list[str | ResourceId]] = {group: malformed for group, (_, malformed) in parsed.items()}
    changed = dict.fromkeys(members, 0)
    for group, one, is_added in await tx.fetch(FILL, params) if pairs else ():
        if is_added:
            changed[group] += 1
            tx.joined.add(one)
        else:
            unknown[group].append(parsed[group][0][one])
    if tx.joined:
        await hold_joined(tx)
    return {group: MemberWrite(changed[group], tuple(unknown[group])) for group in members}


async def replace(tx: Tx, group: ResourceId, ids: Iterable[str | ResourceId]) -> MemberWrite:
    """Make ``ids`` the group's only members, writing nothing but the difference."""
    return await _write(tx, REPLACE, group, ids)


async def remove(tx: Tx, group: ResourceId, ids: Iterable[str | ResourceId]) -> MemberWrite:
    """Remove members; one that is none is no change, and is not called unknown."""
    parsed, _ = _parsed(ids)
    rows = await tx.fetch(REMOVE, {"tenant": tx.tenant, "group": group, "ids": list(parsed)})
    return MemberWrite(rows[0][0], (), rows[0][0])


async def clear(tx: Tx, group: ResourceId) -> MemberWrite:
    """Remove every member."""
    rows = await tx.fetch(CLEAR, {"tenant": tx.tenant, "group": group})
    return MemberWrite(rows[0][0], (), rows[0][0])


async def render(
    tx: Tx, groups: Sequence[ResourceId], reference_base: str, limits: MemberLimits = INLINE_MEMBER_LIMITS
) -> dict[ResourceId, tuple[str, int]]:
    """Return, for each group, its members as JSON array text in order of their id, and how many they are.

    The text is "" for a group without members, and for one with more than ``limits`` allow: for that one the number
    is ``limits.count + 1``, nobody counts further. ``reference_base`` is the URL before "/Users" and "/Groups" in
    ``$ref``; "" leaves ``$ref`` out.
    """
    params = {
        "tenant": tx.tenant,
        "groups": list(groups),
        "base": _escaped(reference_base),
        "limit": limits.count,
        "bytes": limits.size_bytes,
    }
    return {ResourceId(row[0]): (row[2] or "", row[1]) for row in await tx.fetch(RENDER, params)}


async def render_groups(
    tx: Tx, users: Sequence[ResourceId], reference_base: str, limits: GroupLimits = INLINE_GROUP_LIMITS
) -> dict[ResourceId, str]:
    """Return, for each user, the groups it is in as JSON array text; "" for a user in no group.

    Direct ones first, then those that hold them, at any depth; each in order of their id. What is beyond ``limits`` is
    left out. TooMany if several users are beyond those of a page; one alone never is.
    """
    params = {
        "tenant": tx.tenant,
        "users": list(users),
        "base": _escaped(reference_base),
        "limit": limits.count,
        "bytes": limits.size_bytes,
        "page": limits.page_count,
        "page_bytes": limits.page_bytes,
    }
    rows = await tx.fetch(RENDER_GROUPS, params)
    if rows[0][0]:
        raise TooMany(
            "the users of this page are in more groups than one page can show: "
            "ask for fewer users with count, or without their groups with excludedAttributes=groups"
        )
    return dict.fromkeys(users, "") | {ResourceId(row[1]): row[2] for row in rows if row[1] is not None}


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
    not_found = (*malformed, *(parsed[ResourceId(one)] for one in unknown))
    return MemberWrite(len(added) + gone, not_found, gone)


def _parsed(ids: Iterable[str | ResourceId]) -> tuple[dict[ResourceId, str | ResourceId], list[str | ResourceId]]:
    """Return the well-formed ids with the form they were given in, and the rest: another spelling is another id."""
    parsed: dict[ResourceId, str | ResourceId] = {}
    malformed: list[str | ResourceId] = []
    for one in ids:
        found = parse_resource_id(one) if isinstance(one, str) else one
        if found is None:
            malformed.append(one)
        else:
            parsed[found] = one
    return parsed, malformed


def _escaped(text: str) -> str:
    """Return ``text`` as it stands between the quotes of a JSON string."""
    return orjson.dumps(text).decode()[1:-1]

"""The statements of ``resources.py``: literal SQL, prepared once for each connection, with lists in binary form."""
# ruff: noqa: S608 - composed of the constants in this file and in marks.py, of nothing else

from typing import LiteralString

from control_plane.storage.marks import RAISE_CHANGED

COLUMNS: LiteralString = """
    r.id, r.type, r.version, r.user_name, r.external_id, r.display_name, r.active, r.created_at, r.updated_at,
    r.document::text
"""
INPUT: LiteralString = """
    input AS (
        SELECT * FROM unnest(
            %(ids)b::uuid[], %(types)b::smallint[], %(user_names)b::text[], %(user_name_keys)b::text[],
            %(external_ids)b::text[], %(display_names)b::text[], %(display_name_keys)b::text[], %(actives)b::boolean[],
            %(ats)b::timestamptz[], %(documents)b::text[]
        ) AS i (id, type, user_name, user_name_key, external_id, display_name, display_name_key, active, at, document)
    )
"""
INSERT = (
    "WITH "
    + INPUT
    + """, changed AS (
        INSERT INTO resources (id, tenant_id, type, version, user_name, user_name_key, external_id, display_name,
                               display_name_key, active, created_at, updated_at, document)
        SELECT id, %(tenant)b::uuid, type, 1, user_name, user_name_key, external_id, display_name, display_name_key,
               active, at, at, document::jsonb
        FROM input
        ON CONFLICT DO NOTHING
        RETURNING id, type, created_at
    ), counted AS (
        INSERT INTO counters AS c (tenant_id, type, slot, count)
        SELECT %(tenant)b::uuid, type, %(slot)b::smallint, count(*) FROM changed GROUP BY type
        ON CONFLICT (tenant_id, type, slot) DO UPDATE SET count = c.count + excluded.count
    ), raised AS (
        INSERT INTO provisioning (tenant_id, target_id, resource_id, type, desired_version, dirty_since)
        SELECT %(tenant)b::uuid, t.id, c.id, c.type, 1, c.created_at
        FROM changed c CROSS JOIN targets t WHERE t.tenant_id = %(tenant)b::uuid
        RETURNING resource_id, target_id, desired_version
    )
    SELECT c.id, r.target_id, r.desired_version, t.state
    FROM changed c
    LEFT JOIN (raised r JOIN targets t ON t.id = r.target_id AND t.tenant_id = %(tenant)b::uuid) ON r.resource_id = c.id
    """
)
GET = (
    "SELECT "
    + COLUMNS
    + """
    FROM resources r
    WHERE r.id = any(%(ids)b::uuid[]) AND r.tenant_id = %(tenant)b::uuid AND r.type = %(type)b::smallint
    """
)
# Not FOR UPDATE: that would also hold up whoever makes the resource a member of some group.
GET_LOCKED = GET + " ORDER BY r.id FOR NO KEY UPDATE"
UPDATE = (
    "WITH "
    + INPUT
    + """, changed AS (
        UPDATE resources r
        SET version = r.version + 1, user_name = i.user_name, user_name_key = i.user_name_key,
            external_id = i.external_id, display_name = i.display_name, display_name_key = i.display_name_key,
            active = i.active, updated_at = i.at, document = i.document::jsonb
        FROM input i
        WHERE r.id = i.id AND r.tenant_id = %(tenant)b::uuid AND r.type = i.type
        RETURNING r.id
    ), """
    + RAISE_CHANGED
)
TOUCH = (
    """
    WITH locked AS MATERIALIZED (
        SELECT id FROM resources
        WHERE id = any(%(ids)b::uuid[]) AND tenant_id = %(tenant)b::uuid ORDER BY id FOR NO KEY UPDATE
    ), changed AS (
        UPDATE resources r SET version = r.version + 1, updated_at = %(at)b::timestamptz
        FROM locked l WHERE r.id = l.id AND r.tenant_id = %(tenant)b::uuid
        RETURNING r.id
    ), """
    + RAISE_CHANGED
)
# A statement of its own: only a snapshot taken after this lock shows every membership that others are adding just now.
LOCK_FOR_DELETE: LiteralString = """
    SELECT id FROM resources
    WHERE id = any(%(ids)b::uuid[]) AND tenant_id = %(tenant)b::uuid AND type = %(type)b::smallint
    ORDER BY id FOR UPDATE
"""
# Memberships go by cascade, after the statement; it still sees which groups held the resource.
DELETE: LiteralString = """
    WITH holders AS MATERIALIZED (
        SELECT id FROM resources
        WHERE id IN (
            SELECT group_id FROM memberships WHERE member_id = any(%(ids)b::uuid[]) AND tenant_id = %(tenant)b::uuid
        ) AND id <> all(%(ids)b::uuid[]) AND tenant_id = %(tenant)b::uuid
        ORDER BY id FOR NO KEY UPDATE
    ), touched AS (
        UPDATE resources r SET version = r.version + 1, updated_at = %(at)b::timestamptz
        FROM holders h WHERE r.id = h.id AND r.tenant_id = %(tenant)b::uuid
        RETURNING r.id
    ), gone AS (
        DELETE FROM resources WHERE id = any(%(ids)b::uuid[]) AND tenant_id = %(tenant)b::uuid
        RETURNING id, type, coalesce(user_name, display_name) AS name,
                  coalesce(user_name_key, display_name_key) AS name_key, external_id
    ), counted AS (
        INSERT INTO counters AS c (tenant_id, type, slot, count)
        SELECT %(tenant)b::uuid, type, %(slot)b::smallint, -count(*) FROM gone GROUP BY type
        ON CONFLICT (tenant_id, type, slot) DO UPDATE SET count = c.count + excluded.count
    ), changed AS (
        SELECT id, true AS deleted FROM gone UNION ALL SELECT id, false FROM touched
    ), held AS MATERIALIZED (
        SELECT p.target_id, p.resource_id, c.deleted
        FROM changed c JOIN provisioning p ON p.resource_id = c.id AND p.tenant_id = %(tenant)b::uuid
        ORDER BY p.type, p.target_id, p.resource_id FOR UPDATE OF p
    ), raised AS (
        UPDATE provisioning p
        SET desired_version = p.desired_version + 1, deleted = p.deleted OR h.deleted,
            dirty_since = CASE WHEN p.desired_version > p.applied_version THEN p.dirty_since
                               ELSE %(at)b::timestamptz END,
            former_name = g.name, former_name_key = g.name_key, former_external_id = g.external_id
        FROM held h LEFT JOIN gone g ON g.id = h.resource_id
        WHERE p.resource_id = h.resource_id AND p.target_id = h.target_id AND p.tenant_id = %(tenant)b::uuid
        RETURNING p.resource_id, p.target_id, p.desired_version
    )
    SELECT c.id, r.target_id, r.desired_version, t.state, c.deleted
    FROM changed c
    LEFT JOIN (raised r JOIN targets t ON t.id = r.target_id AND t.tenant_id = %(tenant)b::uuid) ON r.resource_id = c.id
"""
# The type is literal: the planner must see that the partial index covers it.
FIND_USER_NAME = (
    "SELECT "
    + COLUMNS
    + " FROM resources r WHERE r.user_name_key = %(value)b::text AND r.tenant_id = %(tenant)b::uuid AND r.type = 1"
)
COUNT_AND_PAGE: LiteralString = """
    FROM (SELECT count(*) AS total FROM hits) c
    LEFT JOIN (
        SELECT x.* FROM resources x
        JOIN (SELECT id FROM hits ORDER BY id OFFSET %(skip)b::bigint LIMIT %(count)b::bigint) k ON x.id = k.id
        WHERE x.tenant_id = %(tenant)b::uuid
    ) r ON true
    ORDER BY r.id
"""
FIND_EXTERNAL_ID = (
    """
    WITH hits AS MATERIALIZED (
        SELECT id FROM resources
        WHERE external_id = %(value)b::text AND tenant_id = %(tenant)b::uuid AND type = %(type)b::smallint
    ) SELECT c.total, """
    + COLUMNS
    + COUNT_AND_PAGE
)
FIND_DISPLAY_NAME = (
    """
    WITH hits AS MATERIALIZED (
        SELECT id FROM resources
        WHERE display_name_key = %(value)b::text AND tenant_id = %(tenant)b::uuid AND type = %(type)b::smallint
    ) SELECT c.total, """
    + COLUMNS
    + COUNT_AND_PAGE
)
TOTAL: LiteralString = """
    (SELECT coalesce(sum(count), 0)::bigint AS total FROM counters
     WHERE tenant_id = %(tenant)b::uuid AND type = %(type)b::smallint) c
"""
# "created_at > '-infinity'" is always true, and the key to the listing index (see the migration).
FIRST_PAGE = (
    "SELECT c.total, "
    + COLUMNS
    + " FROM "
    + TOTAL
    + """
    LEFT JOIN (
        SELECT * FROM resources
        WHERE tenant_id = %(tenant)b::uuid AND type = %(type)b::smallint AND created_at > '-infinity'
        ORDER BY id LIMIT %(count)b::bigint
    ) r ON true
    ORDER BY r.id
    """
)
# Skips over keys in the index alone: 42 ms at half a million, where skipping whole rows takes 391 (performance.md).
LATER_PAGE = (
    "SELECT c.total, "
    + COLUMNS
    + " FROM "
    + TOTAL
    + """
    LEFT JOIN (
        SELECT x.* FROM resources x
        JOIN (
            SELECT id FROM resources
            WHERE tenant_id = %(tenant)b::uuid AND type = %(type)b::smallint AND created_at > '-infinity'
            ORDER BY id OFFSET %(skip)b::bigint LIMIT %(count)b::bigint
        ) k ON x.id = k.id
        WHERE x.tenant_id = %(tenant)b::uuid
    ) r ON true
    ORDER BY r.id
    """
)

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
# Foreign keys are checked when the statement is over, and then see the resources that it makes.
KEYS: LiteralString = """
    keys AS (
        SELECT * FROM unnest(%(key_ids)b::uuid[], %(key_attributes)b::text[], %(key_values)b::text[])
               AS k (id, attribute, value)
    )
"""
ADD_KEYS: LiteralString = """
    keyed AS (
        INSERT INTO attribute_values (tenant_id, resource_id, attribute, value_key)
        SELECT %(tenant)b::uuid, k.id, k.attribute, k.value FROM keys k WHERE k.id IN (SELECT id FROM changed)
        ON CONFLICT DO NOTHING
    )
"""
INSERT = (
    "WITH "
    + INPUT
    + ", "
    + KEYS
    + """, changed AS (
        INSERT INTO resources (id, tenant_id, type, version, user_name, user_name_key, external_id, display_name,
                               display_name_key, active, created_at, updated_at, document)
        SELECT id, %(tenant)b::uuid, type, 1, user_name, user_name_key, external_id, display_name, display_name_key,
               active, at, at, document::jsonb
        FROM input
        ON CONFLICT DO NOTHING
        RETURNING id, type, created_at
    ), """
    + ADD_KEYS
    + """, counted AS (
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
# With the key that the trail seals what it says of the person with, so that it needs no question: NULL if there is
# none, {NULL} if it was destroyed. Not a join, which a generic plan may answer with all of the tenant's keys.
GET_USERS_LOCKED = (
    "SELECT "
    + COLUMNS
    + """, (
        SELECT ARRAY[k.key_sealed] FROM audit_subjects k WHERE k.subject_id = r.id AND k.tenant_id = %(tenant)b::uuid
    )
    FROM resources r
    WHERE r.id = any(%(ids)b::uuid[]) AND r.tenant_id = %(tenant)b::uuid AND r.type = 1
    ORDER BY r.id FOR NO KEY UPDATE
    """
)
# Of the keyed values, only the difference is written: what is there already conflicts, and is left alone. The resource
# is locked since an earlier statement, so nobody else writes its values.
UPDATE = (
    "WITH "
    + INPUT
    + ", "
    + KEYS
    + """, changed AS (
        UPDATE resources r
        SET version = r.version + 1, user_name = i.user_name, user_name_key = i.user_name_key,
            external_id = i.external_id, display_name = i.display_name, display_name_key = i.display_name_key,
            active = i.active, updated_at = i.at, document = i.document::jsonb
        FROM input i
        WHERE r.id = i.id AND r.tenant_id = %(tenant)b::uuid AND r.type = i.type
        RETURNING r.id
    ), unkeyed AS (
        DELETE FROM attribute_values v
        WHERE v.resource_id = any(%(ids)b::uuid[]) AND v.tenant_id = %(tenant)b::uuid
          AND v.resource_id IN (SELECT id FROM changed)
          AND NOT EXISTS (
              SELECT FROM keys k WHERE k.id = v.resource_id AND k.attribute = v.attribute AND k.value = v.value_key
          )
    ), """
    + ADD_KEYS
    + ", "
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
# The groups that hold a resource rise with its deletion. They are locked here, in one order with the resources: groups
# may hold each other in a circle, and two that delete a group each would else wait for one another. Only then, and in
# the same order, comes the lock that keeps newcomers' memberships out; the groups do not need that one. (The array is
# complete, and so are the locks of the first pass, before the second begins.)
LOCK_FOR_DELETE = (
    """
    WITH locked AS MATERIALIZED (
        SELECT id FROM resources
        WHERE tenant_id = %(tenant)b::uuid AND id = any(%(ids)b::uuid[] || ARRAY(
            SELECT group_id FROM memberships WHERE member_id = any(%(ids)b::uuid[]) AND tenant_id = %(tenant)b::uuid
        ))
        ORDER BY type, id FOR NO KEY UPDATE
    )
    SELECT """
    + COLUMNS
    + """
    FROM resources r
    WHERE r.id = any(%(ids)b::uuid[]) AND r.id = any(ARRAY(SELECT id FROM locked)) AND r.tenant_id = %(tenant)b::uuid
    ORDER BY r.type, r.id FOR UPDATE OF r
    """
)
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

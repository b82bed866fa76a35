"""Custom schemas, compatibility of tenants, keyed attribute values, and the indexes that sorting and prefixes walk."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = (
    # The identity provider by number (control_plane/domain/tenants.py), 1 is "generic"; and the switches that differ
    # from its preset.
    "ALTER TABLE tenants ADD COLUMN identity_provider smallint NOT NULL DEFAULT 1",
    "ALTER TABLE tenants ADD COLUMN compatibility jsonb NOT NULL DEFAULT '{}'",
    """
    CREATE TABLE schemas (
        tenant_id uuid NOT NULL CONSTRAINT schemas_tenant REFERENCES tenants,
        urn text NOT NULL,
        urn_key text COLLATE "C" NOT NULL,
        type smallint NOT NULL,
        name text NOT NULL,
        description text NOT NULL,
        attributes jsonb NOT NULL,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        CONSTRAINT schemas_pkey PRIMARY KEY (urn_key, tenant_id)
    )
    """,
    "CREATE INDEX schemas_listing ON schemas (tenant_id, created_at, urn_key)",
    # The values of attributes that are looked up by equality and are no column: emails.value, manager.value, and what a
    # custom schema declares unique. Folded as their caseExact says; only values of at most 1,024 bytes.
    """
    CREATE TABLE attribute_values (
        tenant_id uuid NOT NULL,
        resource_id uuid NOT NULL,
        attribute text COLLATE "C" NOT NULL,
        value_key text COLLATE "C" NOT NULL,
        CONSTRAINT attribute_values_pkey PRIMARY KEY (value_key, attribute, tenant_id, resource_id),
        CONSTRAINT attribute_values_resource FOREIGN KEY (resource_id, tenant_id)
            REFERENCES resources (id, tenant_id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX attribute_values_of_resource ON attribute_values (resource_id, tenant_id)",
    # The tenant before the group: all statements say member and tenant. With the group between them PostgreSQL may skip
    # over all groups, in this index or in the primary key; of a quarter of a million memberships that reads thousands
    # of pages for each user (tests/storage/test_many_memberships.py).
    "DROP INDEX memberships_of_member",
    "CREATE INDEX memberships_of_member ON memberships (member_id, tenant_id, group_id)",
    # Like the listing index, these start with the tenant and are under lock and key: a statement must say the
    # condition, which is always true, to walk in this order (see 0001 and storage/README.md).
    "ALTER TABLE resources ADD CONSTRAINT resources_is_sorted CHECK (updated_at > '-infinity')",
    "ALTER TABLE resources ADD CONSTRAINT resources_has_version CHECK (version > 0)",
    """
    CREATE INDEX resources_by_user_name ON resources (tenant_id, user_name_key, id)
        WHERE type = 1 AND updated_at > '-infinity'
    """,
    """
    CREATE INDEX resources_by_display_name ON resources (tenant_id, type, display_name_key, id)
        WHERE updated_at > '-infinity'
    """,
    "CREATE INDEX resources_by_update ON resources (tenant_id, type, updated_at, id) WHERE version > 0",
)

# The values of users that are there already, under the names and keys that control_plane/scim/keys.py gives them:
# addresses folded (pg_unicode_fast folds as Python does), ids of managers as they are, no key over 1,024 bytes.
BACKFILL = """
    INSERT INTO attribute_values (tenant_id, resource_id, attribute, value_key)
    SELECT DISTINCT r.tenant_id, r.id, v.attribute, v.key COLLATE "C"
    FROM resources r
    CROSS JOIN LATERAL (
        SELECT 'emails.value' AS attribute, casefold((e #>> '{}') COLLATE pg_unicode_fast) AS key
        FROM jsonb_path_query(r.document, '$.emails[*].value ? (@.type() == "string")') e
        UNION ALL
        SELECT 'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value', m #>> '{}'
        FROM jsonb_path_query(
            r.document,
            '$."urn:ietf:params:scim:schemas:extension:enterprise:2.0:User".manager.value ? (@.type() == "string")'
        ) m
    ) v
    WHERE r.type = 1 AND octet_length(v.key) <= 1024
"""

APP_TENANT = "nullif(current_setting('muster.tenant', true), '')::uuid"
NEW_TENANT_TABLES = ("schemas", "attribute_values")
GRANTS = (
    "GRANT UPDATE (display_name, identity_provider, compatibility) ON tenants TO muster_app",
    "GRANT SELECT, INSERT, UPDATE (name, description, attributes, updated_at), DELETE ON schemas TO muster_app",
    "GRANT SELECT, INSERT, DELETE ON attribute_values TO muster_app",
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
    # Row-level security is forced on the owner too: it sees no resource. For this statement it must, and nobody else
    # sees more meanwhile: the runtime roles own nothing, and the tables are locked until the end of the migration.
    op.execute("ALTER TABLE resources NO FORCE ROW LEVEL SECURITY")
    op.execute(BACKFILL)
    op.execute("ALTER TABLE resources FORCE ROW LEVEL SECURITY")
    for table in NEW_TENANT_TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY app ON {table} TO muster_app"
            f" USING (tenant_id = {APP_TENANT}) WITH CHECK (tenant_id = {APP_TENANT})"
        )
    for statement in GRANTS:
        op.execute(statement)


def downgrade() -> None:
    """There is no way back: restore a backup, or write the next step."""
    raise NotImplementedError

"""The backbone: tenants, tokens, resources, memberships, targets, provisioning, audit, counters, queue state."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE tenants (
        id uuid CONSTRAINT tenants_pkey PRIMARY KEY,
        display_name text NOT NULL,
        created_at timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE tokens (
        id uuid NOT NULL,
        tenant_id uuid NOT NULL CONSTRAINT tokens_tenant REFERENCES tenants,
        key_id text COLLATE "C" NOT NULL CONSTRAINT tokens_key_id UNIQUE,
        label text NOT NULL,
        scopes smallint[] NOT NULL,
        hash text NOT NULL,
        created_at timestamptz NOT NULL,
        ttl_s bigint,
        expires_at timestamptz,
        revoked_at timestamptz,
        CONSTRAINT tokens_pkey PRIMARY KEY (id, tenant_id)
    )
    """,
    "CREATE INDEX tokens_listing ON tokens (tenant_id, id)",
    # No foreign key to tenants here and below: each insert would lock the tenant's row against all its neighbours.
    """
    CREATE TABLE resources (
        id uuid NOT NULL,
        tenant_id uuid NOT NULL,
        type smallint NOT NULL,
        version bigint NOT NULL,
        user_name text,
        user_name_key text COLLATE "C",
        external_id text COLLATE "C",
        display_name text,
        display_name_key text COLLATE "C",
        active boolean,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        document jsonb NOT NULL,
        CONSTRAINT resources_pkey PRIMARY KEY (id, tenant_id),
        CONSTRAINT resources_user_has_name CHECK (type <> 1 OR user_name_key IS NOT NULL),
        CONSTRAINT resources_is_listed CHECK (created_at > '-infinity')
    )
    """,
    # The value first: PostgreSQL knows nothing about a new tenant in a big table, and may take any index that starts
    # with the tenant for a needle in it (performance.md, section 4). Hence one such index only, the listing, and even
    # that under lock and key: its condition is always true, but only a statement that says so can use it.
    "CREATE UNIQUE INDEX resources_user_name ON resources (user_name_key, tenant_id) WHERE type = 1",
    "CREATE INDEX resources_external_id ON resources (external_id, tenant_id) WHERE external_id IS NOT NULL",
    "CREATE INDEX resources_display_name ON resources (display_name_key, tenant_id) WHERE display_name_key IS NOT NULL",
    "CREATE INDEX resources_listing ON resources (tenant_id, type, id) WHERE created_at > '-infinity'",
    """
    CREATE TABLE memberships (
        tenant_id uuid NOT NULL,
        group_id uuid NOT NULL,
        member_id uuid NOT NULL,
        CONSTRAINT memberships_pkey PRIMARY KEY (group_id, member_id, tenant_id),
        CONSTRAINT memberships_group FOREIGN KEY (group_id, tenant_id)
            REFERENCES resources (id, tenant_id) ON DELETE CASCADE,
        CONSTRAINT memberships_member FOREIGN KEY (member_id, tenant_id)
            REFERENCES resources (id, tenant_id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX memberships_of_member ON memberships (member_id, group_id, tenant_id)",
    """
    CREATE TABLE targets (
        id uuid NOT NULL,
        tenant_id uuid NOT NULL CONSTRAINT targets_tenant REFERENCES tenants,
        display_name text NOT NULL,
        kind smallint NOT NULL,
        state smallint NOT NULL,
        base_url text NOT NULL,
        secret_sealed bytea NOT NULL,
        revision bigint NOT NULL,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        CONSTRAINT targets_pkey PRIMARY KEY (id, tenant_id)
    )
    """,
    "CREATE INDEX targets_listing ON targets (tenant_id, id)",
    # No foreign key to resources: a row outlives its resource as the tombstone that still has to leave the target.
    # Free space in each page keeps the updates of a lease's life in the same page (HOT).
    """
    CREATE TABLE provisioning (
        tenant_id uuid NOT NULL,
        target_id uuid NOT NULL,
        resource_id uuid NOT NULL,
        type smallint NOT NULL,
        desired_version bigint NOT NULL,
        applied_version bigint NOT NULL DEFAULT 0,
        deleted boolean NOT NULL DEFAULT false,
        remote_id text COLLATE "C",
        former_name text,
        former_name_key text COLLATE "C",
        former_external_id text,
        epoch bigint NOT NULL DEFAULT 0,
        fence bigint NOT NULL DEFAULT 0,
        leased_at timestamptz,
        worker text,
        attempts integer NOT NULL DEFAULT 0,
        last_error text,
        last_failure smallint,
        dirty_since timestamptz,
        applied_at timestamptz,
        CONSTRAINT provisioning_pkey PRIMARY KEY (resource_id, target_id, tenant_id),
        CONSTRAINT provisioning_target FOREIGN KEY (target_id, tenant_id) REFERENCES targets (id, tenant_id),
        CONSTRAINT provisioning_remote_id_fits CHECK (octet_length(remote_id) <= 1024)
    ) WITH (fillfactor = 80)
    """,
    """
    CREATE INDEX provisioning_dirty ON provisioning (tenant_id, target_id, resource_id)
        WHERE desired_version > applied_version
    """,
    """
    CREATE INDEX provisioning_remote_id ON provisioning (remote_id, target_id, tenant_id)
        WHERE remote_id IS NOT NULL
    """,
    """
    CREATE TABLE audit_events (
        id uuid NOT NULL,
        tenant_id uuid NOT NULL,
        at timestamptz NOT NULL,
        actor_type smallint NOT NULL,
        actor_id text NOT NULL,
        actor_address text NOT NULL,
        action text NOT NULL,
        resource_type text NOT NULL,
        resource_id text NOT NULL,
        outcome smallint NOT NULL,
        reason text NOT NULL,
        request_id text NOT NULL,
        details jsonb NOT NULL,
        CONSTRAINT audit_events_pkey PRIMARY KEY (id, tenant_id)
    )
    """,
    "CREATE INDEX audit_events_listing ON audit_events (tenant_id, id)",
    # Sixteen rows for each count, so that the writers of one tenant do not queue behind one row.
    """
    CREATE TABLE counters (
        tenant_id uuid NOT NULL,
        type smallint NOT NULL,
        slot smallint NOT NULL,
        count bigint NOT NULL,
        CONSTRAINT counters_pkey PRIMARY KEY (tenant_id, type, slot),
        CONSTRAINT counters_slot CHECK (slot BETWEEN 0 AND 15)
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE queue_state (
        singleton boolean CONSTRAINT queue_state_pkey PRIMARY KEY DEFAULT true,
        epoch bigint NOT NULL,
        CONSTRAINT queue_state_single_row CHECK (singleton)
    )
    """,
    "INSERT INTO queue_state (epoch) VALUES (1)",
)

TENANT_TABLES = ("tokens", "resources", "memberships", "targets", "provisioning", "audit_events", "counters")
APP_TENANT = "nullif(current_setting('muster.tenant', true), '')::uuid"
BATCH_TENANTS = "nullif(current_setting('muster.tenants', true), '')::uuid[]"
TOKEN_KEY = "nullif(current_setting('muster.token_key', true), '')"  # noqa: S105 - names a setting

# Never two permissive policies for one role and command: PostgreSQL joins them with OR.
POLICIES = (
    f"CREATE POLICY app ON tenants TO muster_app USING (id = {APP_TENANT}) WITH CHECK (id = {APP_TENANT})",
    # Background duties begin with the list of tenants.
    "CREATE POLICY batch ON tenants FOR SELECT TO muster_batch USING (true)",
    *(
        f"CREATE POLICY app ON {table} TO muster_app"
        f" USING (tenant_id = {APP_TENANT}) WITH CHECK (tenant_id = {APP_TENANT})"
        for table in TENANT_TABLES
    ),
    *(
        f"CREATE POLICY batch ON {table} TO muster_batch"
        f" USING (tenant_id = any({BATCH_TENANTS})) WITH CHECK (tenant_id = any({BATCH_TENANTS}))"
        for table in TENANT_TABLES
        if table != "tokens"
    ),
    # A presented token does not say whose it is: whoever knows its key id may see this one row.
    f"CREATE POLICY batch ON tokens TO muster_batch"
    f" USING (tenant_id = any({BATCH_TENANTS}) OR key_id = {TOKEN_KEY}) WITH CHECK (tenant_id = any({BATCH_TENANTS}))",
)

GRANTS = (
    "GRANT SELECT, INSERT ON tenants TO muster_app",
    "GRANT SELECT, INSERT, UPDATE (expires_at, revoked_at) ON tokens TO muster_app",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON resources TO muster_app",
    "GRANT SELECT, INSERT, DELETE ON memberships TO muster_app",
    "GRANT SELECT, INSERT, UPDATE ON targets TO muster_app",
    """
    GRANT SELECT, INSERT,
          UPDATE (desired_version, dirty_since, deleted, former_name, former_name_key, former_external_id)
        ON provisioning TO muster_app
    """,
    "GRANT SELECT, INSERT ON audit_events TO muster_app",
    "GRANT SELECT, INSERT, UPDATE (count) ON counters TO muster_app",
    "GRANT SELECT ON tenants, tokens, resources, memberships, targets TO muster_batch",
    "GRANT SELECT, UPDATE ON provisioning TO muster_batch",
    "GRANT SELECT, INSERT ON audit_events TO muster_batch",
    "GRANT SELECT, UPDATE (epoch) ON queue_state TO muster_batch",
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
    for table in ("tenants", *TENANT_TABLES):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    for statement in (*POLICIES, *GRANTS):
        op.execute(statement)


def downgrade() -> None:
    """There is no way back: restore a backup, or write the next step."""
    raise NotImplementedError

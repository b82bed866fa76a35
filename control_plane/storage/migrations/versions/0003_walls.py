"""States and limits of tenants, more about tokens, operators and API keys, data keys, and the sealed audit trail."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = (
    # 1 active, 2 suspended, 3 deleted (control_plane/domain/tenants.py). A deleted one remembers suspended_at.
    "ALTER TABLE tenants ADD COLUMN state smallint NOT NULL DEFAULT 1",
    "ALTER TABLE tenants ADD COLUMN suspended_at timestamptz",
    "ALTER TABLE tenants ADD COLUMN suspend_reason text NOT NULL DEFAULT ''",
    "ALTER TABLE tenants ADD COLUMN deleted_at timestamptz",
    "ALTER TABLE tenants ADD COLUMN purge_at timestamptz",
    "ALTER TABLE tenants ADD COLUMN limits jsonb NOT NULL DEFAULT '{}'",
    "ALTER TABLE tenants ADD COLUMN audit_retention_days integer NOT NULL DEFAULT 400",
    "ALTER TABLE tokens ADD COLUMN allowed_networks text[] NOT NULL DEFAULT '{}'",
    "ALTER TABLE tokens ADD COLUMN last_used_at timestamptz",
    "ALTER TABLE tokens ADD COLUMN last_used_address text NOT NULL DEFAULT ''",
    "ALTER TABLE tokens ADD COLUMN last_used_agent text NOT NULL DEFAULT ''",
    "ALTER TABLE tokens ADD COLUMN replaces uuid",
    "ALTER TABLE tokens ADD COLUMN created_by text NOT NULL DEFAULT ''",
    # Operators and API keys belong to the installation: to the tenant with the nil UUID, which has no row in tenants.
    """
    CREATE TABLE operators (
        id uuid NOT NULL,
        tenant_id uuid NOT NULL,
        email text NOT NULL,
        email_key text COLLATE "C" NOT NULL,
        display_name text NOT NULL,
        role smallint NOT NULL,
        oidc_issuer text,
        oidc_subject text,
        created_at timestamptz NOT NULL,
        disabled_at timestamptz,
        CONSTRAINT operators_pkey PRIMARY KEY (id, tenant_id),
        CONSTRAINT operators_email UNIQUE (email_key, tenant_id),
        CONSTRAINT operators_oidc UNIQUE (oidc_subject, oidc_issuer, tenant_id),
        CONSTRAINT operators_oidc_is_whole CHECK ((oidc_issuer IS NULL) = (oidc_subject IS NULL))
    )
    """,
    """
    CREATE TABLE api_keys (
        id uuid NOT NULL,
        tenant_id uuid NOT NULL,
        key_id text COLLATE "C" NOT NULL,
        label text NOT NULL,
        hash text NOT NULL,
        operator_id uuid,
        service text,
        scopes text[] NOT NULL,
        tenant_ids uuid[] NOT NULL,
        allowed_networks text[] NOT NULL,
        created_at timestamptz NOT NULL,
        created_by text NOT NULL,
        expires_at timestamptz,
        revoked_at timestamptz,
        last_used_at timestamptz,
        last_used_address text NOT NULL DEFAULT '',
        CONSTRAINT api_keys_pkey PRIMARY KEY (id, tenant_id),
        CONSTRAINT api_keys_key_id UNIQUE (key_id, tenant_id),
        CONSTRAINT api_keys_has_one_owner CHECK ((operator_id IS NULL) <> (service IS NULL)),
        CONSTRAINT api_keys_operator FOREIGN KEY (operator_id, tenant_id)
            REFERENCES operators (id, tenant_id) ON DELETE CASCADE
    )
    """,
    # A tenant's data keys, wrapped. The highest version seals; lower ones are there until a rotation has finished.
    """
    CREATE TABLE tenant_keys (
        tenant_id uuid NOT NULL,
        version integer NOT NULL,
        wrapped bytea NOT NULL,
        kek_id text COLLATE "C" NOT NULL,
        created_at timestamptz NOT NULL,
        CONSTRAINT tenant_keys_pkey PRIMARY KEY (tenant_id, version)
    )
    """,
    # An event's personal values are sealed with its subject's key; the chain covers their commitment, which stays.
    "ALTER TABLE audit_events ADD COLUMN actor_agent text NOT NULL DEFAULT ''",
    "ALTER TABLE audit_events ADD COLUMN trace_id text NOT NULL DEFAULT ''",
    "ALTER TABLE audit_events ADD COLUMN subject_id uuid",
    "ALTER TABLE audit_events ADD COLUMN personal bytea",
    "ALTER TABLE audit_events ADD COLUMN commitment bytea",
    "CREATE INDEX audit_events_of_resource ON audit_events (resource_id, tenant_id, id)",
    "CREATE INDEX audit_events_of_request ON audit_events (request_id, tenant_id) WHERE request_id <> ''",
    """
    CREATE TABLE audit_subjects (
        tenant_id uuid NOT NULL,
        subject_id uuid NOT NULL,
        key_sealed bytea,
        created_at timestamptz NOT NULL,
        erased_at timestamptz,
        CONSTRAINT audit_subjects_pkey PRIMARY KEY (tenant_id, subject_id),
        CONSTRAINT audit_subjects_is_erased CHECK ((key_sealed IS NULL) = (erased_at IS NOT NULL))
    )
    """,
    # Committed events that have no place in their chain yet: written with them, taken away by the sealer.
    """
    CREATE TABLE audit_pending (
        event_id uuid NOT NULL,
        tenant_id uuid NOT NULL,
        CONSTRAINT audit_pending_pkey PRIMARY KEY (event_id, tenant_id)
    )
    """,
    """
    CREATE TABLE audit_chain (
        tenant_id uuid NOT NULL,
        seq bigint NOT NULL,
        event_id uuid NOT NULL,
        hash bytea NOT NULL,
        CONSTRAINT audit_chain_pkey PRIMARY KEY (tenant_id, seq)
    )
    """,
    "CREATE UNIQUE INDEX audit_chain_of_event ON audit_chain (event_id, tenant_id)",
    # Where each chain ends; and, after expiry, the hash before the first link that is still there.
    """
    CREATE TABLE audit_heads (
        tenant_id uuid NOT NULL,
        seq bigint NOT NULL,
        hash bytea NOT NULL,
        first_seq bigint NOT NULL DEFAULT 1,
        first_hash bytea NOT NULL,
        CONSTRAINT audit_heads_pkey PRIMARY KEY (tenant_id)
    )
    """,
    # What each checkpoint says of a tenant's chain, with the proof that leads to the signed root.
    """
    CREATE TABLE audit_checkpoints (
        tenant_id uuid NOT NULL,
        number bigint NOT NULL,
        at timestamptz NOT NULL,
        seq bigint NOT NULL,
        hash bytea NOT NULL,
        leaf_index bigint NOT NULL,
        leaves bigint NOT NULL,
        proof bytea[] NOT NULL,
        root bytea NOT NULL,
        previous bytea NOT NULL,
        key_id text NOT NULL,
        signature bytea NOT NULL,
        CONSTRAINT audit_checkpoints_pkey PRIMARY KEY (tenant_id, number)
    )
    """,
)

APP_TENANT = "nullif(current_setting('muster.tenant', true), '')::uuid"
BATCH_TENANTS = "nullif(current_setting('muster.tenants', true), '')::uuid[]"
NEW_TENANT_TABLES = (
    "operators",
    "api_keys",
    "tenant_keys",
    "audit_subjects",
    "audit_pending",
    "audit_chain",
    "audit_heads",
    "audit_checkpoints",
)
# What background duties read and write for many tenants at a time; of the other new tables they see nothing.
BATCH_TABLES = ("tenant_keys", "audit_subjects", "audit_pending")
# What the keeper seals, lets expire, and takes away with a tenant.
KEEPER_TABLES = (
    "tokens",
    "resources",
    "memberships",
    "targets",
    "provisioning",
    "schemas",
    "attribute_values",
    "counters",
    "audit_events",
    "tenant_keys",
    "audit_subjects",
    "audit_chain",
    "audit_heads",
    "audit_checkpoints",
)
GRANTS = (
    """
    GRANT UPDATE (state, suspended_at, suspend_reason, deleted_at, purge_at, limits, audit_retention_days)
        ON tenants TO muster_app
    """,
    # A hash is made anew, with the iterations of today, when its token comes by.
    "GRANT UPDATE (hash) ON tokens TO muster_app",
    "GRANT UPDATE (last_used_at, last_used_address, last_used_agent) ON tokens TO muster_batch",
    """
    GRANT SELECT, INSERT, UPDATE (email, email_key, display_name, role, oidc_issuer, oidc_subject, disabled_at), DELETE
        ON operators TO muster_app
    """,
    """
    GRANT SELECT, INSERT, UPDATE (expires_at, revoked_at, last_used_at, last_used_address), DELETE
        ON api_keys TO muster_app
    """,
    "GRANT SELECT, INSERT, UPDATE (wrapped, kek_id), DELETE ON tenant_keys TO muster_app",
    "GRANT SELECT ON tenant_keys, audit_subjects TO muster_batch",
    # Of a person who is erased, former names and errors go too.
    "GRANT UPDATE (last_error) ON provisioning TO muster_app",
    "GRANT SELECT, INSERT, UPDATE (key_sealed, erased_at) ON audit_subjects TO muster_app",
    "GRANT SELECT, INSERT ON audit_pending TO muster_app",
    "GRANT INSERT ON audit_pending TO muster_batch",
    "GRANT SELECT ON audit_chain, audit_heads, audit_checkpoints TO muster_app",
    "GRANT SELECT, DELETE ON tenants, audit_pending TO muster_keeper",
    f"GRANT SELECT, DELETE ON {', '.join(KEEPER_TABLES)} TO muster_keeper",
    "GRANT INSERT ON audit_events, audit_pending, audit_chain, audit_heads, audit_checkpoints TO muster_keeper",
    "GRANT UPDATE (seq, hash, first_seq, first_hash) ON audit_heads TO muster_keeper",
)

# As in 0001, for a report of many refused tokens: muster.token_key may name several key ids, separated by commas.
MORE_TOKEN_KEYS = f"""
    ALTER POLICY batch ON tokens USING (
        tenant_id = any({BATCH_TENANTS})
        OR key_id = any(string_to_array(nullif(current_setting('muster.token_key', true), ''), ','))
    )
"""

# The owner and a superuser are stopped too, unless they take the trigger off first: which the chain then tells.
IMMUTABLE = (
    """
    CREATE FUNCTION muster_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' AND current_user = 'muster_keeper' THEN
            RETURN OLD;
        END IF;
        RAISE EXCEPTION 'the audit trail can only grow' USING ERRCODE = 'insufficient_privilege';
    END
    $$
    """,
    *(
        f"CREATE TRIGGER {name}_{table} BEFORE {events} ON {table} FOR EACH {each}"
        " EXECUTE FUNCTION muster_refuse_change()"
        for table in ("audit_events", "audit_chain")
        for name, events, each in (("only_grows", "UPDATE OR DELETE", "ROW"), ("stays", "TRUNCATE", "STATEMENT"))
    ),
)


def upgrade() -> None:
    for statement in (*TABLES, *IMMUTABLE):
        op.execute(statement)
    op.execute(MORE_TOKEN_KEYS)
    # As in 0002: for these two statements the owner must see every row. What was written before is sealed as it is.
    for table in ("audit_events", "audit_pending"):
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    op.execute("INSERT INTO audit_pending (event_id, tenant_id) SELECT id, tenant_id FROM audit_events")
    op.execute("ALTER TABLE audit_events FORCE ROW LEVEL SECURITY")
    for table in NEW_TENANT_TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        _policy("app", table, f"tenant_id = {APP_TENANT}")
    for table in BATCH_TABLES:
        _policy("batch", table, f"tenant_id = any({BATCH_TENANTS})")
    for table in KEEPER_TABLES:
        _policy("keeper", table, f"tenant_id = any({BATCH_TENANTS})")
    # The sealer begins with what is pending, of whomever it is; the purge with the list of tenants.
    op.execute(
        f"CREATE POLICY keeper ON audit_pending TO muster_keeper"
        f" USING (true) WITH CHECK (tenant_id = any({BATCH_TENANTS}))"
    )
    op.execute("CREATE POLICY keeper ON tenants FOR SELECT TO muster_keeper USING (true)")
    op.execute(f"CREATE POLICY keeper_purge ON tenants FOR DELETE TO muster_keeper USING (id = any({BATCH_TENANTS}))")
    for statement in GRANTS:
        op.execute(statement)


def _policy(role: str, table: str, condition: str) -> None:
    op.execute(f"CREATE POLICY {role} ON {table} TO muster_{role} USING ({condition}) WITH CHECK ({condition})")


def downgrade() -> None:
    """There is no way back: restore a backup, or write the next step."""
    raise NotImplementedError

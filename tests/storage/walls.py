"""What the database must say about who sees and does what: every right, every policy, every trigger. And the check."""

from dataclasses import dataclass
from typing import Any

import psycopg

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
APP, BATCH, KEEPER = "muster_app", "muster_batch", "muster_keeper"
ROLES = (APP, BATCH, KEEPER)

# By table and role; of UPDATE the columns, where it is not all of them. What is not here, nobody may.
RIGHTS: dict[str, dict[str, set[str]]] = {
    "api_keys": {APP: {"SELECT", "INSERT", "DELETE", "UPDATE(expires_at last_used_address last_used_at revoked_at)"}},
    "attribute_values": {APP: {"SELECT", "INSERT", "DELETE"}, KEEPER: {"SELECT", "DELETE"}},
    "audit_chain": {APP: {"SELECT"}, KEEPER: {"SELECT", "INSERT", "DELETE"}},
    "audit_checkpoints": {APP: {"SELECT"}, KEEPER: {"SELECT", "INSERT", "DELETE"}},
    "audit_events": {APP: {"SELECT", "INSERT"}, BATCH: {"SELECT", "INSERT"}, KEEPER: {"SELECT", "INSERT", "DELETE"}},
    "audit_heads": {
        APP: {"SELECT"},
        KEEPER: {"SELECT", "INSERT", "DELETE", "UPDATE(first_hash first_seq hash seq)"},
    },
    "audit_pending": {APP: {"SELECT", "INSERT"}, BATCH: {"INSERT"}, KEEPER: {"SELECT", "INSERT", "DELETE"}},
    "audit_subjects": {
        APP: {"SELECT", "INSERT", "UPDATE(erased_at key_sealed)"},
        BATCH: {"SELECT"},
        KEEPER: {"SELECT", "DELETE"},
    },
    "counters": {APP: {"SELECT", "INSERT", "UPDATE(count)"}, KEEPER: {"SELECT", "DELETE"}},
    "memberships": {APP: {"SELECT", "INSERT", "DELETE"}, BATCH: {"SELECT"}, KEEPER: {"SELECT", "DELETE"}},
    "operators": {
        APP: {
            "SELECT",
            "INSERT",
            "DELETE",
            "UPDATE(disabled_at display_name email email_key oidc_issuer oidc_subject role)",
        }
    },
    "provisioning": {
        APP: {
            "SELECT",
            "INSERT",
            "UPDATE(deleted desired_version dirty_since former_external_id former_name former_name_key last_error)",
        },
        BATCH: {"SELECT", "UPDATE"},
        KEEPER: {"SELECT", "DELETE"},
    },
    "queue_state": {BATCH: {"SELECT", "UPDATE(epoch)"}},
    "resources": {APP: {"SELECT", "INSERT", "UPDATE", "DELETE"}, BATCH: {"SELECT"}, KEEPER: {"SELECT", "DELETE"}},
    "schemas": {
        APP: {"SELECT", "INSERT", "DELETE", "UPDATE(attributes description name updated_at)"},
        KEEPER: {"SELECT", "DELETE"},
    },
    "targets": {APP: {"SELECT", "INSERT", "UPDATE"}, BATCH: {"SELECT"}, KEEPER: {"SELECT", "DELETE"}},
    "tenant_keys": {
        APP: {"SELECT", "INSERT", "DELETE", "UPDATE(kek_id wrapped)"},
        BATCH: {"SELECT"},
        KEEPER: {"SELECT", "DELETE"},
    },
    "tenants": {
        APP: {
            "SELECT",
            "INSERT",
            "UPDATE(audit_retention_days compatibility deleted_at display_name identity_provider limits purge_at state"
            " suspend_reason suspended_at)",
        },
        BATCH: {"SELECT"},
        KEEPER: {"SELECT", "DELETE"},
    },
    "tokens": {
        APP: {"SELECT", "INSERT", "UPDATE(expires_at hash revoked_at)"},
        BATCH: {"SELECT", "UPDATE(last_used_address last_used_agent last_used_at)"},
        KEEPER: {"SELECT", "DELETE"},
    },
}
# They have no tenant: nobody's data is in them.
NO_TENANT = {"queue_state", "alembic_version"}


@dataclass(frozen=True, slots=True, order=True)
class Policy:
    """A row of pg_policies."""

    table: str
    name: str
    role: str
    command: str
    using: str | None
    check: str | None
    permissive: str = "PERMISSIVE"


_ONE = "(tenant_id = (NULLIF(current_setting('muster.tenant'::text, true), ''::text))::uuid)"
_SOME = "(tenant_id = ANY ((NULLIF(current_setting('muster.tenants'::text, true), ''::text))::uuid[]))"
_SELF, _SELVES = _ONE.replace("(tenant_id", "(id"), _SOME.replace("(tenant_id", "(id")
_TOKEN_KEYS = "string_to_array(NULLIF(current_setting('muster.token_key'::text, true), ''::text), ','::text)"
# A policy without a right is of no use, but one role has it: what comes with the right later is closed already.
_BATCH_TABLES = {table for table, rights in RIGHTS.items() if BATCH in rights} | {"counters"}
_KEEPER_TABLES = {table for table, rights in RIGHTS.items() if KEEPER in rights}
_SPECIAL = [
    Policy("tenants", "app", APP, "ALL", _SELF, _SELF),
    # Background duties begin with the list of tenants. They write nothing there, but for the purge.
    Policy("tenants", "batch", BATCH, "SELECT", "true", None),
    Policy("tenants", "keeper", KEEPER, "SELECT", "true", None),
    Policy("tenants", "keeper_purge", KEEPER, "DELETE", _SELVES, None),
    # A presented token does not say whose it is.
    Policy("tokens", "batch", BATCH, "ALL", f"({_SOME} OR (key_id = ANY ({_TOKEN_KEYS})))", _SOME),
    # The sealer begins with what is pending, of whomever it is.
    Policy("audit_pending", "keeper", KEEPER, "ALL", "true", _SOME),
]
# Never two for one table, role and command: PostgreSQL joins permissive policies with OR.
POLICIES = sorted(
    _SPECIAL
    + [
        Policy(table, name, role, "ALL", condition, condition)
        for name, role, condition, tables in (
            ("app", APP, _ONE, set(RIGHTS) - NO_TENANT),
            ("batch", BATCH, _SOME, _BATCH_TABLES - NO_TENANT),
            ("keeper", KEEPER, _SOME, _KEEPER_TABLES),
        )
        for table in tables
        if not any((table, role) == (one.table, one.role) for one in _SPECIAL)
    ]
)
# By table and name: what it fires on (27: before each row's UPDATE or DELETE; 34: before TRUNCATE), and that it does.
TRIGGERS = {
    (table, f"{name}_{table}", events, "O", "muster_refuse_change")
    for table in ("audit_events", "audit_chain")
    for name, events in (("only_grows", 27), ("stays", 34))
}

_TABLES = """
    SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, pg_get_userbyid(c.relowner)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'public' AND c.relkind NOT IN ('i', 'I', 't')
"""
_POLICIES = """
    SELECT tablename, policyname, array_to_string(roles, ','), cmd, qual, with_check, permissive
    FROM pg_policies WHERE schemaname = 'public'
"""
_RIGHTS = """
    SELECT c.relname, CASE a.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(a.grantee) END, a.privilege_type
    FROM pg_class c CROSS JOIN aclexplode(c.relacl) a
    WHERE c.relnamespace = 'public'::regnamespace AND a.grantee <> c.relowner
    UNION ALL
    SELECT c.relname, CASE a.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(a.grantee) END,
           a.privilege_type || '(' || string_agg(t.attname, ' ' ORDER BY t.attname) || ')'
    FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid CROSS JOIN aclexplode(t.attacl) a
    WHERE c.relnamespace = 'public'::regnamespace AND a.grantee <> c.relowner
    GROUP BY c.relname, a.grantee, a.privilege_type
"""
_TRIGGERS = """
    SELECT tgrelid::regclass::text, tgname, tgtype, tgenabled, tgfoid::regproc::text FROM pg_trigger
    WHERE NOT tgisinternal
"""


async def _rows(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query.encode())).fetchall()


async def assert_isolated(connection: Connection) -> set[str]:
    """Check the whole catalogue; return the names of the tables that have a tenant."""
    tables = await _rows(connection, _TABLES)
    assert {row[0] for row in tables} == set(RIGHTS) | NO_TENANT, "a table that nobody thought about"
    for table, enabled, forced, owner in tables:
        assert owner not in ROLES, f"{table}: belongs to a runtime role"
        assert table in NO_TENANT or enabled, f"{table}: row-level security is off"
        assert table in NO_TENANT or forced, f"{table}: row-level security is not forced on the owner"
    assert sorted(Policy(*row) for row in await _rows(connection, _POLICIES)) == POLICIES
    rights: dict[str, dict[str, set[str]]] = {}
    for table, role, right in await _rows(connection, _RIGHTS):
        rights.setdefault(table, {}).setdefault(role, set()).add(right)
    assert rights == RIGHTS
    assert set(await _rows(connection, _TRIGGERS)) == TRIGGERS
    return {row[0] for row in tables} - NO_TENANT

"""Migrations: once, whoever runs them and how often; what they make is what the code believes."""

import subprocess
import sys
import threading
import unicodedata
from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from psycopg.types.json import Jsonb
from sqlalchemy import create_engine, make_url

from control_plane.domain.resources import Document
from control_plane.scim.keys import keyed_values
from control_plane.scim.registry import default_registry
from control_plane.storage.migrate import MIGRATIONS, migrate
from control_plane.storage.roles import ROLES, RoleTooPowerfulError
from control_plane.storage.schema import metadata
from tests.fixtures.postgres import OWNER, Database, PostgresServer

NAME = "muster_test_migrate"
HEAD = "0003"


@pytest.fixture
def empty(postgres_server: PostgresServer) -> Iterator[Database]:
    """A database without any table."""
    postgres_server.execute(f"CREATE DATABASE {NAME} OWNER {OWNER}")
    yield postgres_server.database(NAME)
    postgres_server.drop(NAME)


def test_two_at_once_do_not_collide(empty: Database) -> None:
    program = "import sys; from control_plane.storage.migrate import migrate; migrate(sys.argv[1], None)"
    runs = [
        subprocess.Popen([sys.executable, "-c", program, empty.owner_url], stderr=subprocess.PIPE) for _ in range(2)
    ]
    threads = [threading.Thread(target=migrate, args=(empty.owner_url, None)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [run.communicate(timeout=60)[1] for run in runs] == [b"", b""]
    with psycopg.connect(empty.superuser_url) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]
        assert connection.execute("SELECT epoch FROM queue_state").fetchall() == [(1,)]


def test_again_changes_nothing(database: Database) -> None:
    migrate(database.owner_url, None)


def test_the_owner_needs_no_superuser(postgres_server: PostgresServer) -> None:
    with psycopg.connect(postgres_server.engine.superuser_url()) as connection:
        found = connection.execute(
            "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = %s", (OWNER,)
        ).fetchone()
    assert found == (False, False)


def test_the_tables_are_those_that_the_code_believes_in(database: Database) -> None:
    engine = create_engine(database.superuser_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_name": known, "compare_type": True, "include_object": columns_only}
        )
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def known(name: str | None, kind: str, _parents: object) -> bool:
    """Tell whether Core statements use this table."""
    return kind != "table" or name in metadata.tables


def columns_only(_object: object, _name: str | None, kind: str, _reflected: bool, _compared: object) -> bool:
    """Leave indexes and keys to the migration: Core does not need to know them."""
    return kind in ("table", "column")


def test_a_password_is_stored_hashed(database: Database) -> None:
    migrate(database.owner_url, "correct horse")
    with psycopg.connect(database.superuser_url) as connection:
        rows = connection.execute(
            "SELECT rolpassword FROM pg_authid WHERE rolname = any(%s)", (list(ROLES),)
        ).fetchall()
    assert len(rows) == len(ROLES) == 3
    assert all(str(row[0]).startswith("SCRAM-SHA-256$") for row in rows)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_that_could_ignore_the_policies_is_refused(
    postgres_server: PostgresServer, database: Database, role: str
) -> None:
    postgres_server.execute(f"ALTER ROLE {role} BYPASSRLS")
    try:
        with pytest.raises(RoleTooPowerfulError):
            migrate(database.owner_url, None)
    finally:
        postgres_server.execute(f"ALTER ROLE {role} NOBYPASSRLS")


# A tenant with a target, and what 0001's control plane may have stored.
BEFORE = """
    INSERT INTO tenants (id, display_name, created_at)
        VALUES ('01890000-0000-7000-8000-000000000001', 'Acme', now()),
               ('01890000-0000-7000-8000-000000000002', 'Other', now())
"""
EVENT = """
    INSERT INTO audit_events
    SELECT gen_random_uuid(), id, now(), 2, 'admin', '', 'tenant.create', 'tenant', 'x', 1, '', '', '{}' FROM tenants
"""
STORE = """
    INSERT INTO resources (id, tenant_id, type, version, user_name, user_name_key, display_name, display_name_key,
                           active, created_at, updated_at, document)
    VALUES (%(id)s, %(tenant)s, %(type)s, 1, %(name)s, %(name)s, %(name)s, %(name)s, true, now(), now(), %(document)s)
"""
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
MANAGER = f"{ENTERPRISE}:manager.value"
DOCUMENTS: tuple[tuple[Document, set[tuple[str, str]]], ...] = (
    ({"userName": "a"}, set()),
    ({"emails": []}, set()),
    ({"emails": [{"value": "Ada@Example.org", "type": "work"}]}, {("emails.value", "ada@example.org")}),
    # The same twice, another, one without a value, one too long for an index.
    (
        {"emails": [{"value": "b@X"}, {"value": "B@x"}, {"value": "c@x"}, {"type": "home"}, {"value": "x" * 1025}]},
        {("emails.value", "b@x"), ("emails.value", "c@x")},
    ),
    # Each folds to more bytes than it has.
    ({"emails": [{"value": "\u0390" * 200}]}, set()),
    ({"emails": [{"value": "STRA\u00dfE"}, {"value": ""}]}, {("emails.value", "strasse"), ("emails.value", "")}),
    ({ENTERPRISE: {"department": "R&D"}}, set()),
    ({ENTERPRISE: {"manager": {"value": "M-1", "displayName": "Boss"}}}, {(MANAGER, "M-1")}),
    (
        {"emails": [{"value": "d@x"}], ENTERPRISE: {"manager": {"value": "M-1"}}},
        {("emails.value", "d@x"), (MANAGER, "M-1")},
    ),
)


def upgrade_to(database: Database, revision: str) -> None:
    """Apply the migrations up to ``revision``."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = make_url(database.owner_url).set(drivername="postgresql+psycopg")
    config.attributes["role_password"] = None
    command.upgrade(config, revision)


@pytest.fixture
def upgraded(empty: Database) -> dict[UUID, Document]:
    """What was stored by 0001, in a database that is at the head now."""
    upgrade_to(empty, "0001")
    stored: dict[UUID, Document] = {}
    with psycopg.connect(empty.superuser_url) as connection:
        connection.execute(BEFORE)
        connection.execute(EVENT)
        for number, (document, _) in enumerate(DOCUMENTS):
            for tenant in (1, 2):
                one = UUID(int=(tenant << 64) + number)
                row = {
                    "id": one, "tenant": f"01890000-0000-7000-8000-00000000000{tenant}", "type": 1,
                    "name": f"u{number}", "document": Jsonb(document),
                }  # fmt: skip
                connection.execute(STORE, row)
                stored[one] = document
        # Groups have no such attributes, whatever they say.
        odd = Jsonb({"emails": [{"value": "g"}]})
        connection.execute(STORE, {**row, "id": UUID(int=9), "type": 2, "document": odd})
    migrate(empty.owner_url, None)
    return stored


def test_an_upgrade_fills_the_values_that_lists_look_up(empty: Database, upgraded: dict[UUID, Document]) -> None:
    found: dict[UUID, set[tuple[str, str]]] = {one: set() for one in upgraded}
    with psycopg.connect(empty.superuser_url) as connection:
        rows = connection.execute("SELECT resource_id, attribute, value_key FROM attribute_values").fetchall()
        strangers = connection.execute(
            "SELECT count(*) FROM attribute_values v JOIN resources r ON r.id = v.resource_id"
            " WHERE r.tenant_id <> v.tenant_id"
        ).fetchone()
    for one, attribute, key in rows:
        found[one].add((attribute, key))
    assert list(found.values()) == [expected for _, expected in DOCUMENTS for _ in range(2)]
    assert strangers == (0,)


def test_an_upgrade_fills_what_a_write_would_store(empty: Database, upgraded: dict[UUID, Document]) -> None:
    model = default_registry().model("User")
    with psycopg.connect(empty.superuser_url) as connection:
        for one, document in upgraded.items():
            rows = connection.execute(
                "SELECT attribute, value_key FROM attribute_values WHERE resource_id = %s", (one,)
            ).fetchall()
            assert tuple(sorted(rows)) == keyed_values(model, document)


@pytest.mark.usefixtures("upgraded")
def test_an_upgrade_leaves_the_owner_locked_out(empty: Database) -> None:
    with psycopg.connect(empty.superuser_url) as connection:
        forced = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relrowsecurity AND relforcerowsecurity"
        ).fetchall()
    assert {row[0] for row in forced} >= {"resources", "attribute_values", "schemas", "audit_events", "audit_pending"}
    with psycopg.connect(empty.owner_url) as connection:
        assert connection.execute("SELECT count(*) FROM resources").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM attribute_values").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM audit_pending").fetchone() == (0,)


@pytest.mark.usefixtures("upgraded")
def test_an_upgrade_gives_tenants_the_generic_preset(empty: Database) -> None:
    with psycopg.connect(empty.superuser_url) as connection:
        rows = connection.execute("SELECT DISTINCT identity_provider, compatibility FROM tenants").fetchall()
    assert rows == [(1, {})]


@pytest.mark.usefixtures("upgraded")
def test_an_upgrade_leaves_tenants_active_and_without_limits(empty: Database) -> None:
    with psycopg.connect(empty.superuser_url) as connection:
        rows = connection.execute(
            "SELECT DISTINCT state, suspended_at, deleted_at, purge_at, limits, audit_retention_days FROM tenants"
        ).fetchall()
    assert rows == [(1, None, None, None, {}, 400)]


@pytest.mark.usefixtures("upgraded")
def test_an_upgrade_has_the_old_trail_sealed(empty: Database) -> None:
    with psycopg.connect(empty.superuser_url) as connection:
        left = connection.execute(
            "SELECT count(*) FILTER (WHERE p.event_id IS NULL), count(*) FROM audit_events e"
            " LEFT JOIN audit_pending p ON p.event_id = e.id AND p.tenant_id = e.tenant_id"
        ).fetchone()
    assert left == (0, 2)


def test_the_control_plane_of_0001_still_writes(empty: Database) -> None:
    """Its statements name the columns they know: new ones have defaults."""
    upgrade_to(empty, "head")
    with psycopg.connect(empty.superuser_url) as connection:
        connection.execute(BEFORE)
        row = {"tenant": "01890000-0000-7000-8000-000000000001", "type": 1, "name": "u", "document": Jsonb({})}
        connection.execute(STORE, {**row, "id": UUID(int=1)})


def test_the_database_folds_as_python_does(database: Database) -> None:
    """Of every character that this Python knows: keys are folded here by one, there by the other."""
    known = [chr(one) for one in range(1, 0x110000) if unicodedata.category(chr(one)) not in ("Cn", "Cs")]
    query = "SELECT c, casefold(c COLLATE pg_unicode_fast) FROM unnest(%s::text[]) AS u (c)"
    with psycopg.connect(database.superuser_url) as connection:
        rows = connection.execute(query, (known,)).fetchall()
    assert [(one, folded) for one, folded in rows if one.casefold() != folded] == []

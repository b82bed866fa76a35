"""The three database roles that the control plane runs as: subject to row-level security, owners of nothing."""

from psycopg import Connection as DriverConnection
from psycopg import sql
from sqlalchemy import Connection, text

# The application acts for one tenant at a time, batches for several; the keeper alone seals the audit trail, lets it
# expire, and takes a deleted tenant's rows away.
APP_ROLE, BATCH_ROLE, KEEPER_ROLE = "muster_app", "muster_batch", "muster_keeper"
ROLES = (APP_ROLE, BATCH_ROLE, KEEPER_ROLE)


class RoleTooPowerfulError(Exception):
    """A runtime role exists already with rights that would switch row-level security off."""


def ensure_roles(connection: Connection, password: str | None) -> None:
    """Create the runtime roles if they are missing, and set their password if there is one.

    A role that exists may have been made by a database administrator: then this needs no right to create roles.
    """
    driver = connection.connection.driver_connection
    assert isinstance(driver, DriverConnection)
    for role in ROLES:
        found = connection.execute(
            text("SELECT rolsuper OR rolbypassrls OR rolcreaterole FROM pg_roles WHERE rolname = :role"), {"role": role}
        ).scalar_one_or_none()
        if found:
            raise RoleTooPowerfulError(f"role {role} is a superuser, bypasses row-level security or creates roles")
        name = sql.Identifier(role)
        if found is None:
            driver.execute(sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOBYPASSRLS NOINHERIT").format(name))
        if password is not None:
            # Hashed here: the server's log never sees the password itself.
            verifier = driver.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
            driver.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, sql.Literal(verifier)))

"""${message}."""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """Old code must run on the new schema: add, backfill and constrain in separate releases."""
    ${upgrades if upgrades else "op.execute(...)"}


def downgrade() -> None:
    """There is no way back: restore a backup, or write the next step."""
    raise NotImplementedError

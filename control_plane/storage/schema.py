"""The tables that SQLAlchemy Core statements use. The migrations are what creates them; a test compares the two."""

from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, SmallInteger, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP, UUID

metadata = MetaData()
At = TIMESTAMP(timezone=True)

tenants = Table(
    "tenants",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("created_at", At, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("tenant_id", UUID, primary_key=True),
    Column("key_id", Text(collation="C"), nullable=False),
    Column("label", Text, nullable=False),
    Column("scopes", ARRAY(SmallInteger), nullable=False),
    Column("hash", Text, nullable=False),
    Column("created_at", At, nullable=False),
    Column("ttl_s", BigInteger),
    Column("expires_at", At),
    Column("revoked_at", At),
)

targets = Table(
    "targets",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("tenant_id", UUID, primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("base_url", Text, nullable=False),
    Column("secret_sealed", LargeBinary, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("created_at", At, nullable=False),
    Column("updated_at", At, nullable=False),
)

audit_events = Table(
    "audit_events",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("tenant_id", UUID, primary_key=True),
    Column("at", At, nullable=False),
    Column("actor_type", SmallInteger, nullable=False),
    Column("actor_id", Text, nullable=False),
    Column("actor_address", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("resource_type", Text, nullable=False),
    Column("resource_id", Text, nullable=False),
    Column("outcome", SmallInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("details", JSONB, nullable=False),
)

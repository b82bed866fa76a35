"""The tables that SQLAlchemy Core statements use. The migrations are what creates them; a test compares the two."""

from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, MetaData, SmallInteger, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP, UUID

metadata = MetaData()
At = TIMESTAMP(timezone=True)

tenants = Table(
    "tenants",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("created_at", At, nullable=False),
    Column("identity_provider", SmallInteger, nullable=False),
    Column("compatibility", JSONB, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("suspended_at", At),
    Column("suspend_reason", Text, nullable=False),
    Column("deleted_at", At),
    Column("purge_at", At),
    Column("limits", JSONB, nullable=False),
    Column("audit_retention_days", Integer, nullable=False),
)

schemas = Table(
    "schemas",
    metadata,
    Column("tenant_id", UUID, primary_key=True),
    Column("urn", Text, nullable=False),
    Column("urn_key", Text(collation="C"), primary_key=True),
    Column("type", SmallInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("attributes", JSONB, nullable=False),
    Column("created_at", At, nullable=False),
    Column("updated_at", At, nullable=False),
)

resources = Table(
    "resources",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("tenant_id", UUID, primary_key=True),
    Column("type", SmallInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("user_name", Text),
    Column("user_name_key", Text(collation="C")),
    Column("external_id", Text(collation="C")),
    Column("display_name", Text),
    Column("display_name_key", Text(collation="C")),
    Column("active", Boolean),
    Column("created_at", At, nullable=False),
    Column("updated_at", At, nullable=False),
    Column("document", JSONB, nullable=False),
)

memberships = Table(
    "memberships",
    metadata,
    Column("tenant_id", UUID, primary_key=True),
    Column("group_id", UUID, primary_key=True),
    Column("member_id", UUID, primary_key=True),
)

attribute_values = Table(
    "attribute_values",
    metadata,
    Column("tenant_id", UUID, primary_key=True),
    Column("resource_id", UUID, primary_key=True),
    Column("attribute", Text(collation="C"), primary_key=True),
    Column("value_key", Text(collation="C"), primary_key=True),
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
    Column("allowed_networks", ARRAY(Text), nullable=False),
    Column("last_used_at", At),
    Column("last_used_address", Text, nullable=False),
    Column("last_used_agent", Text, nullable=False),
    Column("replaces", UUID),
    Column("created_by", Text, nullable=False),
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
    Column("actor_agent", Text, nullable=False),
    Column("trace_id", Text, nullable=False),
    Column("subject_id", UUID),
    Column("personal", LargeBinary),
    Column("commitment", LargeBinary),
)

operators = Table(
    "operators",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("tenant_id", UUID, primary_key=True),
    Column("email", Text, nullable=False),
    Column("email_key", Text(collation="C"), nullable=False),
    Column("display_name", Text, nullable=False),
    Column("role", SmallInteger, nullable=False),
    Column("oidc_issuer", Text),
    Column("oidc_subject", Text),
    Column("created_at", At, nullable=False),
    Column("disabled_at", At),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("tenant_id", UUID, primary_key=True),
    Column("key_id", Text(collation="C"), nullable=False),
    Column("label", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("operator_id", UUID),
    Column("service", Text),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("tenant_ids", ARRAY(UUID), nullable=False),
    Column("allowed_networks", ARRAY(Text), nullable=False),
    Column("created_at", At, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", At),
    Column("revoked_at", At),
    Column("last_used_at", At),
    Column("last_used_address", Text, nullable=False),
)

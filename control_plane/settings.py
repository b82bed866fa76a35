"""Settings of a control-plane process, from ``MUSTER_*`` variables."""

from dataclasses import dataclass

from control_plane.runtime.settings import setting


@dataclass(frozen=True, slots=True)
class ControlPlaneSettings:
    """Everything that an operator may choose; the meanings appear in README.md, a test compares them."""

    postgres_url: str = setting(
        "PostgreSQL, postgresql://muster_app[:password]@host:port/database; the other runtime roles share the password",
        secret=True,
    )
    redis_url: str = setting(
        "Redis or Valkey, as redis://[:password@]host:port/0; maxmemory-policy must be noeviction", secret=True
    )
    sealing_key: str = setting(
        "Base64 of the 32-byte key-encryption key that wraps the tenants' data keys", secret=True
    )
    sealing_keys_retired: str = setting(
        "Former sealing keys, comma-separated, until `muster keys rewrap` has run", default="", secret=True
    )
    admin_token: str = setting(
        "Bearer token of an owner, for the first steps and emergencies; at least 32 characters; empty: there is none",
        default="",
        secret=True,
    )
    gateway_token: str = setting(
        "Bearer token that gateways present; at least 32 characters; empty: they need a certificate",
        default="",
        secret=True,
    )
    worker_token: str = setting(
        "Bearer token that workers present; at least 32 characters; empty: they need a certificate",
        default="",
        secret=True,
    )
    tls_cert: str = setting("File with this process's certificate chain, PEM; read again when it changes", default="")
    tls_key: str = setting("File with its private key, PEM", default="")
    tls_ca: str = setting("File with the certificates that peers' certificates must lead to, PEM", default="")
    tls_trust_domain: str = setting("Peers are spiffe://<this>/gateway/<id>, worker/<id>, admin/<id>", default="muster")
    plaintext: bool = setting("Serve gRPC without TLS: tokens and people's data can be read on the way", default=False)
    oidc_issuer: str = setting("OIDC provider whose tokens operators may call with; empty: none", default="")
    oidc_audience: str = setting("The aud claim that those tokens must have", default="")
    allowed_networks: str = setting(
        "Private networks (CIDR, comma-separated) that targets may be in; all other private addresses are refused",
        default="",
    )
    audit_signing_key: str = setting(
        "Base64 of the 32-byte Ed25519 key that signs audit checkpoints; empty: there are none", default="", secret=True
    )
    audit_checkpoint_dir: str = setting("Folder that checkpoints are written to, outside the database", default="")
    audit_checkpoint_interval_s: float = setting("Seconds between checkpoints", default=3600.0)
    tenant_requests_per_second: int = setting(
        "SCIM requests a second of a tenant that has no limit of its own", default=1_000
    )
    tenant_burst: int = setting("SCIM requests at once of a tenant that has no limit of its own", default=2_000)
    control_plane_admin_listen: str = setting(
        "host:port for reflection, apart from the services; empty: they share the port", default=""
    )
    control_plane_listen: str = setting(
        "host:port of the gRPC server; port 0 takes a free one", default="127.0.0.1:50051"
    )
    metrics_listen: str = setting("host:port of /metrics; port 0 takes a free one", default="127.0.0.1:9101")
    token_env: str = setting("The environment in new SCIM tokens: live, test or dev", default="live")
    token_iterations: int = setting("PBKDF2-SHA256 iterations of new SCIM tokens", default=600_000)
    postgres_pool_size: int = setting("Connections to PostgreSQL for each of the two roles", default=8)
    postgres_timeout_s: float = setting(
        "Seconds that one SQL statement, and the wait for a connection, may take", default=5.0
    )
    filter_timeout_s: float = setting(
        "Seconds that one SQL statement of a search may take; a filter that needs more is answered tooMany", default=2.0
    )
    lease_ttl_s: float = setting(
        "Seconds that a lease lasts after its last heartbeat; workers beat at a third of it", default=30.0
    )
    relay_interval_s: float = setting("Seconds between sweeps for work that no queue knows of", default=5.0)
    drain_s: float = setting("Seconds that calls in flight may take after SIGTERM", default=5.0)
    reflection: bool = setting("Whether gRPC reflection is served, so that grpcurl works without files", default=True)
    log_level: str = setting("DEBUG, INFO, WARNING or ERROR", default="INFO")

"""Settings of a control-plane process, from ``MUSTER_*`` variables."""

from dataclasses import dataclass

from control_plane.runtime.settings import setting


@dataclass(frozen=True, slots=True)
class ControlPlaneSettings:
    """Everything that an operator may choose; the meanings appear in README.md, a test compares them."""

    postgres_url: str = setting(
        "PostgreSQL, postgresql://muster_app[:password]@host:port/database; muster_batch has the same password",
        secret=True,
    )
    redis_url: str = setting(
        "Redis or Valkey, as redis://[:password@]host:port/0; maxmemory-policy must be noeviction", secret=True
    )
    admin_token: str = setting("Bearer token that authorises admin calls; at least 32 characters", secret=True)
    gateway_token: str = setting("Bearer token that gateways present; at least 32 characters", secret=True)
    worker_token: str = setting("Bearer token that workers present; at least 32 characters", secret=True)
    sealing_key: str = setting("Base64 of the 32-byte key that seals the secrets of targets", secret=True)
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

"""Every metric of a control-plane process. Labels have few values: never an id, never a caller's text."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
LAG_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)


class Metrics:
    """One registry, so that tests and several control planes in one process do not meet."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.handled = Counter(
            "grpc_server_handled",
            "RPCs by method and status.",
            ["grpc_service", "grpc_method", "grpc_code"],
            registry=r,
        )
        self.handling_s = Histogram(
            "grpc_server_handling_seconds",
            "Time to handle an RPC.",
            ["grpc_service", "grpc_method"],
            buckets=SECONDS,
            registry=r,
        )
        self.admin_failures = Counter(
            "scim_admin_failure",
            "Admin and control-plane operations that failed.",
            ["endpoint", "error_type"],
            registry=r,
        )
        self.refused_credentials = Counter(
            "scim_admin_auth_failure", "Calls of the gRPC API whose credential proved nothing.", ["reason"], registry=r
        )
        self.stale_leases = Counter(
            "scim_job_stale_lease", "Leases that ended without a result: a worker crashed or was cut off.", registry=r
        )
        self.fenced_results = Counter(
            "scim_job_fenced_result", "Results refused because a newer lease exists.", registry=r
        )
        self.leases_granted = Counter("scim_job_lease_granted", "Leases sent to workers.", registry=r)
        self.results = Counter("scim_job_result", "Results of leases.", ["outcome"], registry=r)
        self.convergence_s = Histogram(
            "scim_convergence_lag_seconds",
            "From the SCIM write to applied in the target.",
            buckets=LAG_SECONDS,
            registry=r,
        )
        self.queue_keys = Gauge("scim_queue_depth", "Keys in the lease queue.", ["state"], registry=r)
        self.epoch = Gauge("scim_queue_epoch", "The life of the queue; rises when it was lost and rebuilt.", registry=r)
        self.relay_enqueued = Counter("scim_relay_enqueued", "Keys put into the queue, by way.", ["way"], registry=r)
        self.sessions = Gauge("scim_worker_sessions", "Workers connected to this process.", registry=r)
        self.tokens_expiring = Gauge(
            "scim_tokens_expiring",
            "Working SCIM tokens without a successor that expire within the span, over all tenants.",
            ["within"],
            registry=r,
        )
        self.kdf_waiting = Gauge("scim_kdf_queue_depth", "Token verifications that wait for or run PBKDF2.", registry=r)
        self.audit_pending = Gauge("scim_audit_pending", "Audit events that wait for their seal.", registry=r)
        self.audit_seal_lag_s = Gauge("scim_audit_seal_lag_seconds", "How long the oldest of them waits.", registry=r)
        self.audit_verify_failures = Counter(
            "scim_audit_chain_verify_failures", "Verifications of an audit trail that found a problem.", registry=r
        )
        self.audit_checkpoint_failures = Counter(
            "scim_audit_checkpoint_failures", "Audit checkpoints that could not be made.", registry=r
        )
        self.audit_checkpoint_at = Gauge(
            "scim_audit_checkpoint_timestamp_seconds", "When the newest audit checkpoint was made.", registry=r
        )

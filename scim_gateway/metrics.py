"""Every metric of the gateway, with its labels. No label holds text from outside: routes are templates."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

# Else each counter gets a second series with its creation time.
disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus-client does not annotate it

# Labels stay few: the first tenants that fail are named, the rest share one series.
MAX_TENANT_LABELS = 1_000
OTHER_TENANT = "other"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
REASONS = frozenset(
    {
        "missing", "malformed", "unknown", "mismatch", "revoked", "expired", "tenant_deleted", "network", "scope",
        "throttled",
    }
)  # fmt: skip


class GatewayMetrics:
    """The metrics of one gateway, in a registry of its own so that several can live in one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._tenants: set[str] = set()
        self._auth_failures = Counter(
            "scim_auth_failure_total",
            "Requests refused for their bearer token, by tenant (unknown unless the token is real) and reason",
            ["tenant", "reason"],
            registry=registry,
        )
        self._rate_limited = Counter(
            "scim_rate_limited_total",
            "Requests answered 429 for their tenant's rate limit",
            ["tenant"],
            registry=registry,
        )
        self._requests = Counter(
            "scim_http_requests_total",
            "Requests answered, by route template, method and status",
            ["route", "method", "code"],
            registry=registry,
        )
        self._duration = Histogram(
            "scim_http_request_duration_seconds",
            "Time from the headers of a request to its answer",
            ["route"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=registry,
        )
        self.inflight = Gauge("scim_http_inflight", "Requests at work", registry=registry)
        self.cache_hits = Counter(
            "scim_token_cache_hits_total", "Tokens answered from the verified or the refused cache", registry=registry
        )
        self.cache_misses = Counter(
            "scim_token_cache_misses_total", "Tokens that the control plane was asked about", registry=registry
        )
        self.watch_connected = Gauge(
            "scim_watch_stream_connected", "1 while the stream of token revocations is alive", registry=registry
        )

    def auth_failed(self, tenant: str, reason: str) -> None:
        """Count a refused bearer token; texts outside the known ones are folded."""
        self._auth_failures.labels(self._label(tenant), reason if reason in REASONS else "other").inc()

    def rate_limited(self, tenant: str) -> None:
        """Count a request beyond its tenant's rate limit."""
        self._rate_limited.labels(self._label(tenant)).inc()

    def answered(self, route: str, method: str, code: int, duration_s: float) -> None:
        """Count an answer and its time."""
        self._requests.labels(route, method if method in METHODS else "other", str(code)).inc()
        self._duration.labels(route).observe(duration_s)

    def _label(self, tenant: str) -> str:
        if tenant not in self._tenants:
            if len(self._tenants) >= MAX_TENANT_LABELS:
                return OTHER_TENANT
            self._tenants.add(tenant)
        return tenant

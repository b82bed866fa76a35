"""Every metric and label of a worker, in one list."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class WorkerMetrics:
    """The metrics of one worker process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.slots = Gauge(
            "muster_worker_slots",
            "Slots by state: busy, free; waiting = leases beyond them",
            ["state"],
            registry=registry,
        )
        self.leases_held = Gauge("muster_worker_leases_held", "Leases being worked on", registry=registry)
        self.unsettled = Gauge("muster_worker_results_unsettled", "Results that are not yet durable", registry=registry)
        self.results = Counter(
            "muster_worker_results_total",
            "Leases ended, by effect (none, created, ...) or failure class",
            ["outcome", "result"],  # outcome: done, nack
            registry=registry,
        )
        self.lost = Counter(
            "muster_worker_leases_lost_total",
            "Leases that ended before their result: expired, epoch (the server says), deadline (our clock)",
            ["reason"],
            registry=registry,
        )
        self.target_requests = Counter(
            "muster_worker_target_requests_total",
            "Requests to targets by kind of target and HTTP status, or timeout, unreachable, broken",
            ["kind", "code"],
            registry=registry,
        )
        self.target_seconds = Histogram(
            "muster_worker_target_request_seconds",
            "Time of requests to targets",
            ["kind"],
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self.connected = Gauge("muster_worker_stream_connected", "1 while the lease stream stands", registry=registry)
        self.reconnects = Counter("muster_worker_stream_ends_total", "Ends of the lease stream", registry=registry)
        self.loop_lag = Gauge(
            "muster_worker_event_loop_lag_seconds", "How late the handlers' loop last woke up", registry=registry
        )

    def observe_request(self, kind: str, code: str, seconds: float) -> None:
        """Count one request to a target."""
        self.target_requests.labels(kind, code).inc()
        self.target_seconds.labels(kind).observe(seconds)

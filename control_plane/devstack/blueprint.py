"""Which processes make up the stack: their commands, settings, ports, and how to see that each works."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from control_plane.client.tls import ClientTls
from control_plane.devstack import ports, readiness
from control_plane.devstack.certificates import Certificates
from control_plane.devstack.ports import HOST
from control_plane.devstack.postgres import EmbeddedPostgres
from control_plane.devstack.process import Spec
from control_plane.devstack.ready_file import Role
from control_plane.devstack.state import State
from control_plane.devstack.target_contract import BASE_PATH, TOKEN_VARIABLE
from control_plane.devstack.valkey import EmbeddedValkey

DATABASE, RUNTIME_ROLE = "muster", "muster_app"
# The target app of the show is on this machine.
LOOPBACK = "127.0.0.0/8"
# Short in development: a worker killed in the show, or by hand, gives its leases back while one watches.
LEASE_TTL_S = 10
# Short too: a verification of the audit trail soon has a checkpoint to go by.
CHECKPOINT_INTERVAL_S = 60
# Seconds; they fit into the time that the supervisor has to stop everything.
WORKER_DRAIN_S, GATEWAY_DRAIN_S, CONTROL_PLANE_DRAIN_S = 3, 1, 1.5


@dataclass(frozen=True, slots=True)
class Options:
    """What `muster dev` was asked for."""

    data_dir: Path
    ready_file: Path
    control_planes: int = 1
    gateways: int = 1
    workers: int = 2
    with_target: bool = True
    free_ports: bool = False
    mtls: bool = False

    def identities(self) -> list[str]:
        """Return the identities, for certificates, of all processes that speak gRPC."""
        counts = (("control-plane", self.control_planes), ("gateway", self.gateways), ("worker", self.workers))
        return [f"{role}/{n + 1}" for role, count in counts for n in range(count)]

    def default_ports(self) -> dict[str, int]:
        """Return the fixed port of each socket, by the name under which it is remembered."""
        chosen = {"postgres": ports.POSTGRES, "redis": ports.VALKEY, "gateway": ports.GATEWAY}
        if self.with_target:
            chosen["target"] = ports.TARGET
        for n in range(self.control_planes):
            chosen[f"control-plane-{n + 1}"] = ports.CONTROL_PLANE + n
            chosen[f"control-plane-{n + 1} metrics"] = ports.CONTROL_PLANE_METRICS + n
        chosen |= {f"gateway-{n + 1} metrics": ports.GATEWAY_METRICS + n for n in range(self.gateways)}
        chosen |= {f"worker-{n + 1} metrics": ports.WORKER_METRICS + n for n in range(self.workers)}
        return chosen


class Blueprint:
    """All specs of one stack. The engine's ``prepare()`` must have run before its spec is asked for."""

    def __init__(self, options: Options, state: State, certificates: Certificates | None = None) -> None:
        """``certificates`` are those of mutual TLS; None: gRPC is plaintext."""
        self._options, self._state, self._certificates = options, state, certificates
        self._ports = state.ports
        self.engine = EmbeddedPostgres(options.data_dir / "postgres", self._ports["postgres"])
        self.valkey = EmbeddedValkey(options.data_dir / "valkey", self._ports["redis"])

    @property
    def scim_base_url(self) -> str:
        """Where identity providers push; all gateways share it."""
        return f"http://{HOST}:{self._ports['gateway']}/scim/v2"

    @property
    def target_url(self) -> str:
        """The SCIM base URL of the target app."""
        return f"http://{HOST}:{self._ports['target']}{BASE_PATH}"

    @property
    def control_planes(self) -> list[str]:
        """The gRPC addresses."""
        count = self._options.control_planes
        return [f"{HOST}:{self._ports[f'control-plane-{n + 1}']}" for n in range(count)]

    def postgres(self) -> Spec:
        """PostgreSQL."""
        popen = self.engine.popen_options()
        return Spec(
            name="postgres",
            role=Role.POSTGRES,
            command=tuple(self.engine.command()),
            env=_environment({}),
            port=self.engine.port,
            is_ready=readiness.accepts_queries(self.engine.superuser_url("postgres")),
            stop_signal=self.engine.stop_signal,
            owner=(popen["user"], popen["group"]) if "user" in popen else None,
            cwd=popen["cwd"],
        )

    def redis(self) -> Spec:
        """Valkey."""
        return Spec(
            name="redis",
            role=Role.REDIS,
            command=tuple(self.valkey.command()),
            env=_environment({}),
            port=self._ports["redis"],
            is_ready=readiness.answers_ping(HOST, self._ports["redis"]),
        )

    def target(self) -> Spec:
        """The target app."""
        port = self._ports["target"]
        module = "control_plane.devstack.scim_target"
        journal = self._options.data_dir / "target.jsonl"
        return Spec(
            name="target",
            role=Role.TARGET,
            command=(sys.executable, "-m", module, "--port", str(port), "--journal", str(journal)),
            env=_environment({TOKEN_VARIABLE: self._state.secrets.target_token}),
            port=port,
            is_ready=readiness.answers_http(f"{self.target_url}/ServiceProviderConfig"),
        )

    def migrate(self) -> Spec:
        """The migration: runs to its end before any control plane starts."""
        settings = {"MUSTER_POSTGRES_OWNER_URL": self.engine.superuser_url(DATABASE)}

        async def never() -> bool:
            return False

        return Spec("migrate", Role.CONTROL_PLANE, _muster("migrate"), _environment(settings), 0, never)

    def control_plane(self, number: int) -> Spec:
        """Control plane ``number``, from 1."""
        name, secrets = f"control-plane-{number}", self._state.secrets
        address, metrics = f"{HOST}:{self._ports[name]}", self._ports[f"{name} metrics"]
        settings = {
            "MUSTER_POSTGRES_URL": f"postgresql://{RUNTIME_ROLE}@{HOST}:{self.engine.port}/{DATABASE}",
            "MUSTER_REDIS_URL": self.valkey.url(),
            "MUSTER_CONTROL_PLANE_LISTEN": address,
            "MUSTER_METRICS_LISTEN": f"{HOST}:{metrics}",
            "MUSTER_ADMIN_TOKEN": secrets.admin_token,
            "MUSTER_SEALING_KEY": secrets.sealing_key,
            "MUSTER_AUDIT_SIGNING_KEY": secrets.audit_signing_key,
            "MUSTER_AUDIT_CHECKPOINT_DIR": str(self._options.data_dir / "audit"),
            "MUSTER_AUDIT_CHECKPOINT_INTERVAL_S": str(CHECKPOINT_INTERVAL_S),
            "MUSTER_TOKEN_ENV": "dev",
            "MUSTER_ALLOWED_NETWORKS": LOOPBACK,
            "MUSTER_LEASE_TTL_S": str(LEASE_TTL_S),
            "MUSTER_DRAIN_S": str(CONTROL_PLANE_DRAIN_S),
        }
        tokens = {"MUSTER_GATEWAY_TOKEN": secrets.gateway_token, "MUSTER_WORKER_TOKEN": secrets.worker_token}
        settings |= self._transport(f"control-plane/{number}", tokens)
        ready = readiness.serves_grpc(address, self.tls)
        return _process(name, Role.CONTROL_PLANE, settings, self._ports[name], metrics, ready)

    def gateway(self, number: int) -> Spec:
        """Gateway ``number``, from 1; all listen on one port (SO_REUSEPORT)."""
        name, port = f"gateway-{number}", self._ports["gateway"]
        metrics = self._ports[f"{name} metrics"]
        settings = {
            "MUSTER_GATEWAY_LISTEN": f"{HOST}:{port}",
            "MUSTER_GATEWAY_REUSE_PORT": "true",
            "MUSTER_CONTROL_PLANE": ",".join(self.control_planes),
            "MUSTER_GATEWAY_DRAIN_S": str(GATEWAY_DRAIN_S),
            "MUSTER_METRICS_LISTEN": f"{HOST}:{metrics}",
        }
        settings |= self._transport(f"gateway/{number}", {"MUSTER_GATEWAY_TOKEN": self._state.secrets.gateway_token})
        # The shared port may be answered by a sister; the metrics port is this one's alone.
        ready = readiness.answers_http(_metrics_url(metrics), f"http://{HOST}:{port}/readyz")
        return _process(name, Role.GATEWAY, settings, port, metrics, ready)

    def worker(self, number: int) -> Spec:
        """Worker ``number``, from 1. It serves nothing but its metrics."""
        name = f"worker-{number}"
        metrics = self._ports[f"{name} metrics"]
        settings = {
            "MUSTER_CONTROL_PLANE": ",".join(self.control_planes),
            "MUSTER_METRICS_LISTEN": f"{HOST}:{metrics}",
            "MUSTER_ALLOWED_NETWORKS": LOOPBACK,
            "MUSTER_WORKER_DRAIN_S": str(WORKER_DRAIN_S),
        }
        settings |= self._transport(f"worker/{number}", {"MUSTER_WORKER_TOKEN": self._state.secrets.worker_token})
        return _process(name, Role.WORKER, settings, metrics, metrics, readiness.answers_http(_metrics_url(metrics)))

    @property
    def tls(self) -> ClientTls | None:
        """What people call the control planes with; None: plaintext."""
        return self._certificates.admin if self._certificates else None

    def _transport(self, identity: str, tokens: dict[str, str]) -> dict[str, str]:
        """Return what makes a process known to its peers: a certificate alone, or plaintext and ``tokens``."""
        if self._certificates is None:
            return {"MUSTER_PLAINTEXT": "true", **tokens}
        return self._certificates.settings(identity)


def _process(
    name: str, role: Role, settings: dict[str, str], port: int, metrics: int, is_ready: readiness.Check
) -> Spec:
    return Spec(name, role, _muster(role.value), _environment(settings), port, is_ready, _metrics_url(metrics))


def _muster(command: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "control_plane", command)


def _metrics_url(port: int) -> str:
    return f"http://{HOST}:{port}/metrics"


def _environment(settings: dict[str, str]) -> dict[str, str]:
    """Return this process's environment with those of ``settings`` as the only MUSTER_* variables."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MUSTER_")}
    # The log level is the one wish that makes sense for all of them.
    if level := os.environ.get("MUSTER_LOG_LEVEL"):
        ours["MUSTER_LOG_LEVEL"] = level
    return ours | settings

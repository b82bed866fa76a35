"""A control plane, gateways and, if asked for, workers as processes of their own, on the engines of the test run."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

READY_WITHIN_S = 30
STOP_WITHIN_S = 15
ADMIN, GATEWAY, WORKER = "admin-" + "c" * 32, "gateway-" + "c" * 32, "worker-" + "c" * 32

CONTROL_PLANE = {
    "MUSTER_PLAINTEXT": "true",
    "MUSTER_GATEWAY_TOKEN": GATEWAY,
    "MUSTER_ADMIN_TOKEN": ADMIN,
    "MUSTER_WORKER_TOKEN": WORKER,
    "MUSTER_SEALING_KEY": base64.b64encode(b"c" * 32).decode(),
    "MUSTER_CONTROL_PLANE_LISTEN": "127.0.0.1:0",
    "MUSTER_METRICS_LISTEN": "127.0.0.1:0",
    "MUSTER_ALLOWED_NETWORKS": "127.0.0.0/8",
    "MUSTER_TOKEN_ENV": "test",
    # Enough iterations to be PBKDF2, few enough for a token per test.
    "MUSTER_TOKEN_ITERATIONS": "1000",
    "MUSTER_DRAIN_S": "0.5",
}
GATEWAY_SETTINGS = {
    "MUSTER_PLAINTEXT": "true",
    "MUSTER_GATEWAY_TOKEN": GATEWAY,
    "MUSTER_GATEWAY_LISTEN": "127.0.0.1:0",
    "MUSTER_METRICS_LISTEN": "127.0.0.1:0",
}


@dataclass
class Service:
    """What is started; ``stop`` ends it in the other order."""

    folder: Path
    postgres_url: str
    redis_url: str
    gateways: int = 1
    # Settings besides the usual, for the control plane and for each gateway.
    more: dict[str, dict[str, str]] = field(default_factory=dict)
    control_plane: str = ""
    origins: list[str] = field(default_factory=list)
    metrics_urls: dict[str, str] = field(default_factory=dict)
    _processes: "dict[str, subprocess.Popen[bytes]]" = field(default_factory=dict)

    @property
    def origin(self) -> str:
        """The first gateway's."""
        return self.origins[0]

    @property
    def scim_base(self) -> str:
        """The SCIM base URL."""
        return f"{self.origin}/scim/v2"

    def start(self) -> None:
        """Start all and return when requests can be sent."""
        ready = self._run("control-plane", CONTROL_PLANE | self._engines() | self.more.get("control-plane", {}))
        self.control_plane = f"127.0.0.1:{ready['port']}"
        for number in range(self.gateways):
            self.add_gateway(f"gateway-{number + 1}", {"MUSTER_CONTROL_PLANE": self.control_plane})

    def add_gateway(self, name: str, settings: dict[str, str]) -> str:
        """Start one more gateway and return its origin."""
        ready = self._run("gateway", GATEWAY_SETTINGS | self.more.get("gateway", {}) | settings, name=name)
        origin = f"http://127.0.0.1:{ready['port']}"
        self.origins.append(origin)
        health = ready.get("admin_port")
        _until_ready(f"http://127.0.0.1:{health}" if health else origin)
        return origin

    def add_worker(self, name: str) -> None:
        """Start a worker, for targets on this machine."""
        settings = {
            "MUSTER_PLAINTEXT": "true",
            "MUSTER_WORKER_TOKEN": WORKER,
            "MUSTER_CONTROL_PLANE": self.control_plane,
            "MUSTER_ALLOWED_NETWORKS": "127.0.0.0/8",
            "MUSTER_METRICS_LISTEN": "127.0.0.1:0",
            "MUSTER_WORKER_DRAIN_S": "0.5",
        }
        self._run("worker", settings | self.more.get("worker", {}), name=name)

    @property
    def logs(self) -> dict[str, str]:
        """What each process has logged, by its name."""
        return {name: self.log_of(name) for name in self._processes}

    def is_running(self, name: str) -> bool:
        """Whether a process has not ended."""
        return self._processes[name].poll() is None

    def pid_of(self, name: str) -> int:
        """Return the process id of "control-plane" or "gateway-<n>"."""
        return self._processes[name].pid

    def stop(self) -> None:
        """Stop all as an operator does; whoever does not end in time is a failure."""
        for process in reversed(self._processes.values()):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        self._processes.clear()

    def log_of(self, name: str) -> str:
        """Return what a process has logged."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def _engines(self) -> dict[str, str]:
        return {"MUSTER_POSTGRES_URL": self.postgres_url, "MUSTER_REDIS_URL": self.redis_url}

    def _run(self, role: str, settings: dict[str, str], name: str = "") -> dict[str, Any]:
        """Start a process and return the fields of its ready line."""
        name = name or role
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MUSTER_")}
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "control_plane", role],
                env=inherited | settings,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        self._processes[name] = process
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            for line in self.log_of(name).splitlines():
                if line.startswith("{") and line.endswith("}") and (said := json.loads(line))["event"] == "ready":
                    self.metrics_urls[name] = f"http://127.0.0.1:{said['metrics_port']}/metrics"
                    return dict(said)
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the {name} does not start: {self.log_of(name)[-3000:]}")
            time.sleep(0.02)


def _until_ready(origin: str) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        try:
            urllib.request.urlopen(f"{origin}/readyz", timeout=5).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return

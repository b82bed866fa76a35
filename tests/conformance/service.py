"""A control plane and a gateway as two processes, on the engines of the test run; no workers."""

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


@dataclass
class Service:
    """What is started; ``stop`` ends it in the other order."""

    folder: Path
    postgres_url: str
    redis_url: str
    control_plane: str = ""
    origin: str = ""
    _processes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    @property
    def scim_base(self) -> str:
        """The SCIM base URL."""
        return f"{self.origin}/scim/v2"

    def start(self) -> None:
        """Start both and return when requests can be sent."""
        common = {"MUSTER_GATEWAY_TOKEN": GATEWAY, "MUSTER_METRICS_LISTEN": "127.0.0.1:0"}
        ready = self._run(
            "control-plane",
            common
            | {
                "MUSTER_POSTGRES_URL": self.postgres_url,
                "MUSTER_REDIS_URL": self.redis_url,
                "MUSTER_ADMIN_TOKEN": ADMIN,
                "MUSTER_WORKER_TOKEN": WORKER,
                "MUSTER_SEALING_KEY": base64.b64encode(b"c" * 32).decode(),
                "MUSTER_CONTROL_PLANE_LISTEN": "127.0.0.1:0",
                "MUSTER_TOKEN_ENV": "test",
                # Enough iterations to be PBKDF2, few enough for a token per test.
                "MUSTER_TOKEN_ITERATIONS": "1000",
                "MUSTER_DRAIN_S": "0.5",
            },
        )
        self.control_plane = f"127.0.0.1:{ready['port']}"
        ready = self._run(
            "gateway",
            common | {"MUSTER_CONTROL_PLANE": self.control_plane, "MUSTER_GATEWAY_LISTEN": "127.0.0.1:0"},
        )
        self.origin = f"http://127.0.0.1:{ready['port']}"
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                urllib.request.urlopen(f"{self.origin}/readyz", timeout=5).close()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """Stop both as an operator does; whoever does not end in time is a failure."""
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        self._processes.clear()

    def log_of(self, role: str) -> str:
        """Return what a process has logged."""
        return (self.folder / f"{role}.log").read_text(errors="replace")

    def _run(self, role: str, settings: dict[str, str]) -> dict[str, Any]:
        """Start a process and return the fields of its ready line."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MUSTER_")}
        with (self.folder / f"{role}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "control_plane", role],
                env=inherited | settings,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        self._processes.append(process)
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            for line in self.log_of(role).splitlines():
                if line.startswith("{") and line.endswith("}") and (said := json.loads(line))["event"] == "ready":
                    return dict(said)
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the {role} does not start: {self.log_of(role)[-3000:]}")
            time.sleep(0.02)

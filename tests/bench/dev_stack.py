"""The stack under test: `muster dev` in a folder of its own, in processes of its own, ended by process id.

The lease scenario brings its own worker. `muster dev` always starts one, so for that scenario this module is the
command (``python -m tests.bench.dev_stack DATA_DIR READY_FILE``): the same supervisor, without a worker.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import orjson
import psutil

from control_plane.devstack import state
from control_plane.domain.ids import TenantId
from control_plane.storage.roles import APP_ROLE, BATCH_ROLE
from tests.bench.errors import BenchError

START_LIMIT_S, STOP_LIMIT_S, POLL_S = 90.0, 20.0, 0.1


@dataclass(frozen=True, slots=True)
class Stack:
    """Where everything is, from the ready file and the state file."""

    http_port: int
    scim_token: str = field(repr=False)
    tenant: TenantId
    second_tenant: TenantId
    second_scim_token: str = field(repr=False)
    grpc_target: str
    admin_token: str = field(repr=False)
    gateway_token: str = field(repr=False)
    worker_token: str = field(repr=False)
    superuser_url: str
    metrics_url: str
    pids: dict[str, int]

    @property
    def postgres_port(self) -> int:
        """The port of PostgreSQL."""
        return urlsplit(self.superuser_url).port or 0

    @property
    def app_url(self) -> str:
        """PostgreSQL, as the role that serves one tenant."""
        return self._as(APP_ROLE)

    @property
    def batch_url(self) -> str:
        """PostgreSQL, as the role of background duties."""
        return self._as(BATCH_ROLE)

    def process(self, name: str) -> psutil.Process:
        """Return a process by its name in the ready file."""
        return psutil.Process(self.pids[name])

    def _as(self, role: str) -> str:
        parts = urlsplit(self.superuser_url)
        return f"postgresql://{role}@{parts.hostname}:{parts.port}{parts.path}"


@contextmanager
def dev_stack(folder: Path, *, with_worker: bool) -> Iterator[Stack]:
    """Run a stack with its data in ``folder`` while the context is open; what is there already stays."""
    data, ready, log = folder / "data", folder / "ready.json", folder / "dev.log"
    ready.unlink(missing_ok=True)
    if with_worker:
        muster = str(Path(sys.executable).with_name("muster"))
        options = ["--free-ports", "--target", "none", "--workers", "1"]
        command = [muster, "dev", "--data-dir", str(data), "--ready-file", str(ready), *options]
    else:
        command = [sys.executable, "-m", "tests.bench.dev_stack", str(data), str(ready)]
    with log.open("ab") as output, subprocess.Popen(command, stdout=output, stderr=output) as supervisor:
        try:
            _wait(supervisor, ready, log)
            yield _read(data, ready)
        finally:
            supervisor.terminate()
            try:
                supervisor.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                # Its children are tied to its life and end with it.
                supervisor.kill()


def _wait(supervisor: "subprocess.Popen[bytes]", ready: Path, log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not ready.exists():
        if supervisor.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"the stack did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(POLL_S)


def _read(data: Path, ready: Path) -> Stack:
    told = orjson.loads(ready.read_bytes())
    processes = {one["name"]: one for one in told["processes"]}
    return Stack(
        http_port=urlsplit(told["scim_base_url"]).port or 0,
        scim_token=told["scim_token"],
        tenant=TenantId(UUID(told["tenant"])),
        second_tenant=TenantId(UUID(told["second_tenant"])),
        second_scim_token=told["second_scim_token"],
        grpc_target=told["grpc_target"],
        admin_token=told["admin_token"],
        gateway_token=state.load(data).secrets.gateway_token,
        worker_token=state.load(data).secrets.worker_token,
        superuser_url=told["postgres_url"],
        metrics_url=processes["control-plane-1"]["metrics_url"],
        pids={name: one["pid"] for name, one in processes.items()},
    )


def main() -> None:
    """Run a stack without a worker until SIGTERM."""
    from control_plane.devstack.blueprint import Options
    from control_plane.devstack.dev import run_dev

    data, ready = (Path(argument).absolute() for argument in sys.argv[1:])
    options = Options(data, ready, workers=0, with_target=False, free_ports=True)
    asyncio.run(run_dev(options, print, lambda _: None))


if __name__ == "__main__":
    main()

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from typer.testing import CliRunner

from control_plane.cli.app import app
from control_plane.cli.health import is_healthy

LIMIT_S = 30


@pytest.fixture
def web() -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in ("/readyz", "/metrics") else 503)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join(LIMIT_S)


@pytest.mark.parametrize("name", ["console", "portal"])
def test_what_is_not_built_is_refused_and_not_advertised(name: str) -> None:
    done = CliRunner().invoke(app, [name])
    assert (done.exit_code, done.stderr) == (2, f"muster: the {name} is not built yet\n")
    assert name not in CliRunner().invoke(app, ["--help"]).stdout


def test_migrate_says_which_setting_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUSTER_POSTGRES_OWNER_URL", raising=False)
    done = CliRunner().invoke(app, ["migrate"])
    assert done.exit_code == 1
    assert "MUSTER_POSTGRES_OWNER_URL (or MUSTER_POSTGRES_OWNER_URL_FILE) must be set" in done.stderr


def test_a_migration_that_fails_is_one_line_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSTER_POSTGRES_OWNER_URL", "postgresql://owner:hush@127.0.0.1:1/muster?connect_timeout=2")
    done = CliRunner().invoke(app, ["migrate"])
    assert done.exit_code == 1
    assert "the migration failed" in done.stderr
    assert "hush" not in done.stderr


def test_a_gateway_is_healthy_when_it_is_ready(web: int) -> None:
    assert is_healthy("gateway", {"MUSTER_GATEWAY_LISTEN": f"0.0.0.0:{web}"})


def test_a_worker_is_healthy_when_its_metrics_answer(web: int) -> None:
    assert is_healthy("worker", {"MUSTER_METRICS_LISTEN": f"127.0.0.1:{web}"})


@pytest.mark.parametrize("process", ["control-plane", "gateway", "worker"])
def test_what_does_not_listen_is_not_healthy(process: str) -> None:
    env = {f"MUSTER_{name}_LISTEN": "127.0.0.1:1" for name in ("CONTROL_PLANE", "GATEWAY", "METRICS")}
    assert not is_healthy(process, env)


def test_a_control_plane_is_healthy_while_it_serves() -> None:
    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    env = {"MUSTER_CONTROL_PLANE_LISTEN": f"0.0.0.0:{server.add_insecure_port('127.0.0.1:0')}"}
    server.start()
    try:
        servicer.set("", health_pb2.HealthCheckResponse.SERVING)
        assert is_healthy("control-plane", env)
        servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        assert not is_healthy("control-plane", env)
    finally:
        server.stop(grace=None).wait(LIMIT_S)


def test_help_does_not_load_the_servers() -> None:
    code = (
        "import sys; from control_plane.cli.app import app\n"
        "heavy = {'grpc', 'sqlalchemy', 'aiohttp', 'google.protobuf', 'scim_gateway', 'workers'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr

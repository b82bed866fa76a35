"""`muster dev --mtls`: the whole way, with certificates instead of service tokens."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.e2e.stack import Scim, Stack, a_user, eventually
from tests.e2e.walk import walk


@pytest.fixture(scope="module")
def secure(stack_folder: Path) -> Iterator[Stack]:
    folder = stack_folder / "mtls"
    folder.mkdir(mode=0o711)
    one = Stack(folder, ("--mtls", "--workers", "1"))
    one.start()
    yield one
    one.stop()


async def test_a_user_arrives_and_the_cli_works(secure: Stack, http: aiohttp.ClientSession) -> None:
    ready = secure.ready()
    assert ready["grpc_plaintext"] is False
    assert set(ready["grpc_tls"]) == {"ca", "cert", "key", "server_name"}
    app = Scim(http, ready["target"]["url"], ready["target"]["token"])
    status, user = await Scim(http, ready["scim_base_url"], ready["scim_token"]).call("POST", "/Users", a_user("ada"))
    assert status == 201, user

    async def arrived() -> bool:
        return [one["userName"] for one in await app.all("/Users")] == ["ada"]

    await eventually(arrived, 15)
    listed = muster(["tenant", "list", "--json", "--ready-file", str(secure.ready_file)])
    assert ready["tenant"] in {tenant["id"] for tenant in json.loads(listed)["tenants"]}
    tls = ready["grpc_tls"]
    variables = {
        "MUSTER_CONTROL_PLANE": ready["grpc_target"],
        "MUSTER_ADMIN_TOKEN": ready["admin_token"],
        "MUSTER_TLS_CERT": tls["cert"],
        "MUSTER_TLS_KEY": tls["key"],
        "MUSTER_TLS_CA": tls["ca"],
    }
    # The worker's lease was granted to the name in its certificate.
    command = ["audit", "list", "--tenant", ready["tenant"], "--action", "target.apply", "--json"]
    [event] = json.loads(muster(command, variables))["events"]
    assert event["actor_id"].startswith("1-")


async def test_each_process_tells_when_its_certificate_runs_out(secure: Stack, http: aiohttp.ClientSession) -> None:
    for role in ("control-plane", "gateway", "worker"):
        [process] = secure.processes(role)
        async with http.get(process["metrics_url"]) as answer:
            lines = (await answer.text()).splitlines()
        [shown] = [line for line in lines if line.startswith("scim_tls_certificate_expires_timestamp_seconds ")]
        assert 0 < float(shown.split()[1]) - time.time() <= 365 * 86400


async def test_without_a_certificate_nobody_gets_in(secure: Stack) -> None:
    ready = secure.ready()
    trust = grpc.ssl_channel_credentials(Path(ready["grpc_tls"]["ca"]).read_bytes())
    options = [("grpc.ssl_target_name_override", ready["grpc_tls"]["server_name"])]
    channels = (
        grpc.aio.insecure_channel(ready["grpc_target"]),
        grpc.aio.secure_channel(ready["grpc_target"], trust, options=options),
    )
    for channel in channels:
        async with channel:
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
            assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE


def test_the_walk_through_of_the_admin_api(secure: Stack, tmp_path: Path) -> None:
    ready = secure.ready()
    tls = {f"TLS_{name.upper()}": ready["grpc_tls"][name] for name in ("ca", "cert", "key")}
    walk(tmp_path, {"GRPC": ready["grpc_target"], "ADMIN": ready["admin_token"], **tls}, without="plaintext")


def muster(arguments: list[str], variables: dict[str, str] | None = None) -> str:
    """Run the CLI and return what it printed."""
    command = [sys.executable, "-m", "control_plane", *arguments]
    done = subprocess.run(
        command, env=os.environ | (variables or {}), capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout

"""The gateway as a process: settings from the environment, ready line, metrics, SIGTERM."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio

from tests.fakes.control_plane import GATEWAY_TOKEN, FakeControlPlane
from tests.fixtures.gateway import eventually

LIMIT_S = 10.0
MEBIBYTE = 1024 * 1024


async def start(**env: str) -> Process:
    """Start ``python -m scim_gateway`` with nothing but these settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MUSTER_")}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "scim_gateway", env={**inherited, **env}, stderr=PIPE, stdout=PIPE
    )


async def event(process: Process, name: str) -> dict[str, Any]:
    """Read log lines until the event ``name`` and return it."""
    assert process.stderr is not None
    async with asyncio.timeout(LIMIT_S):
        async for line in process.stderr:
            if line.startswith(b"{") and (fields := orjson.loads(line))["event"] == name:
                return dict(fields)
    raise AssertionError(f"the process ended without {name}")


@pytest_asyncio.fixture
async def process(fake_control_plane: FakeControlPlane) -> AsyncIterator[Process]:
    started = await start(
        MUSTER_GATEWAY_TOKEN=GATEWAY_TOKEN,
        MUSTER_PLAINTEXT="true",
        MUSTER_GATEWAY_LISTEN="127.0.0.1:0",
        MUSTER_METRICS_LISTEN="127.0.0.1:0",
        MUSTER_CONTROL_PLANE=f"127.0.0.1:{fake_control_plane.port}",
    )
    yield started
    if started.returncode is None:
        started.kill()
        await started.wait()


async def test_serve_then_finish_what_is_at_work_and_exit(
    process: Process, fake_control_plane: FakeControlPlane
) -> None:
    ready = await event(process, "ready")
    assert ready["service"] == "gateway"
    base = f"http://127.0.0.1:{ready['port']}/scim/v2"
    headers = {"Authorization": f"Bearer {fake_control_plane.issue('default')}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with asyncio.timeout(LIMIT_S):
            while (await _status(session, f"http://127.0.0.1:{ready['port']}/readyz"))[0] != 200:
                await asyncio.sleep(0.01)
        async with session.get(f"{base}/Users") as answer:
            assert answer.status == 200
        async with session.get(f"http://127.0.0.1:{ready['metrics_port']}/metrics") as answer:
            text = await answer.text()
        for name in ("scim_http_requests_total", "scim_auth_failure_total", "scim_watch_stream_connected 1.0"):
            assert name in text
        fake_control_plane.state.gate.clear()
        async with asyncio.TaskGroup() as group:
            at_work = group.create_task(_status(session, f"{base}/Groups"))
            await eventually(lambda: len(fake_control_plane.calls("ListResources")) == 2)
            process.send_signal(signal.SIGTERM)
            assert (await event(process, "stopping"))["inflight"] == 1
            with pytest.raises(aiohttp.ClientConnectionError):
                async with aiohttp.ClientSession() as other:
                    await other.get(f"{base}/Users")
            fake_control_plane.state.gate.set()
        assert at_work.result() == (200, "close")
    async with asyncio.timeout(LIMIT_S):
        assert await process.wait() == 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to look at another process's memory")
async def test_a_large_group_is_streamed_with_bounded_memory(
    process: Process, fake_control_plane: FakeControlPlane
) -> None:
    port = (await event(process, "ready"))["port"]
    group = fake_control_plane.add_group(0)
    member = {"value": "v" * 36, "$ref": "r" * 100, "display": "d" * 100, "type": "User"}
    # Three times as many as are promised, so that holding them would show: more than 64 MiB in all.
    fake_control_plane.state.members[group] = [member] * 300_000
    headers = {"Authorization": f"Bearer {fake_control_plane.issue('default')}"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as session:
        async with session.get("/scim/v2/Groups?count=0") as answer:
            assert answer.status == 200
        before = _memory(process, "VmRSS")
        for path in (f"/scim/v2/Groups/{group}", "/scim/v2/Groups", f"/scim/v2/Groups/{group}?attributes=members"):
            size = 0
            async with session.get(path) as answer:
                assert answer.status == 200
                async for piece in answer.content.iter_any():
                    size += len(piece)
            assert size > 80 * MEBIBYTE
    assert _memory(process, "VmHWM") - before < 64 * MEBIBYTE


def _memory(process: Process, name: str) -> int:
    """Return bytes of a process's resident memory: now (VmRSS) or at its peak (VmHWM)."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


async def _status(session: aiohttp.ClientSession, url: str) -> tuple[int, str | None]:
    async with session.get(url) as answer:
        await answer.read()
        return answer.status, answer.headers.get("Connection")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"MUSTER_PLAINTEXT": "true"}, [b"MUSTER_GATEWAY_TOKEN"]),
        # Neither TLS nor plaintext: what is to be done is said both ways.
        ({"MUSTER_GATEWAY_TOKEN": GATEWAY_TOKEN}, [b"MUSTER_TLS_CERT", b"MUSTER_PLAINTEXT=true"]),
    ],
)
async def test_a_missing_setting_is_named(given: dict[str, str], named: list[bytes]) -> None:
    process = await start(**given)
    _, stderr = await process.communicate()
    assert process.returncode == 1
    assert all(name in stderr for name in named)
    assert b"Traceback" not in stderr


async def test_a_trusted_proxy_that_is_no_network_is_named() -> None:
    process = await start(MUSTER_GATEWAY_TOKEN=GATEWAY_TOKEN, MUSTER_GATEWAY_TRUSTED_PROXIES="10.0.0.0/8,proxy.example")
    _, stderr = await process.communicate()
    assert process.returncode == 1
    assert b"MUSTER_GATEWAY_TRUSTED_PROXIES" in stderr
    assert b"proxy.example" in stderr
    assert b"Traceback" not in stderr

"""`muster dev` stops cleanly, leaves no process, and has everything again on the same folder."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from tests.e2e.stack import GROUP, Scim, Stack, a_user, eventually


@pytest.fixture
def fresh_stack() -> Iterator[Stack]:
    folder = Path(tempfile.mkdtemp(prefix="muster-restart-"))
    os.chmod(folder, 0o711)
    one = Stack(folder, ("--workers", "1"))
    yield one
    if one.process is not None and one.process.poll() is None:
        one.stop()
    shutil.rmtree(folder, ignore_errors=True)


def clients(stack: Stack, http: aiohttp.ClientSession) -> tuple[Scim, Scim]:
    """Return the identity provider's and the target's client."""
    ready = stack.ready()
    target = ready["target"]
    return Scim(http, ready["scim_base_url"], ready["scim_token"]), Scim(http, target["url"], target["token"])


@pytest.mark.timeout(180)
async def test_data_survives_and_no_process_does(fresh_stack: Stack, http: aiohttp.ClientSession) -> None:
    fresh_stack.start()
    first = fresh_stack.ready()
    idp, app = clients(fresh_stack, http)
    _, user = await idp.call("POST", "/Users", a_user("keeper"))
    await idp.call("POST", "/Groups", {"schemas": [GROUP], "displayName": "Kept", "members": [{"value": user["id"]}]})

    async def both_arrived() -> bool:
        groups = await app.all("/Groups")
        return len(await app.all("/Users")) == 1 and len(groups) == 1 and len(groups[0].get("members", [])) == 1

    await eventually(both_arrived, 10)
    family = psutil.Process(fresh_stack.process.pid).children(recursive=True) if fresh_stack.process else []
    assert len(family) >= 6
    assert fresh_stack.stop() < 10
    assert [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []

    fresh_stack.start()
    second = fresh_stack.ready()
    kept = ("tenant", "scim_token", "second_tenant", "second_scim_token", "admin_token")
    assert [second[key] for key in kept] == [first[key] for key in kept]
    idp, app = clients(fresh_stack, http)
    status, again = await idp.call("GET", f"/Users/{user['id']}")
    assert (status, again["userName"]) == (200, "keeper")
    assert await both_arrived()
    await idp.call("POST", "/Users", a_user("newcomer"))

    async def two() -> bool:
        return len(await app.all("/Users")) == 2

    await eventually(two, 10)

"""One running stack for the end-to-end tests that leave it as they found it; others start their own."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.e2e.stack import Scim, Stack


@pytest.fixture(scope="session")
def stack_folder() -> Iterator[Path]:
    """A folder that PostgreSQL's user can enter."""
    folder = Path(tempfile.mkdtemp(prefix="muster-e2e-"))
    os.chmod(folder, 0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def stack(stack_folder: Path) -> Iterator[Stack]:
    """A started `muster dev`."""
    one = Stack(stack_folder)
    one.start()
    yield one
    one.stop()


@pytest_asyncio.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        yield session


@pytest_asyncio.fixture
async def idp(stack: Stack, http: aiohttp.ClientSession) -> Scim:
    """The first tenant's identity provider."""
    ready = stack.ready()
    return Scim(http, ready["scim_base_url"], ready["scim_token"])


@pytest_asyncio.fixture
async def other_idp(stack: Stack, http: aiohttp.ClientSession) -> Scim:
    """The second tenant's identity provider."""
    ready = stack.ready()
    return Scim(http, ready["scim_base_url"], ready["second_scim_token"])


@pytest_asyncio.fixture
async def app(stack: Stack, http: aiohttp.ClientSession) -> Scim:
    """The target app itself, asked directly."""
    target = stack.ready()["target"]
    return Scim(http, target["url"], target["token"])

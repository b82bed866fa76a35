"""Fixtures for all: one real server each, in ``tests/fixtures``; and logging as it was, after each test."""

import logging
from collections.abc import Iterator

import pytest
import structlog

pytest_plugins = [
    "tests.fixtures.postgres",
    "tests.fixtures.valkey",
    "tests.fixtures.proxy",
    "tests.fixtures.control_plane",
    "tests.fixtures.scim_target",
    "tests.fixtures.gateway",
    "tests.conformance.site",
]


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Undo what a process's own set-up of logs does: a test that runs a command in this process calls it."""
    root, server = logging.getLogger(), logging.getLogger("aiohttp.server")
    handlers, levels = list(root.handlers), (root.level, server.level)
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    server.setLevel(levels[1])

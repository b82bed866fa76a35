"""docs/admin-api.md's walk-through runs as it stands; over mutual TLS too, in test_mtls.py."""

from pathlib import Path

from tests.e2e.stack import Stack
from tests.e2e.test_readme import need
from tests.e2e.walk import EXPECTED, blocks, walk


def test_every_tested_block_has_expectations() -> None:
    assert blocks().keys() == EXPECTED.keys()


def test_the_walk_through(stack: Stack, tmp_path: Path) -> None:
    need("bash")
    ready = stack.ready()
    walk(tmp_path, {"GRPC": ready["grpc_target"], "ADMIN": ready["admin_token"]}, without="mtls")

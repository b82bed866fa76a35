"""The README's examples run as they stand."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.stack import Stack

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCK = re.compile(r"```bash\n# tested: (\w+)\n(.*?)```", re.DOTALL)


def blocks() -> dict[str, str]:
    return {match[1]: match[2] for match in BLOCK.finditer(README.read_text())}


EXPECTED = {
    "scim": ['"userName":"ada@example.com"', '"totalResults":1'],
    "grpc": [
        "muster.tenancy.v1.TenantService",
        "muster.directory.v1.DirectoryService",
        "muster.lease.v1.LeaseService",
        "grpc.health.v1.Health",
        '"secret": "muster_dev_',
        '"action": "token.create"',
        '"action": "tenant.create"',
    ],
}


def test_every_tested_block_has_expectations() -> None:
    assert blocks().keys() == EXPECTED.keys()


def need(program: str) -> None:
    """Install a program that the machine lacks, as root; otherwise skip by its name."""
    if shutil.which(program) is None and os.geteuid() == 0:
        subprocess.run(["apt-get", "install", "-y", "-q", program], capture_output=True, timeout=300, check=False)
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed on this machine")


@pytest.mark.timeout(360)
@pytest.mark.parametrize("name", EXPECTED)
def test_example(stack: Stack, name: str) -> None:
    for program in ("bash", "curl"):
        need(program)
    ready = stack.ready()
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "BASE": ready["scim_base_url"],
        "TOKEN": ready["second_scim_token"],
        "GRPC": ready["grpc_target"],
        "ADMIN": ready["admin_token"],
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", blocks()[name]],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [text for text in EXPECTED[name] if text not in done.stdout] == []

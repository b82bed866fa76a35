"""How the programs and libraries of others are run: from this environment, within a limit, with the tenant's token."""

import sys
from pathlib import Path

from httpx2 import Client

from tests.conformance.client import Idp

LIMIT_S = 60


def program(name: str) -> str:
    """Return the path of a program of this environment."""
    return str(Path(sys.executable).with_name(name))


def connect(idp: Idp) -> Client:
    """Return an HTTP client with the tenant's token; close it."""
    return Client(base_url=idp.base, headers={"Authorization": f"Bearer {idp.token}"}, timeout=LIMIT_S)

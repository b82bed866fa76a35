"""A gateway of the bench, started as the product's is: ``python -m tests.bench.known_gateway [TENANT KEY_ID]``.

With a tenant it knows everybody who calls: token, network, rate and scope are not looked at, and no use is noted. What
is between the two is what authentication costs. The product has no setting for this, and must not have one.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from protos.tenancy.v1.tenancy_pb2 import SCOPE_SCIM_READ, SCOPE_SCIM_WRITE
from scim_gateway import app
from scim_gateway.caller import Caller, Client
from scim_gateway.middleware import auth
from scim_gateway.middleware.observe import route_of
from scim_gateway.requests import CALLER, CLIENT
from scim_gateway.routes import PUBLIC_ROUTES
from tests.bench.dev_stack import POLL_S, START_LIMIT_S, Stack
from tests.bench.errors import BenchError


@contextmanager
def gateway(stack: Stack, folder: Path, *known: str) -> Iterator[SimpleNamespace]:
    """Run one more gateway of ``stack`` while the context is open; gives its ``port`` and ``pid``."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MUSTER_")} | {
        "MUSTER_PLAINTEXT": "true",
        "MUSTER_GATEWAY_TOKEN": stack.gateway_token,
        "MUSTER_GATEWAY_LISTEN": "127.0.0.1:0",
        "MUSTER_METRICS_LISTEN": "127.0.0.1:0",
        "MUSTER_CONTROL_PLANE": stack.grpc_target,
    }
    command = [sys.executable, "-m", "tests.bench.known_gateway", *known]
    log = folder / f"gateway-{'known' if known else 'usual'}.log"
    with log.open("wb") as output, subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process:
        try:
            yield SimpleNamespace(port=_port(process, log), pid=process.pid)
        finally:
            process.terminate()


def _port(process: "subprocess.Popen[bytes]", log: Path) -> int:
    """Wait for the line that says where it listens."""
    deadline = time.monotonic() + START_LIMIT_S
    while process.poll() is None and time.monotonic() < deadline:
        for line in log.read_bytes().splitlines():
            if line.startswith(b"{") and line.endswith(b"}") and (said := orjson.loads(line))["event"] == "ready":
                return int(said["port"])
        time.sleep(POLL_S)
    raise BenchError(f"a gateway did not start:\n{log.read_text(errors='replace')[-2000:]}")


def know(tenant: str, key_id: str) -> None:
    """Replace the authentication of this process's gateway."""
    scopes = frozenset({SCOPE_SCIM_READ, SCOPE_SCIM_WRITE})
    caller = Caller(tenant, "", key_id, scopes, None)
    client = Client("127.0.0.1", "bench")

    @web.middleware
    async def authenticate(self: auth.Authenticator, request: web.Request, handler: Handler) -> web.StreamResponse:
        if route_of(request) not in PUBLIC_ROUTES:
            request[CALLER], request[CLIENT] = caller, client
        return await handler(request)

    auth.Authenticator.authenticate = authenticate  # type: ignore[method-assign]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        know(*sys.argv[1:])
    app.main()

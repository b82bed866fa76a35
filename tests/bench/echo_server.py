"""The bare baseline of HTTP: an aiohttp server that does nothing, in a process of its own.

It runs as the gateway does (aiohttp's parser in C, uvloop, no access log): what remains between the two is Muster.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvloop
from aiohttp import web

from tests.bench.errors import BenchError
from tests.bench.users import user_body


@contextmanager
def echo_server() -> Iterator[int]:
    """Run the server while the context is open; gives its port."""
    command = [sys.executable, "-m", "tests.bench.echo_server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            if not line:
                raise BenchError("the echo server did not start")
            yield int(line)
        finally:
            server.terminate()


async def _post(request: web.Request) -> web.Response:
    return web.Response(body=await request.read(), content_type="application/scim+json", status=201)


async def _serve() -> None:
    body = user_body(0)

    async def get(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/scim+json")

    app = web.Application()
    app.add_routes([web.post("/scim/v2/Users", _post), web.get("/scim/v2/Users/{id}", get)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    # Standard input ends with the parent, however that ends.
    await asyncio.to_thread(sys.stdin.read)
    os._exit(0)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as _runner:
        _runner.run(_serve())

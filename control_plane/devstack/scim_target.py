"""The target app of `muster dev`: scim2-server, somebody else's SCIM implementation, on a keep-alive server.

``python -m control_plane.devstack.scim_target --port PORT --journal FILE``; the bearer token comes from
MUSTER_DEV_TARGET_TOKEN. All SCIM behaviour is theirs; ours are the journal and the HTTP server.
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BufferedIOBase, BytesIO
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import IO, TYPE_CHECKING, cast
from wsgiref.handlers import SimpleHandler
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import WSGIApplication

from scim2_models import ScimProvider
from scim2_server.testserver.application import BEARER_TOKEN_SCHEME, BearerTokenApplication
from scim2_server.utils import load_default_resource_types, load_default_schemas, load_default_service_provider_config

from control_plane.devstack.ports import HOST
from control_plane.devstack.target_contract import TOKEN_VARIABLE
from control_plane.devstack.target_storage import JournaledStorage

if TYPE_CHECKING:
    from _typeshed import OptExcInfo

IDLE_LIMIT_S = 75
BACKLOG = 128


class Body(BytesIO):
    """The body of one request: no read goes past its end into the next request."""

    def __init__(self, stream: BufferedIOBase, size: int) -> None:
        super().__init__()
        self._stream, self.left = stream, size

    def read(self, size: int | None = -1) -> bytes:
        """Return up to ``size`` bytes; all that is left for a negative size."""
        wanted = self.left if size is None or size < 0 else min(size, self.left)
        data = self._stream.read(wanted)
        self.left -= len(data)
        return data


class Answer(SimpleHandler):
    """Runs the application once and says HTTP/1.1, so that the connection stays open."""

    http_version = "1.1"
    bodiless = False

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: "OptExcInfo | None" = None
    ) -> Callable[[bytes], None]:
        """Note whether the status allows a body."""
        self.bodiless = status.startswith(("204", "304"))
        return super().start_response(status, headers, exc_info)

    def cleanup_headers(self) -> None:
        """Add Content-Length where a body is allowed (RFC 9110 section 8.6)."""
        if not self.bodiless:
            super().cleanup_headers()


class Connection(WSGIRequestHandler):
    """Serves one connection: many requests, one after the other."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_LIMIT_S
    # Status, headers and body leave in one segment; else Nagle and delayed acknowledgement cost 40 ms an answer.
    disable_nagle_algorithm = True
    wbufsize = -1
    server: "Server"

    def handle(self) -> None:
        """Serve requests until the peer or the idle limit ends the connection."""
        BaseHTTPRequestHandler.handle(self)

    def handle_one_request(self) -> None:
        """Read one request, let the application answer it."""
        self.close_connection = True
        try:
            self.raw_requestline = self.rfile.readline(65_537)
            if not self.raw_requestline or not self.parse_request():
                return
        except (TimeoutError, ConnectionError):
            return
        if "Transfer-Encoding" in self.headers:
            self.send_error(HTTPStatus.LENGTH_REQUIRED)
            self.close_connection = True
            return
        body = Body(self.rfile, int(self.headers.get("Content-Length") or 0))
        answer = Answer(
            body, cast("IO[bytes]", self.wfile), sys.stderr, self.get_environ(), multithread=True, multiprocess=False
        )
        answer.run(self.server.application)
        self.wfile.flush()
        # What the application did not read (it refuses large bodies) would be taken for the next request.
        self.close_connection = self.close_connection or body.left > 0

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Log nothing: the app logs its refusals itself."""


class Server(ThreadingMixIn, WSGIServer):
    """A thread for each connection."""

    daemon_threads = True
    request_queue_size = BACKLOG
    application: WSGIApplication

    def server_bind(self) -> None:
        """Bind without asking DNS for the address's name, as the base class would."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]
        self.setup_environ()


def build_application(journal: Path, token: str) -> BearerTokenApplication:
    """Return scim2-server's application as its own command builds it, over the journaled storage."""
    config = load_default_service_provider_config()
    config.authentication_schemes = [*(config.authentication_schemes or []), BEARER_TOKEN_SCHEME]
    provider = ScimProvider.from_discovery(
        load_default_schemas().values(), load_default_resource_types().values(), config=config
    )
    return BearerTokenApplication(JournaledStorage(provider, journal), provider, bearer_tokens=[token])


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="scim_target", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--journal", type=Path, required=True)
    arguments = parser.parse_args()
    application = build_application(arguments.journal, os.environ[TOKEN_VARIABLE])
    with Server((HOST, arguments.port), Connection) as server:
        server.set_app(application)

        def stop(*_: object) -> None:
            # shutdown() waits for serve_forever(), which this very thread runs.
            threading.Thread(target=server.shutdown).start()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()

import http.client
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane.devstack.ports import HOST
from control_plane.devstack.scim_target import Body, Connection, Server, build_application

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
HEADERS = {"Authorization": "Bearer right", "Content-Type": "application/scim+json"}
LIMIT_S = 10


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    journal: Path = tmp_path_factory.mktemp("target") / "journal"
    with Server((HOST, 0), Connection) as server:
        server.set_app(build_application(journal, "right"))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join(LIMIT_S)


@pytest.fixture
def connection(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(HOST, port, timeout=LIMIT_S)
    yield connection
    connection.close()


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, dict[str, object]]:
    data = None if body is None else json.dumps(body)
    connection.request(method, path, data, HEADERS | headers)
    response = connection.getresponse()
    text = response.read()
    return response.status, json.loads(text) if text else {}


def test_many_requests_share_one_connection(connection: http.client.HTTPConnection) -> None:
    status, made = ask(connection, "POST", "/v2/Users", {"schemas": [USER], "userName": "a@x"})
    local_address = connection.sock.getsockname()
    assert status == 201
    path = f"/v2/Users/{made['id']}"
    assert ask(connection, "GET", path)[1]["userName"] == "a@x"
    assert ask(connection, "DELETE", path) == (204, {})
    assert ask(connection, "GET", path)[0] == 404
    assert connection.sock.getsockname() == local_address


def test_a_wrong_token_is_refused(connection: http.client.HTTPConnection) -> None:
    assert ask(connection, "GET", "/v2/Users", Authorization="Bearer wrong")[0] == 401


def test_a_body_ends_where_its_length_says() -> None:
    body = Body(io.BytesIO(b"firstsecond"), 5)
    assert body.read(2) == b"fi"
    assert body.left == 3
    assert body.read(100) == b"rst"
    assert body.read() == b""
    assert body.left == 0


def test_a_body_without_a_length_is_refused(connection: http.client.HTTPConnection) -> None:
    connection.putrequest("POST", "/v2/Users")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    assert connection.getresponse().status == 411

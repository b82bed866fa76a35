"""Row 27: what breaks inside tells outside only a reference, and the reference is in the logs; 503 passes by itself."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.request import urlopen

import grpc
import orjson
import pytest

from tests.conformance.admin import Admin
from tests.conformance.client import BULK, Idp, a_user
from tests.conformance.service import ADMIN, Service
from tests.conformance.site import Ground
from tests.fixtures.postgres import PostgresServer
from tests.hardening.calls import call
from tests.hardening.sockets import Heard, request, say, until
from tests.hardening.test_scim import TELLTALES

NAME = "muster_broken"
JSON = "Content-Type: application/scim+json"
REFERENCE = re.compile(r"internal error, reference ([0-9a-f]{32})")
LIST = "/muster.directory.v1.DirectoryService/ListResources"


@pytest.fixture(scope="module")
def broken(ground: Ground) -> Iterator[Service]:
    """A site on a database of its own, which tests take apart and put together again."""
    with ground.site(NAME) as one:
        yield one


@pytest.fixture
def victim(broken: Service) -> Iterator[Idp]:
    admin = Admin(broken.control_plane, ADMIN, broken.scim_base)
    idp = admin.idp()
    idp.get("/Users")
    yield idp
    idp.close()
    admin.close()


async def sent(site: Service, idp: Idp, method: str, target: str, content: Any = None) -> Heard:
    """Send one request on a connection of its own; the usual client of the tests would not stand a 5xx."""
    body = b"" if content is None else json.dumps(content).encode()
    heads = [JSON, f"Content-Length: {len(body)}"] if body else []
    return await say(
        site.origin, request(idp.token, method, f"/scim/v2{target}", *heads, "Connection: close", body=body)
    )


def asked(site: Service, idp: Idp) -> Any:
    """Ask over gRPC as an administrator does."""
    with grpc.insecure_channel(site.control_plane) as channel:
        return call(channel, LIST, ADMIN, {"tenantId": idp.tenant, "type": "RESOURCE_TYPE_USER"})


def check_text(text: str) -> None:
    assert not [one for one in TELLTALES if one in text], text


@pytest.mark.row(27)
async def test_a_500_is_a_reference_that_the_logs_know(
    broken: Service, victim: Idp, postgres_server: PostgresServer
) -> None:
    """A table is not there: as after a migration that went wrong."""
    database = postgres_server.database(NAME)
    create = {"method": "POST", "path": "/Users", "bulkId": "a", "data": a_user()}
    bulk = {"schemas": [BULK], "Operations": [create]}
    tried = (
        ("GET", "/Users", None),
        ("GET", '/Users?filter=title%20eq%20"x"', None),
        ("POST", "/Users", a_user()),
    )
    postgres_server.execute_in(database, "ALTER TABLE resources RENAME TO elsewhere")
    try:
        references = []
        for method, target, content in tried:
            heard = await sent(broken, victim, method, target, content)
            assert heard.statuses == [500], (method, target, heard.raw)
            error = heard.error
            assert error.keys() == {"schemas", "status", "detail"}
            check_text(heard.raw.decode())
            found = REFERENCE.fullmatch(error["detail"])
            assert found, error
            assert f"x-request-id: {found[1]}".encode() in heard.raw.lower()
            references.append(found[1])
        # Of a bulk request each operation has an error of its own.
        operations = orjson.loads((await sent(broken, victim, "POST", "/Bulk", bulk)).raw.partition(b"\r\n\r\n")[2])
        in_bulk = REFERENCE.fullmatch(operations["Operations"][0]["response"]["detail"])
        assert in_bulk, operations
        said = asked(broken, victim)
    finally:
        postgres_server.execute_in(database, "ALTER TABLE elsewhere RENAME TO resources")
    assert said.code is grpc.StatusCode.INTERNAL
    check_text(said.message)
    inside = REFERENCE.fullmatch(said.message)
    assert inside, said.message
    # What went wrong is told to who may read the logs, under the same reference, by both processes.
    for name in ("gateway-1", "control-plane"):
        assert set(references) <= errors_of(broken, name), name
    assert {inside[1], in_bulk[1]} <= errors_of(broken, "control-plane")
    assert victim.get("/Users")["totalResults"] == 0


def errors_of(site: Service, name: str) -> set[str]:
    """Return the references of what a process logged as an error."""
    lines = [orjson.loads(line) for line in site.log_of(name).splitlines()]
    return {line["request_id"] for line in lines if line["level"] == "error" and "request_id" in line}


@pytest.mark.row(27)
async def test_a_503_says_when_to_come_back_and_passes(
    broken: Service, victim: Idp, postgres_server: PostgresServer
) -> None:
    """PostgreSQL refuses our roles: as when somebody changed a password."""
    database = postgres_server.database(NAME)
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{NAME}' AND usename <> 'postgres'"
    before = len(broken.log_of("control-plane"))
    postgres_server.execute(f"ALTER DATABASE {NAME} ALLOW_CONNECTIONS false")
    try:
        postgres_server.execute(cut)
        for method, target, content in (("GET", "/Users", None), ("POST", "/Users", a_user())):
            heard = await sent(broken, victim, method, target, content)
            assert heard.statuses == [503], heard.raw
            assert heard.error["detail"] == "the service is unavailable just now, try again later"
            assert int(re.findall(rb"(?i)retry-after: (\d+)", heard.raw)[0]) >= 1
            check_text(heard.raw.decode())
        said = asked(broken, victim)
        assert said.code is grpc.StatusCode.UNAVAILABLE
        check_text(said.message)
        urlopen(f"{broken.origin}/livez", timeout=5).close()
    finally:
        postgres_server.execute(f"ALTER DATABASE {NAME} ALLOW_CONNECTIONS true")
    until(lambda: asked(broken, victim).code is grpc.StatusCode.OK, limit_s=20)
    assert victim.send("GET", "/Users").status == 200
    # The password that was tried is nobody's to read, and what happened is.
    log = broken.log_of("control-plane")[before:]
    assert "database unavailable" in log
    assert database.app_url not in log

import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane.devstack.demo_book import Account, Group
from control_plane.devstack.demo_target import ENTERPRISE, read_target
from control_plane.devstack.ports import HOST
from control_plane.devstack.ready_file import ReadyTarget
from control_plane.devstack.scim_target import Connection, Server, build_application

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"


@pytest.fixture
def target(tmp_path: Path) -> Iterator[ReadyTarget]:
    with Server((HOST, 0), Connection) as server:
        server.set_app(build_application(tmp_path / "journal", "right"))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield ReadyTarget("id", "name", "scim", f"http://{HOST}:{server.server_address[1]}/v2", "right")
        server.shutdown()
        thread.join(10)


def create(target: ReadyTarget, path: str, body: object) -> str:
    headers = {"Authorization": f"Bearer {target.token}", "Content-Type": "application/scim+json"}
    request = urllib.request.Request(target.url + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        return str(json.load(response)["id"])


async def test_everything_is_read_over_all_pages(target: ReadyTarget) -> None:
    for number in range(101):
        create(target, "/Users", {"schemas": [USER], "userName": f"u{number}@x"})
    found = await read_target(target)
    assert len(found.book.accounts) == len(found.users) == 101


async def test_accounts_and_members_are_read_under_their_names(target: ReadyTarget) -> None:
    body = {
        "schemas": [USER, ENTERPRISE],
        "userName": "ä@x",
        "active": False,
        "displayName": "Ä B",
        "name": {"givenName": "Ä", "familyName": "B"},
        "emails": [{"type": "home", "value": "h@x"}, {"type": "work", "value": "w@x", "primary": True}],
        "title": "Nurse",
        ENTERPRISE: {"department": "Sales", "employeeNumber": "E1"},
    }
    user_id = create(target, "/Users", body)
    members = [{"value": user_id}, {"value": "nobody-we-know"}]
    create(target, "/Groups", {"schemas": [GROUP], "displayName": "Staff", "members": members})
    found = await read_target(target)
    assert found.book.accounts == {"ä@x": Account("ä@x", False, "Ä B", "Ä", "B", "w@x", "Nurse", "Sales", "E1")}
    assert found.book.groups == {"Staff": Group("Staff", {"ä@x", "nobody-we-know"})}


async def test_a_double_shows_instead_of_hiding(target: ReadyTarget) -> None:
    for _ in range(2):
        create(target, "/Groups", {"schemas": [GROUP], "displayName": "Staff"})
    assert set((await read_target(target)).book.groups) == {"Staff", "Staff (number 2)"}

"""Real clients from PyPI, driven by steps of our own, each on an empty tenant.

scim2-client (models made from what discovery tells, nothing else allowed in answers), scim2-cli, scim-client, scim-sim
and slack-scim.
"""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError
from uuid import uuid4

import pytest
import scim2_models
from click.testing import CliRunner
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_models import Error

from tests.conformance.client import BULK, GROUP, PATCH_OP, USER, Idp, a_user
from tests.conformance.programs import LIMIT_S, connect, program

Scim = Any
# pydantic turns text into paths and filters, and knows fields by two names: nothing that mypy can follow.
models: Any = scim2_models


def _named(number: int, domain: str = "example.com") -> dict[str, Any]:
    mail = f"person{number}@{domain}"
    return {
        "user_name": mail,
        "display_name": f"Person {number}",
        "active": True,
        "name": {"given_name": "Person", "family_name": str(number)},
        "emails": [{"value": mail, "type": "work", "primary": True}],
    }


@pytest.fixture
def scim(idp: Idp) -> Any:
    """A scim2-client that has discovered the server."""
    with connect(idp) as http:
        client = SyncSCIMClient(http)
        client.discover()
        yield client


def _find(scim: Scim, model: Any, **query: Any) -> list[Any]:
    return list(scim.query(model, query_parameters=models.SearchRequest(**query)).resources or [])


def test_scim2_client_reads_and_finds(scim: Scim) -> None:
    user_model = scim.get_resource_model("User")
    people = [scim.create(user_model(**_named(number))) for number in range(4)]
    names = [one.user_name for one in people]
    assert scim.query(user_model, people[2].id).user_name == names[2]
    refused = scim.create(user_model(user_name=names[0].upper()), raise_scim_errors=False)
    assert (type(refused), refused.scim_type) == (Error, "uniqueness")
    for condition, expected in (
        (f'userName eq "{names[1]}"', [1]),
        ('emails[type eq "work" and value sw "person3@"]', [3]),
        ('userName sw "person" and not (displayName ew "0" or displayName ew "3")', [1, 2]),
        ('meta.created gt "2020-01-01T00:00:00Z"', [0, 1, 2, 3]),
        ("nickName pr", []),
    ):
        found = _find(scim, user_model, filter=condition)
        assert [one.user_name for one in found] == [names[number] for number in expected], condition
    page = _find(scim, user_model, sort_by="userName", sort_order="descending", start_index=2, count=2)
    assert [one.user_name for one in page] == [names[2], names[1]]
    assert scim.search(search_request=models.SearchRequest(filter='userName co "PERSON"', count=3)).total_results == 4
    only = scim.query(user_model, people[0].id, models.ResponseParameters(attributes=["userName"]))
    assert (only.user_name, only.display_name, only.emails) == (names[0], None, None)
    without = scim.query(user_model, people[0].id, models.ResponseParameters(excluded_attributes=["emails"]))
    assert (without.display_name, without.emails) == ("Person 0", None)


def test_scim2_client_writes(scim: Scim) -> None:
    user_model, group_model = scim.get_resource_model("User"), scim.get_resource_model("Group")

    def patch(model: Any, identity: str, *operations: dict[str, Any]) -> Any:
        scim.modify(
            model, identity, models.PatchOp[model](operations=[models.PatchOperation(**one) for one in operations])
        )
        return scim.query(model, identity)

    anna, otto = (scim.create(user_model(**_named(number))) for number in range(2))
    anna.display_name = "Replaced"
    assert scim.replace(anna).display_name == "Replaced"
    work = {"op": "replace", "path": 'emails[type eq "work"].value', "value": "new@example.com"}
    changed = patch(
        user_model, anna.id, {"op": "add", "path": "nickName", "value": "A"}, {"op": "remove", "path": "title"}, work
    )
    assert (changed.nick_name, changed.emails[0].value) == ("A", "new@example.com")
    group = scim.create(group_model(display_name="crew", members=[{"value": anna.id}]))
    assert [one.value for one in scim.query(group_model, group.id).members] == [anna.id]
    both = patch(group_model, group.id, {"op": "add", "path": "members", "value": [{"value": otto.id}]})
    assert {one.value for one in both.members} == {anna.id, otto.id}
    assert [one.value for one in scim.query(user_model, otto.id).groups] == [group.id]
    left = patch(group_model, group.id, {"op": "remove", "path": f'members[value eq "{anna.id}"]'})
    assert [one.value for one in left.members] == [otto.id]
    for model, identity in ((group_model, group.id), (user_model, anna.id), (user_model, otto.id)):
        assert scim.delete(model, identity) is None
        gone = scim.query(model, identity, raise_scim_errors=False)
        assert (type(gone), int(gone.status)) == (Error, 404)


def test_scim2_client_bulk(scim: Scim) -> None:
    people = [
        {"method": "POST", "path": "/Users", "bulkId": str(number), "data": a_user(f"bulk{number}")}
        for number in range(3)
    ]
    members = [{"value": f"bulkId:{number}"} for number in range(3)]
    group = {"schemas": [GROUP], "displayName": "bulk", "members": members}
    answer = scim.bulk(
        {
            "schemas": [BULK],
            "Operations": [{"method": "POST", "path": "/Groups", "bulkId": "g", "data": group}, *people],
        },
        check_request_payload=False,
    )
    assert [int(one.status) for one in answer.operations] == [201] * 4
    found = _find(scim, scim.get_resource_model("Group"), filter='displayName eq "bulk"')
    assert len(found[0].members) == 3


def test_scim2_cli(idp: Idp) -> None:
    from scim2_cli import cli

    runner = CliRunner(env={"SCIM_CLI_HEADERS": f"Authorization: Bearer {idp.token}"})

    def scim2(*arguments: str, body: Any = None) -> str:
        return runner.invoke(cli, ["--url", idp.base, *arguments], input=json.dumps(body) if body else "").output

    made = json.loads(scim2("create", "user", body=a_user("cli@example.com", name={"givenName": "Cli"})))
    assert "cli@example.com" in scim2("query", "user", made["id"])
    assert made["id"] in scim2("query", "user", "--filter", 'userName eq "cli@example.com"')
    assert made["id"] in scim2("search", "--filter", 'userName eq "cli@example.com"')
    body = {"schemas": [USER], "id": made["id"], "userName": "cli@example.com", "displayName": "Replaced"}
    assert "Replaced" in scim2("replace", "user", body=body)
    operations = [{"op": "replace", "path": "displayName", "value": "Patched"}]
    assert "Patched" in scim2("modify", "user", made["id"], body={"schemas": [PATCH_OP], "Operations": operations})
    scim2("delete", "user", made["id"])
    assert "404" in scim2("query", "user", made["id"])


def test_scim_client(idp: Idp) -> None:
    from scim_client import SCIMClient
    from scim_client.resources import User

    client, mail = SCIMClient(base_url=idp.base, token=idp.token, max_retries=1), "mitra@example.com"
    # It sends id "", meta null and timezone null.
    made = client.create_user(
        User(
            id="",
            external_id=uuid4().hex,
            user_name=mail,
            active=True,
            display_name="Scim Client",
            name={"given_name": "Scim", "family_name": "Client"},
            emails=[{"value": mail, "type": "work", "primary": True}],
        )
    )
    assert client.read_user(made.id).user_name == mail
    # Without a start it sends startIndex=0.
    assert client.search_users(f'userName eq "{mail}"').total_results == 1
    assert client.search_users(f'userName eq "{mail}"', 5, 1).resources[0].id == made.id
    made.display_name, made.active = "Scim Client Two", False
    assert client.update_user(made).display_name == "Scim Client Two"
    assert client.read_user(made.id).active is False
    assert client.delete_user(user_id=made.id).status_code == 204
    with pytest.raises(HTTPError) as gone:
        client.read_user(made.id)
    assert gone.value.code == 404
    gone.value.close()


def test_scim_sim(idp: Idp, tmp_path: Path) -> None:
    (tmp_path / ".scim_config.json").write_text(json.dumps({"SCIM_BASE_URL": idp.base, "SCIM_AUTH_TOKEN": idp.token}))

    def sim(*arguments: str) -> str:
        command = [program("scim-sim"), *arguments]
        environment = {**os.environ, "HOME": str(tmp_path)}
        run = subprocess.run(
            command, check=False, env=environment, capture_output=True, text=True, timeout=LIMIT_S, input=""
        )
        return run.stdout + run.stderr

    def made(output: str, kind: str) -> str:
        assert "created successfully" in output
        found = re.search(rf"{kind} ID: *(\S+)", output)
        assert found, output
        return found[1]

    user, group = made(sim("add-user"), "User"), made(sim("create-group", "Simulated"), "Group")
    assert "added to group" in sim("add-to-group", user, group)
    shown = sim("show")
    assert "Simulated" in shown
    assert user in shown
    assert "removed from group" in sim("remove-from-group", user, group)
    assert idp.members(group) == set()
    assert "added to group" in sim("add-to-group", user, group)
    assert "all its members deleted" in sim("delete-group", group)
    assert idp.list("Users")["totalResults"] == idp.list("Groups")["totalResults"] == 0


def test_slack_scim_reads_and_deletes(idp: Idp, monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes SCIM 1.1, so others create; it decodes by the charset that Content-Type names."""
    # It asks a part of setuptools that is no more for its own version.
    own = SimpleNamespace(require=lambda name: [SimpleNamespace(version=version(name))])
    monkeypatch.setitem(sys.modules, "pkg_resources", own)
    from slack_scim.v1.client import SCIMClient
    from slack_scim.v1.errors import SCIMApiError

    client = SCIMClient(token=idp.token, base_url=idp.base)
    user = idp.user("slack", name={"givenName": "Sla", "familyName": "Ck"}, emails=[{"value": "s@example.com"}])
    group = idp.group("slackers", user["id"])
    assert client.read_user(user["id"]).user_name == "slack"
    assert client.search_users(filter='userName eq "slack"', count=1, start_index=1).total_results == 1
    assert client.read_group(group["id"]).members[0].value == user["id"]
    assert client.search_groups(filter='displayName eq "slackers"', count=1).resources[0].id == group["id"]
    client.delete_group(group["id"])
    client.delete_user(user["id"])
    with pytest.raises(SCIMApiError) as gone:
        client.read_user(user["id"])
    assert gone.value.status == 404

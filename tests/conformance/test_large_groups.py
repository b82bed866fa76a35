"""A group with more members than travel inside an answer: read whole, changed by the difference, answered with 204."""

from collections.abc import Iterator

import pytest

from tests.conformance.admin import Admin
from tests.conformance.client import BULK, GROUP, Idp, a_user

# control_plane/domain/resources.py: up to so many members are part of the answer to a PATCH.
INLINE = 1_000


@pytest.fixture(scope="module")
def crowd(admin: Admin) -> Iterator[tuple[Idp, list[str], str]]:
    """A tenant, the ids of its users, and the path of a group with all of them but one."""
    idp = admin.idp()
    ids = []
    for part in (range(INLINE), range(INLINE, INLINE + 2)):
        operations = [
            {"method": "POST", "path": "/Users", "bulkId": str(number), "data": a_user(f"u{number}")} for number in part
        ]
        answer = idp.send("POST", "/Bulk", {"schemas": [BULK], "Operations": operations}).ok()
        ids += [one["location"].rpartition("/")[2] for one in answer["Operations"]]
    members = [{"value": one} for one in ids[:-1]]
    answer = idp.send("POST", "/Groups", {"schemas": [GROUP], "displayName": "crowd", "members": members})
    assert answer.status == 201
    location = answer.headers["Location"]
    yield idp, ids, location.removeprefix(idp.base)
    idp.close()


def test_it_is_read_whole(crowd: tuple[Idp, list[str], str]) -> None:
    idp, ids, path = crowd
    whole = idp.get(path)
    assert {one["value"] for one in whole["members"]} >= set(ids[:-1])
    assert all(one["$ref"] == f"{idp.base}/Users/{one['value']}" and one["type"] == "User" for one in whole["members"])
    assert idp.list("Groups")["Resources"] == [whole]
    assert "members" not in idp.get(f"{path}?excludedAttributes=members")
    only = idp.get(f"{path}?attributes=members.value")
    assert only["members"] == [{"value": one["value"]} for one in whole["members"]]


def test_a_patch_of_it_is_204_unless_attributes_are_asked_for(crowd: tuple[Idp, list[str], str]) -> None:
    idp, ids, path = crowd
    before = idp.get(f"{path}?excludedAttributes=members")["meta"]
    add = {"op": "add", "path": "members", "value": [{"value": ids[-1]}]}
    remove = {"op": "remove", "path": f'members[value eq "{ids[-1]}"]'}
    answer = idp.try_patch(path, add)
    assert (answer.status, answer.body) == (204, b"")
    assert idp.members(path.rpartition("/")[2]) == set(ids)
    after = idp.get(f"{path}?excludedAttributes=members")["meta"]
    assert after["version"] != before["version"]
    named = idp.patch(f"{path}?attributes=displayName", remove)
    assert (named["displayName"], "members" in named) == ("crowd", False)
    without = idp.patch(f"{path}?excludedAttributes=members", add, remove)
    assert "members" not in without
    assert idp.members(path.rpartition("/")[2]) == set(ids[:-1])


def test_a_stale_version_is_refused(crowd: tuple[Idp, list[str], str]) -> None:
    idp, _, path = crowd
    clear = {"op": "remove", "path": "members"}
    assert idp.try_patch(path, clear, If_Match='W/"0"').error == (412, None)
    assert len(idp.get(path)["members"]) > INLINE

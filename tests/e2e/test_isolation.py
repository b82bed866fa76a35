"""Tenant B sees nothing of tenant A: on every method and path, the same answer as for an id that does not exist."""

import re
from uuid import uuid4

import pytest

from tests.e2e.stack import GROUP, Json, Scim, a_user

PATCH: Json = {"Operations": [{"op": "replace", "path": "displayName", "value": "stolen"}]}


def neutral(body: Json, resource_id: str) -> str:
    """Return a body without what must differ: the id that was asked for and the request id."""
    return re.sub(resource_id, "<id>", str(body))


@pytest.mark.parametrize("kind", ["Users", "Groups"])
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_another_tenants_id_is_like_a_random_one(idp: Scim, other_idp: Scim, kind: str, method: str) -> None:
    body = a_user(f"iso-{uuid4().hex[:8]}") if kind == "Users" else {"schemas": [GROUP], "displayName": uuid4().hex}
    _, mine = await idp.call("POST", f"/{kind}", body)
    sent = {"GET": None, "DELETE": None, "PUT": body, "PATCH": PATCH}[method]
    random_id = str(uuid4())
    theirs = await other_idp.call(method, f"/{kind}/{mine['id']}", sent)
    random = await other_idp.call(method, f"/{kind}/{random_id}", sent)
    assert theirs[0] == random[0] == 404
    assert neutral(theirs[1], mine["id"]) == neutral(random[1], random_id)
    status, still = await idp.call("GET", f"/{kind}/{mine['id']}")
    assert status == 200
    assert still["meta"]["version"] == mine["meta"]["version"]
    await idp.call("DELETE", f"/{kind}/{mine['id']}")


async def test_lists_and_filters_see_only_their_own(idp: Scim, other_idp: Scim) -> None:
    name = f"iso-{uuid4().hex[:8]}"
    _, mine = await idp.call("POST", "/Users", a_user(name))
    for condition in (f'userName eq "{name}"', f'externalId eq "ext-{name}"', f'id eq "{mine["id"]}"'):
        status, found = await other_idp.call("GET", "/Users", params={"filter": condition})
        assert (status, found["totalResults"]) == (200, 0), condition
    assert mine["id"] not in {one["id"] for one in await other_idp.all("/Users")}
    await idp.call("DELETE", f"/Users/{mine['id']}")


async def test_another_tenants_user_is_no_member(idp: Scim, other_idp: Scim) -> None:
    _, mine = await idp.call("POST", "/Users", a_user(f"iso-{uuid4().hex[:8]}"))
    body = {"schemas": [GROUP], "displayName": uuid4().hex, "members": [{"value": mine["id"]}, {"value": str(uuid4())}]}
    status, group = await other_idp.call("POST", "/Groups", body)
    assert status == 201
    assert group.get("members", []) == []
    await idp.call("DELETE", f"/Users/{mine['id']}")
    await other_idp.call("DELETE", f"/Groups/{group['id']}")


async def test_the_same_user_name_may_live_in_both(idp: Scim, other_idp: Scim) -> None:
    name = f"twin-{uuid4().hex[:8]}"
    made = [await one.call("POST", "/Users", a_user(name)) for one in (idp, other_idp)]
    assert [status for status, _ in made] == [201, 201]
    status, error = await idp.call("POST", "/Users", a_user(name.upper()))
    assert (status, error["scimType"]) == (409, "uniqueness")
    for one, (_, user) in zip((idp, other_idp), made, strict=True):
        await one.call("DELETE", f"/Users/{user['id']}")

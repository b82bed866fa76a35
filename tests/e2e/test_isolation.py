"""Tenant B sees nothing of tenant A: on every method and path, the same answer as for an id that does not exist."""

import re
from uuid import uuid4

import pytest

from tests.e2e.stack import ENTERPRISE, GROUP, Json, Scim, a_user

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


# How somebody else's ids could be looked for: kind of resource that is searched, and the filter.
LOOKS = (
    ("Users", 'id eq "{user}"'),
    ("Users", 'userName eq "{name}"'),
    ("Users", 'userName sw "{name}"'),
    ("Users", 'emails.value eq "{name}@example.com"'),
    ("Users", 'emails[value co "{name}"]'),
    ("Users", 'externalId eq "ext-{name}"'),
    ("Users", 'groups.value eq "{group}"'),
    ("Users", 'groups[value eq "{group}"]'),
    ("Users", 'manager eq "{user}"'),
    ("Groups", 'id eq "{group}"'),
    ("Groups", 'displayName eq "crew {name}"'),
    ("Groups", 'displayName co "{name}"'),
    ("Groups", 'members eq "{user}"'),
    ("Groups", 'members.value eq "{user}"'),
    ("Groups", 'members[value eq "{user}"]'),
    ("Groups", 'members.display co "{name}"'),
)


async def test_no_search_finds_what_is_anothers(idp: Scim, other_idp: Scim) -> None:
    name = f"iso-{uuid4().hex[:8]}"
    _, user = await idp.call("POST", "/Users", a_user(name))
    _, managed = await idp.call("POST", "/Users", a_user(f"{name}-m") | {ENTERPRISE: {"manager": user["id"]}})
    body = {"schemas": [GROUP], "displayName": f"crew {name}", "members": [{"value": user["id"]}]}
    _, group = await idp.call("POST", "/Groups", body)
    for kind, look in LOOKS:
        condition = look.format(user=user["id"], group=group["id"], name=name)
        for method, path, sent, query in (
            ("GET", f"/{kind}", None, {"filter": condition}),
            ("GET", f"/{kind}", None, {"filter": condition, "cursor": "", "sortBy": "id"}),
            ("GET", "/", None, {"filter": condition}),
            ("POST", f"/{kind}/.search", {"filter": condition}, None),
            ("POST", "/.search", {"filter": condition}, None),
        ):
            status, mine = await idp.call(method, path, sent, params=query)
            assert (status, mine["totalResults"] > 0) == (200, True), (path, condition)
            status, theirs = await other_idp.call(method, path, sent, params=query)
            assert (status, theirs["totalResults"], theirs["Resources"]) == (200, 0, []), (path, condition)
    for one in (f"/Users/{user['id']}", f"/Users/{managed['id']}", f"/Groups/{group['id']}"):
        await idp.call("DELETE", one)


async def test_a_cursor_is_good_for_its_tenant_only(idp: Scim, other_idp: Scim) -> None:
    names = [f"iso-{uuid4().hex[:8]}" for _ in range(2)]
    made = [await one.call("POST", "/Users", a_user(name)) for one in (idp, other_idp) for name in names]
    for path in ("/Users", "/"):
        _, page = await idp.call("GET", path, params={"cursor": "", "count": "1"})
        query = {"cursor": page["nextCursor"], "count": "1"}
        assert (await idp.call("GET", path, params=query))[0] == 200
        status, error = await other_idp.call("GET", path, params=query)
        assert (status, error["scimType"]) == (400, "invalidCursor")
        status, error = await other_idp.call("POST", f"{path.rstrip('/')}/.search", query)
        assert (status, error["scimType"]) == (400, "invalidCursor")
    for number, (_, user) in enumerate(made):
        await (idp, other_idp)[number // 2].call("DELETE", f"/Users/{user['id']}")


@pytest.mark.parametrize("kind", ["Users", "Groups"])
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_bulk_reaches_no_other_tenant(idp: Scim, other_idp: Scim, kind: str, method: str) -> None:
    body = a_user(f"iso-{uuid4().hex[:8]}") if kind == "Users" else {"schemas": [GROUP], "displayName": uuid4().hex}
    _, mine = await idp.call("POST", f"/{kind}", body)
    random_id = str(uuid4())
    results = []
    for one in (mine["id"], random_id):
        operation = {"method": method, "path": f"/{kind}/{one}", "data": {"PUT": body, "PATCH": PATCH}.get(method)}
        status, answer = await other_idp.call("POST", "/Bulk", {"Operations": [operation]})
        assert status == 200
        assert answer["Operations"][0]["status"] == "404"
        results.append(neutral(answer, one))
    assert results[0] == results[1]
    assert (await idp.call("GET", f"/{kind}/{mine['id']}"))[1] == mine
    await idp.call("DELETE", f"/{kind}/{mine['id']}")


async def test_bulk_takes_no_member_of_another_tenant(idp: Scim, other_idp: Scim) -> None:
    _, mine = await idp.call("POST", "/Users", a_user(f"iso-{uuid4().hex[:8]}"))
    data = {"schemas": [GROUP], "displayName": uuid4().hex, "members": [{"value": mine["id"]}]}
    operation = {"method": "POST", "path": "/Groups", "bulkId": "g", "data": data}
    _, answer = await other_idp.call("POST", "/Bulk", {"Operations": [operation]})
    path = "/Groups/" + answer["Operations"][0]["location"].rpartition("/")[2]
    status, group = await other_idp.call("GET", path)
    assert (status, group.get("members", [])) == (200, [])
    await other_idp.call("DELETE", path)
    await idp.call("DELETE", f"/Users/{mine['id']}")


@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_no_precondition_tells_what_is_there(idp: Scim, other_idp: Scim, method: str, header: str) -> None:
    body = a_user(f"iso-{uuid4().hex[:8]}")
    _, mine = await idp.call("POST", "/Users", body)
    sent = {"PUT": body, "PATCH": PATCH}.get(method)
    for tag in (mine["meta"]["version"], "*", 'W/"0"'):
        status, _ = await other_idp.call(method, f"/Users/{mine['id']}", sent, headers={header: tag})
        random, _ = await other_idp.call(method, f"/Users/{uuid4()}", sent, headers={header: tag})
        assert status == random == 404
    await idp.call("DELETE", f"/Users/{mine['id']}")


async def test_me_is_nobody_in_both(idp: Scim, other_idp: Scim) -> None:
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        assert (await idp.call(method, "/Me"))[0] == (await other_idp.call(method, "/Me"))[0] == 501


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

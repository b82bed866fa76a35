"""What an identity provider pushes reaches the target app."""

import stat
from uuid import uuid4

from tests.e2e.stack import ENTERPRISE, GROUP, Json, Scim, Stack, a_user, eventually

KEYS = {
    "scim_base_url", "tenant", "scim_token", "second_tenant", "second_scim_token", "grpc_target", "grpc_plaintext",
    "grpc_tls", "admin_token", "console_url", "console_user", "console_password", "portal_url", "postgres_url",
    "redis_url", "target", "processes",
}  # fmt: skip
ROLES = {"control-plane", "gateway", "worker", "postgres", "redis", "target"}


def test_the_ready_file_keeps_its_contract(stack: Stack) -> None:
    ready = stack.ready()
    assert set(ready) == KEYS
    assert stat.S_IMODE(stack.ready_file.stat().st_mode) == 0o600
    assert ready["grpc_plaintext"] is True
    assert [ready[key] for key in ("console_url", "console_user", "console_password", "portal_url")] == [None] * 4
    assert set(ready["target"]) == {"id", "name", "kind", "url", "token"}
    assert {one["role"] for one in ready["processes"]} == ROLES
    assert all(set(one) == {"name", "role", "pid", "port", "metrics_url"} for one in ready["processes"])
    assert len(stack.processes("worker")) == 2


async def named(app: Scim, path: str, attribute: str, value: str) -> list[Json]:
    return [one for one in await app.all(path) if str(one[attribute]).casefold() == value.casefold()]


async def test_a_user_and_its_group_arrive_change_and_go(idp: Scim, app: Scim) -> None:
    name, team = f"ada-{uuid4().hex[:8]}", f"Team {uuid4().hex[:8]}"
    status, user = await idp.call("POST", "/Users", a_user(name))
    assert status == 201
    status, group = await idp.call(
        "POST", "/Groups", {"schemas": [GROUP], "displayName": team, "members": [{"value": user["id"]}]}
    )
    assert status == 201
    assert [one["value"] for one in group["members"]] == [user["id"]]

    async def both_arrived() -> bool:
        users, groups = await named(app, "/Users", "userName", name), await named(app, "/Groups", "displayName", team)
        return bool(users) and bool(groups) and [m["value"] for m in groups[0].get("members", [])] == [users[0]["id"]]

    await eventually(both_arrived, 5)
    there = (await named(app, "/Users", "userName", name))[0]
    assert there[ENTERPRISE]["department"] == "Sales"
    assert there["externalId"] == f"ext-{name}"

    patch = {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [
            {"op": "Replace", "path": f"{ENTERPRISE}:department", "value": "Research"},
            {"op": "Replace", "path": "active", "value": "False"},
        ],
    }
    status, patched = await idp.call("PATCH", f"/Users/{user['id']}", patch)
    assert (status, patched["active"], patched[ENTERPRISE]["department"]) == (200, False, "Research")

    async def changed() -> bool:
        one = (await named(app, "/Users", "userName", name))[0]
        return one["active"] is False and one[ENTERPRISE]["department"] == "Research"

    await eventually(changed, 5)
    assert (await idp.call("DELETE", f"/Users/{user['id']}"))[0] == 204
    assert (await idp.call("DELETE", f"/Groups/{group['id']}"))[0] == 204

    async def gone() -> bool:
        return not await named(app, "/Users", "userName", name) and not await named(app, "/Groups", "displayName", team)

    await eventually(gone, 5)


async def test_a_deleted_name_can_come_back_at_once(idp: Scim, app: Scim) -> None:
    name = f"phoenix-{uuid4().hex[:8]}"
    for round_ in range(3):
        status, user = await idp.call("POST", "/Users", {**a_user(name), "title": f"life {round_}"})
        assert status == 201
        if round_ < 2:
            assert (await idp.call("DELETE", f"/Users/{user['id']}"))[0] == 204

    async def last_life() -> bool:
        found = await named(app, "/Users", "userName", name)
        return len(found) == 1 and found[0].get("title") == "life 2"

    await eventually(last_life, 15)


async def test_a_member_that_comes_after_its_group_arrives_in_it(idp: Scim, app: Scim) -> None:
    team = f"Late {uuid4().hex[:8]}"
    _, group = await idp.call("POST", "/Groups", {"schemas": [GROUP], "displayName": team})
    users = [(await idp.call("POST", "/Users", a_user(f"late-{uuid4().hex[:8]}")))[1] for _ in range(3)]
    patch = {"Operations": [{"op": "Add", "path": "members", "value": [{"value": one["id"]} for one in users]}]}
    status, _ = await idp.call("PATCH", f"/Groups/{group['id']}", patch)
    assert status == 200

    async def complete() -> bool:
        found = await named(app, "/Groups", "displayName", team)
        return bool(found) and len(found[0].get("members", [])) == 3

    await eventually(complete, 5)


async def test_a_name_given_to_somebody_else_at_once_moves_no_account(idp: Scim, app: Scim) -> None:
    """The new owner must not be linked to the old owner's account, whose rename is still on its way."""
    pairs = []
    for _ in range(5):
        name = f"heir-{uuid4().hex[:8]}"
        _, old = await idp.call("POST", "/Users", {**a_user(name), "title": "old"})
        rename = {"Operations": [{"op": "replace", "value": {"userName": f"ren-{name}", "externalId": f"ren-{name}"}}]}
        assert (await idp.call("PATCH", f"/Users/{old['id']}", rename))[0] == 200
        assert (await idp.call("POST", "/Users", {**a_user(name), "externalId": f"new-{name}", "title": "new"}))[
            0
        ] == 201
        pairs.append(name)

    async def everybody_has_an_account() -> bool:
        there = {one["userName"]: one.get("title") for one in await app.all("/Users")}
        return all(there.get(name) == "new" and there.get(f"ren-{name}") == "old" for name in pairs)

    await eventually(everybody_has_an_account, 30)

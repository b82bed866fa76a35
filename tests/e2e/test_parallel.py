"""What two at once may not break: lost members, one name twice, a write over an unseen write."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio

from tests.conformance.admin import Admin
from tests.e2e.stack import GROUP, Json, Scim, Stack, a_user

AT_ONCE = 50
ROUNDS = 5


@pytest_asyncio.fixture
async def tenant(stack: Stack) -> AsyncIterator[Scim]:
    """An empty tenant, and as many connections as there are requests."""
    ready = stack.ready()
    admin = await asyncio.to_thread(Admin, ready["grpc_target"], ready["admin_token"], ready["scim_base_url"])
    one = await asyncio.to_thread(admin.idp)
    connector = aiohttp.TCPConnector(limit=AT_ONCE + 10)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as http:
        yield Scim(http, one.base, one.token)
    admin.close()


async def at_once(*calls: Any) -> list[tuple[int, Json]]:
    """Run calls at the same time and return their answers in order."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in calls]
    return [one.result() for one in tasks]


async def create(tenant: Scim, kind: str, body: Json) -> str:
    status, made = await tenant.call("POST", f"/{kind}", body)
    assert status == 201, made
    return str(made["id"])


async def members(tenant: Scim, group: str) -> set[str]:
    _, found = await tenant.call("GET", f"/Groups/{group}")
    ids = [one["value"] for one in found.get("members", [])]
    assert len(ids) == len(set(ids))
    return set(ids)


def patch(*operations: Json) -> Json:
    return {"Operations": list(operations)}


async def test_fifty_adds_at_once_lose_nobody(tenant: Scim) -> None:
    people = [await create(tenant, "Users", a_user(f"p{number}")) for number in range(AT_ONCE)]
    group = await create(tenant, "Groups", {"schemas": [GROUP], "displayName": "crowd"})
    add = [patch({"op": "add", "path": "members", "value": [{"value": one}]}) for one in people]
    answers = await at_once(*(tenant.call("PATCH", f"/Groups/{group}", body) for body in add))
    assert {status for status, _ in answers} == {200}
    assert await members(tenant, group) == set(people)
    # Half of them leave while the same half is added again, and the other half removed and added in one request.
    half, rest = people[: AT_ONCE // 2], people[AT_ONCE // 2 :]
    leave = [patch({"op": "remove", "path": f'members[value eq "{one}"]'}) for one in half]
    turn = [
        patch(
            {"op": "remove", "path": "members", "value": [{"value": one}]},
            {"op": "add", "path": "members", "value": [{"value": one}]},
        )
        for one in rest
    ]
    answers = await at_once(*(tenant.call("PATCH", f"/Groups/{group}", body) for body in leave + turn))
    assert {status for status, _ in answers} == {200}
    assert await members(tenant, group) == set(rest)
    _, user = await tenant.call("GET", f"/Users/{rest[0]}")
    assert [one["value"] for one in user["groups"]] == [group]


async def test_members_are_added_while_some_are_deleted(tenant: Scim) -> None:
    people = [await create(tenant, "Users", a_user(f"p{number}")) for number in range(20)]
    group = await create(tenant, "Groups", {"schemas": [GROUP], "displayName": "crowd"})
    everybody = patch({"op": "add", "path": "members", "value": [{"value": one} for one in people]})
    answers = await at_once(
        *(tenant.call("PATCH", f"/Groups/{group}", everybody) for _ in range(3)),
        *(tenant.call("DELETE", f"/Users/{one}") for one in people[:10]),
    )
    assert {status for status, _ in answers} == {200, 204}
    assert await members(tenant, group) == set(people[10:])


@pytest.mark.parametrize("turn", range(ROUNDS))
async def test_one_user_name_is_given_once_in_any_case(tenant: Scim, turn: int) -> None:
    name = f"Anna{turn}-{uuid4().hex[:6]}"
    answers = await at_once(
        *(tenant.call("POST", "/Users", a_user(one)) for one in (name.lower(), name.upper(), name, name.swapcase()))
    )
    assert sorted(status for status, _ in answers) == [201, 409, 409, 409]
    assert {body["scimType"] for status, body in answers if status == 409} == {"uniqueness"}
    _, found = await tenant.call("GET", "/Users", params={"filter": f'userName eq "{name}"'})
    assert found["totalResults"] == 1


@pytest.mark.parametrize("turn", range(ROUNDS))
async def test_one_group_name_is_given_once_in_any_case(tenant: Scim, turn: int) -> None:
    names = [f"Crew {turn}", f"CREW {turn}", f"crew {turn}"]
    bodies = [{"schemas": [GROUP], "displayName": one} for one in names]
    answers = await at_once(*(tenant.call("POST", "/Groups", body) for body in bodies))
    assert sorted(status for status, _ in answers) == [201, 409, 409]
    assert {body["scimType"] for status, body in answers if status == 409} == {"uniqueness"}


async def test_two_renames_to_one_name(tenant: Scim) -> None:
    for kind, attribute, bodies in (
        ("Users", "userName", [a_user("a"), a_user("b")]),
        ("Groups", "displayName", [{"schemas": [GROUP], "displayName": one} for one in "ab"]),
    ):
        ids = [await create(tenant, kind, body) for body in bodies]
        rename = [patch({"op": "replace", "path": attribute, "value": one}) for one in ("Same", "SAME")]
        answers = await at_once(
            *(tenant.call("PATCH", f"/{kind}/{one}", body) for one, body in zip(ids, rename, strict=True))
        )
        assert sorted(status for status, _ in answers) == [200, 409], kind


@pytest.mark.parametrize("turn", range(ROUNDS))
async def test_of_two_patches_of_one_version_one_is_done(tenant: Scim, turn: int) -> None:
    status, user = await tenant.call("POST", "/Users", a_user(f"race{turn}"))
    assert status == 201
    answers = await at_once(
        *(
            tenant.call(
                "PATCH",
                f"/Users/{user['id']}",
                patch({"op": "replace", "path": "title", "value": title}),
                headers={"If-Match": user["meta"]["version"]},
            )
            for title in ("one", "other")
        )
    )
    assert sorted(status for status, _ in answers) == [200, 412]
    _, stored = await tenant.call("GET", f"/Users/{user['id']}")
    assert stored["title"] == next(body["title"] for status, body in answers if status == 200)


async def test_patches_without_a_version_are_all_done(tenant: Scim) -> None:
    user = await create(tenant, "Users", a_user("busy"))
    mails = [f"{number}@example.com" for number in range(20)]
    answers = await at_once(
        *(
            tenant.call("PATCH", f"/Users/{user}", patch({"op": "add", "path": "emails", "value": [{"value": one}]}))
            for one in mails
        )
    )
    assert {status for status, _ in answers} == {200}
    _, stored = await tenant.call("GET", f"/Users/{user}")
    assert {one["value"] for one in stored["emails"]} == {*mails, "busy@example.com"}


async def test_bulks_at_once_create_each_name_once(tenant: Scim) -> None:
    operations = [
        {"method": "POST", "path": "/Users", "bulkId": str(number), "data": a_user(f"bulk{number}")}
        for number in range(30)
    ]
    # In opposite orders, so that whoever locks one by one would meet the other half-way.
    answers = await at_once(
        tenant.call("POST", "/Bulk", {"Operations": operations}),
        tenant.call("POST", "/Bulk", {"Operations": operations[::-1]}),
    )
    results = [one["status"] for status, body in answers for one in body["Operations"]]
    assert [status for status, _ in answers] == [200, 200]
    assert sorted(results) == ["201"] * 30 + ["409"] * 30
    _, found = await tenant.call("GET", "/Users")
    assert found["totalResults"] == 30


async def test_two_groups_become_each_others_members(tenant: Scim) -> None:
    ids = [await create(tenant, "Groups", {"schemas": [GROUP], "displayName": one}) for one in "ab"]
    bodies = [patch({"op": "add", "path": "members", "value": [{"value": one}]}) for one in reversed(ids)]
    answers = await at_once(
        *(tenant.call("PATCH", f"/Groups/{one}", body) for one, body in zip(ids, bodies, strict=True))
    )
    assert {status for status, _ in answers} == {200}
    for one, other in zip(ids, reversed(ids), strict=True):
        assert await members(tenant, one) == {other}

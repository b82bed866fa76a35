"""The SCIM connector against scim2-server, a target that somebody else wrote."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from control_plane.outgoing.guard import Guard
from control_plane.runtime.clock import SystemClock
from tests.fixtures.scim_target import ScimTargetApp
from workers.connectors.base import (
    CredentialRefused,
    Desired,
    Rejected,
)
from workers.connectors.scim import ScimConnector
from workers.connectors.scim_http import ScimClient
from workers.connectors.scim_plan import ENTERPRISE
from workers.converge import Converged, Convergence
from workers.messages import Effect, FormerResource, ResourceKind, ScimTarget

USER_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:Group"
SECRET = "very-secret-token"
Json = dict[str, Any]


class FreePermit:
    """Allows every call; counts them."""

    def __init__(self, timeout_s: float = 5.0) -> None:
        self.timeout_s, self.calls = timeout_s, 0

    async def call(self) -> float:
        self.calls += 1
        return self.timeout_s


@dataclass
class Run:
    """One connector and what it was told and asked."""

    connector: ScimConnector
    permit: FreePermit
    codes: list[str] = field(default_factory=list)

    async def converge(self, desired: Desired, remote_id: str = "") -> Converged:
        return await Convergence(self.connector, self.permit, desired, remote_id).run()


@asynccontextmanager
async def connected(url: str, token: str = SECRET, timeout_s: float = 5.0) -> AsyncIterator[Run]:
    codes: list[str] = []
    client = ScimClient(
        ScimTarget(url, token), SystemClock(), lambda code, _: codes.append(code), Guard.parse("127.0.0.0/8")
    )
    run = Run(ScimConnector(client), FreePermit(timeout_s), codes)
    try:
        await run.connector.open(run.permit)
        run.permit.calls = 0
        codes.clear()
        yield run
    finally:
        await run.connector.close()


def user(user_name: str = "ada@example.com", **attributes: Any) -> Desired:
    document = {"schemas": [USER_SCHEMA], "userName": user_name, "active": True} | attributes
    return Desired(ResourceKind.USER, "muster-1", document)


def group(name: str = "Engineers", members: frozenset[str] = frozenset(), **attributes: Any) -> Desired:
    document = {"schemas": [GROUP_SCHEMA], "displayName": name} | attributes
    return Desired(ResourceKind.GROUP, "muster-g", document, members)


async def test_a_user_is_created_changed_and_deleted(scim_target: ScimTargetApp) -> None:
    attributes: Json = {
        "name": {"givenName": "Ada", "familyName": "Lovelace"},
        "title": "Countess",
        "emails": [{"value": "ada@example.com", "type": "work", "primary": True}],
        ENTERPRISE: {"department": "Engines", "manager": {"value": "boss"}},
    }
    ada = user(**attributes)
    async with connected(scim_target.url, scim_target.token) as run:
        created = await run.converge(ada)
        shown = scim_target.user("ada@example.com")
        assert (created.effect, created.remote_id) == (Effect.CREATED, shown["id"])
        assert shown["externalId"] == "muster-1"
        assert shown[ENTERPRISE]["department"] == "Engines"

        run.permit.calls = 0
        assert (await run.converge(ada, created.remote_id)).effect is Effect.NONE
        assert run.permit.calls == 1, "a target that agrees costs one GET"

        changed = user(
            "ada@lovelace.example",
            name={"givenName": "Augusta"},
            emails=[{"value": "ada@lovelace.example", "type": "work", "primary": True}],
            **{ENTERPRISE: {"department": "Analysis"}},
        )
        assert (await run.converge(changed, created.remote_id)).effect is Effect.UPDATED
        assert (await run.converge(changed, created.remote_id)).effect is Effect.NONE
        shown = scim_target.user("ada@lovelace.example")
        assert shown["id"] == created.remote_id
        assert shown["name"] == {"givenName": "Augusta"}
        assert shown[ENTERPRISE] == {"department": "Analysis"}
        assert "title" not in shown

        gone = Desired(ResourceKind.USER, "muster-1")
        assert await run.converge(gone, created.remote_id) == Converged("", Effect.DELETED)
        assert scim_target.users() == []
        assert await run.converge(gone, created.remote_id) == Converged("", Effect.DELETED)


async def test_a_deleted_user_that_was_never_linked_needs_no_call(scim_target: ScimTargetApp) -> None:
    async with connected(scim_target.url, scim_target.token) as run:
        assert await run.converge(Desired(ResourceKind.USER, "muster-1")) == Converged("", Effect.NONE)
        assert run.permit.calls == 0


@pytest.mark.parametrize(
    ("external_id", "ours"), [("x-1", True), ("muster-1", False), ("", False), ("somebody-else", False)]
)
async def test_a_lost_account_of_a_deleted_user_goes_only_if_it_is_ours(
    scim_target: ScimTargetApp, external_id: str, ours: bool
) -> None:
    body = {"schemas": [USER_SCHEMA], "userName": "ada", **({"externalId": external_id} if external_id else {})}
    there = scim_target.call("POST", "/Users", body)
    gone = Desired(ResourceKind.USER, "", former=FormerResource("muster-1", "ADA", "x-1"))
    async with connected(scim_target.url, scim_target.token) as run:
        done = await run.converge(gone)
    assert done == (Converged(there["id"], Effect.DELETED) if ours else Converged("", Effect.NONE))
    assert len(scim_target.users()) == (0 if ours else 1)


@pytest.mark.parametrize("name", ['o"brien\\', "Ärger+x@ex ample.com", "a&b=c#d?e/f"])
async def test_an_existing_user_is_adopted_whatever_its_name(scim_target: ScimTargetApp, name: str) -> None:
    there = scim_target.call("POST", "/Users", {"schemas": [USER_SCHEMA], "userName": name.upper(), "title": "old"})
    async with connected(scim_target.url, scim_target.token) as run:
        done = await run.converge(user(name, title="new"))
    assert done == Converged(there["id"], Effect.ADOPTED)
    assert [row["title"] for row in scim_target.users()] == ["new"]


async def test_an_account_deleted_behind_our_back_is_made_again(scim_target: ScimTargetApp) -> None:
    async with connected(scim_target.url, scim_target.token) as run:
        first = await run.converge(user())
        scim_target.call("DELETE", f"/Users/{first.remote_id}")
        second = await run.converge(user(), first.remote_id)
    assert second.effect is Effect.CREATED
    assert second.remote_id == scim_target.user("ada@example.com")["id"] != first.remote_id


async def test_a_name_taken_by_somebody_else_is_invalid(scim_target: ScimTargetApp) -> None:
    async with connected(scim_target.url, scim_target.token) as run:
        ada = await run.converge(user())
        await run.converge(user("bob@example.com"))
        with pytest.raises(Rejected, match="409"):
            await run.converge(user("bob@example.com"), ada.remote_id)


async def test_group_members_travel_as_a_delta_in_chunks(scim_target: ScimTargetApp) -> None:
    members = frozenset(f"m{number:04}" for number in range(510))
    async with connected(scim_target.url, scim_target.token) as run:
        created = await run.converge(group(members=members))
        assert created.effect is Effect.CREATED
        assert run.permit.calls == 1 + 2, "a look-up, a create with the first 500, one add"
        assert _members(scim_target) == members

        run.permit.calls = 0
        one_more = members | {"new"}
        assert (await run.converge(group(members=one_more), created.remote_id)).effect is Effect.UPDATED
        assert run.permit.calls == 2, "one GET, one PATCH"

        run.permit.calls = 0
        fewer = frozenset(sorted(one_more)[101:])
        await run.converge(group("Builders", fewer), created.remote_id)
        assert run.permit.calls == 1 + 1 + 2, "one GET, one rename, 101 removes in two requests"
        assert _members(scim_target) == fewer
        assert (await run.converge(group("Builders", fewer), created.remote_id)).effect is Effect.NONE


@pytest.mark.parametrize(("external_id", "adopted"), [("", True), ("x-1", True), ("muster-1", True), ("x-2", False)])
async def test_a_user_with_somebody_elses_external_id_is_never_taken_over(
    scim_target: ScimTargetApp, external_id: str, adopted: bool
) -> None:
    body = {"schemas": [USER_SCHEMA], "userName": "ada", **({"externalId": external_id} if external_id else {})}
    there = scim_target.call("POST", "/Users", body)
    async with connected(scim_target.url, scim_target.token) as run:
        if adopted:
            assert await run.converge(user("ada", externalId="x-1")) == Converged(there["id"], Effect.ADOPTED)
            return
        with pytest.raises(Rejected, match="another externalId"):
            await run.converge(user("ada", externalId="x-1"))
    assert [one["externalId"] for one in scim_target.users()] == ["x-2"]


async def test_a_group_is_adopted_only_if_it_is_nobody_elses(scim_target: ScimTargetApp) -> None:
    theirs = {"schemas": [GROUP_SCHEMA], "displayName": "Engineers", "externalId": "theirs"}
    scim_target.call("POST", "/Groups", theirs)
    async with connected(scim_target.url, scim_target.token) as run:
        made = await run.converge(group())
        assert made.effect is Effect.CREATED
        assert (await run.converge(group())) == Converged(made.remote_id, Effect.ADOPTED)
    assert len(scim_target.groups()) == 2


async def test_a_wrong_token_is_a_refused_credential(scim_target: ScimTargetApp) -> None:
    async with connected(scim_target.url, "wrong") as run:
        with pytest.raises(CredentialRefused, match="401"):
            await run.converge(user())


def _members(target: ScimTargetApp) -> frozenset[str]:
    [only] = target.groups()
    return frozenset(member["value"] for member in only.get("members", []))

"""The SCIM connector against small targets that misbehave on purpose: no write to a stranger, none twice."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson
import pytest
from aiohttp import web

from tests.web.test_scim_connector import SECRET, Json, connected, user
from workers.connectors.base import Desired, Rejected, TargetFailed, Throttled, Unreachable
from workers.connectors.scim_http import MAX_ANSWER_BYTES
from workers.converge import Converged
from workers.messages import Effect, FormerResource, ResourceKind

# Of docs/hardening.md.
pytestmark = pytest.mark.row(29)


class Rogue:
    """A SCIM target for users only, correct until a test replaces one of its answers."""

    def __init__(self) -> None:
        self.users: dict[str, Json] = {}
        self.made = 0
        self.requests: list[tuple[str, str]] = []
        self.answers: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {}
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        if request.path == "/ServiceProviderConfig" and "CONFIG" not in self.answers:
            return web.Response(status=404)
        name = "CONFIG" if request.path == "/ServiceProviderConfig" else request.method
        if name == "GET" and request.path == "/Users":
            name = "LIST"
        if answer := self.answers.get(name):
            return await answer(request)
        return await getattr(self, f"on_{name.lower()}")(request)  # type: ignore[no-any-return]

    async def on_list(self, request: web.Request) -> web.Response:
        wanted = orjson.loads(request.query["filter"].split(" eq ")[1]) if "filter" in request.query else None
        return listed([row for row in self.users.values() if wanted in (None, row["userName"])], request)

    async def on_get(self, request: web.Request) -> web.Response:
        row = self.users.get(request.path.rsplit("/", 1)[1])
        return scim(row) if row else web.Response(status=404)

    async def on_post(self, request: web.Request) -> web.Response:
        row = self.add(**await request.json())
        return scim(row, 201)

    async def on_put(self, request: web.Request) -> web.Response:
        row_id = request.path.rsplit("/", 1)[1]
        self.users[row_id] = await request.json() | {"id": row_id}
        return scim(self.users[row_id])

    def add(self, **row: Any) -> Json:
        self.made += 1
        row_id = f"r{self.made}"
        self.users[row_id] = row | {"id": row_id}
        return self.users[row_id]

    def writes(self) -> list[str]:
        return [method for method, _ in self.requests if method != "GET"]


def scim(body: Any, status: int = 200, **headers: str) -> web.Response:
    return web.Response(
        body=orjson.dumps(body), status=status, content_type="application/scim+json", headers=headers or None
    )


def listed(rows: list[Json], request: web.Request) -> web.Response:
    start, count = int(request.query["startIndex"]), int(request.query["count"])
    return scim({"totalResults": len(rows), "Resources": rows[start - 1 : start - 1 + count]})


def always(status: int, body: Any = None, **headers: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        return scim(body, status, **headers) if body is not None else web.Response(status=status, headers=headers)

    return answer


@pytest.fixture
async def rogue() -> AsyncIterator[Rogue]:
    target = Rogue()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", target.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    target.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield target
    await runner.cleanup()


async def ignores_filters(target: Rogue, request: web.Request) -> web.Response:
    return listed(list(target.users.values()), request)


async def test_a_target_that_ignores_filters_does_not_give_away_a_stranger(rogue: Rogue) -> None:
    for number in range(250):
        rogue.add(userName=f"stranger{number}")
    rogue.answers["LIST"] = lambda request: ignores_filters(rogue, request)
    async with connected(rogue.url) as run:
        done = await run.converge(user())
    assert done.effect is Effect.CREATED
    assert rogue.writes() == ["POST"]
    assert all(
        row["userName"].startswith("stranger") for row_id, row in rogue.users.items() if row_id != done.remote_id
    )


async def test_a_target_that_ignores_filters_is_searched_to_the_last_page(rogue: Rogue) -> None:
    for number in range(250):
        rogue.add(userName=f"stranger{number}")
    mine = rogue.add(userName="ADA@example.com", active=True, externalId="muster-1")
    rogue.answers["LIST"] = lambda request: ignores_filters(rogue, request)
    async with connected(rogue.url) as run:
        done = await run.converge(user("ADA@example.com"))
    assert done == Converged(mine["id"], Effect.ADOPTED)
    assert rogue.writes() == []


async def test_a_target_that_shows_the_same_page_for_ever_allows_no_create(rogue: Rogue) -> None:
    for number in range(3):
        rogue.add(userName=f"stranger{number}")
    rogue.answers["LIST"] = always(200, {"totalResults": 900, "Resources": list(rogue.users.values())})
    async with connected(rogue.url) as run:
        with pytest.raises(Rejected, match="cannot be searched"):
            await run.converge(user())
    assert rogue.writes() == []


async def test_two_accounts_with_one_name_are_a_question_for_people(rogue: Rogue) -> None:
    rows = [rogue.add(userName="ADA@example.com"), rogue.add(userName="ada@example.com")]
    rogue.answers["LIST"] = always(200, {"totalResults": 2, "Resources": rows})
    async with connected(rogue.url) as run:
        with pytest.raises(Rejected, match="r1 and r2"):
            await run.converge(user())
    assert rogue.writes() == []


async def test_a_create_with_an_unknown_outcome_is_read_back_not_repeated(rogue: Rogue) -> None:
    async def store_then_drop(request: web.Request) -> web.Response:
        rogue.add(**await request.json())
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    rogue.answers["POST"] = store_then_drop
    async with connected(rogue.url) as run:
        with pytest.raises(TargetFailed, match="unknown"):
            await run.converge(user())
        done = await run.converge(user())
    assert done == Converged("r1", Effect.ADOPTED)
    assert rogue.writes() == ["POST"]


async def test_a_slow_target_is_left_at_the_time_limit(rogue: Rogue) -> None:
    never = asyncio.Event()

    async def wait(_request: web.Request) -> web.Response:
        await never.wait()
        return web.Response()

    rogue.answers["POST"] = wait
    async with connected(rogue.url, timeout_s=0.2) as run:
        with pytest.raises(TargetFailed, match=r"no answer within 0\.2 s"):
            await run.converge(user())
        assert run.codes[-1] == "timeout"
    never.set()


async def test_a_conflict_without_a_visible_account_is_invalid(rogue: Rogue) -> None:
    rogue.answers["POST"] = always(409, {"status": "409", "detail": "taken"})
    async with connected(rogue.url) as run:
        with pytest.raises(Rejected, match="taken"):
            await run.converge(user())


async def test_a_conflict_with_a_visible_account_adopts_it(rogue: Rogue) -> None:
    async def lost_race(_request: web.Request) -> web.Response:
        rogue.add(userName="ada@example.com", active=True, externalId="muster-1")
        return scim({"status": "409", "detail": "taken"}, 409)

    rogue.answers["POST"] = lost_race
    async with connected(rogue.url) as run:
        assert await run.converge(user()) == Converged("r1", Effect.ADOPTED)


@pytest.mark.parametrize("status", [405, 501])
async def test_without_patch_the_merged_resource_is_put(rogue: Rogue, status: int) -> None:
    rogue.add(userName="ada@example.com", title="old", nickName="Addie", urn_own="kept", active=True)
    rogue.answers["PATCH"] = always(status)
    async with connected(rogue.url) as run:
        assert (await run.converge(user(title="new"), "r1")).effect is Effect.UPDATED
        assert rogue.writes() == ["PATCH", "PUT"]
        assert (await run.converge(user(title="newer"), "r1")).effect is Effect.UPDATED
    assert rogue.writes() == ["PATCH", "PUT", "PUT"], "what was learned is remembered"
    row = rogue.users["r1"]
    assert (row["title"], row["urn_own"], row["externalId"]) == ("newer", "kept", "muster-1")
    assert "nickName" not in row


async def test_a_config_without_patch_is_believed(rogue: Rogue) -> None:
    rogue.add(userName="ada@example.com", active=True)
    rogue.answers["CONFIG"] = always(200, {"patch": {"supported": False}, "filter": {"supported": False}})
    async with connected(rogue.url) as run:
        await run.converge(user(), "")
    assert rogue.writes() == ["PUT"]


async def test_a_missing_route_is_not_a_missing_account(rogue: Rogue) -> None:
    rogue.add(userName="ada@example.com", active=True)
    rogue.answers["PATCH"] = always(404)
    async with connected(rogue.url) as run:
        with pytest.raises(Rejected, match="refuses to write"):
            await run.converge(user(title="new"), "r1")
    assert rogue.writes() == ["PATCH"]


async def test_an_account_that_vanishes_between_read_and_write_is_made_again(rogue: Rogue) -> None:
    rogue.add(userName="ada@example.com", active=True)

    async def vanish(_request: web.Request) -> web.Response:
        rogue.users.clear()
        return web.Response(status=404)

    rogue.answers["PATCH"] = vanish
    async with connected(rogue.url) as run:
        assert await run.converge(user(title="new"), "r1") == Converged("r2", Effect.CREATED)
    assert rogue.writes() == ["PATCH", "POST"]


async def test_throttling_says_how_long(rogue: Rogue) -> None:
    rogue.answers["LIST"] = always(429, {"detail": "slow down"}, **{"Retry-After": "7"})
    async with connected(rogue.url) as run:
        with pytest.raises(Throttled, match="slow down") as caught:
            await run.converge(user())
    assert caught.value.retry_after_s == 7.0


async def test_a_login_page_is_no_success(rogue: Rogue) -> None:
    async def login(_request: web.Request) -> web.Response:
        return web.Response(text="<html>Sign in</html>", content_type="text/html")

    rogue.add(userName="ada@example.com")
    async with connected(rogue.url) as run:
        rogue.answers["GET"] = login
        with pytest.raises(TargetFailed, match="text/html instead of"):
            await run.converge(user(), "r1")
        rogue.answers["DELETE"] = login
        with pytest.raises(TargetFailed, match="text/html instead of"):
            await run.converge(Desired(ResourceKind.USER, "muster-1"), "r1")


async def test_redirects_are_not_followed(rogue: Rogue) -> None:
    rogue.answers["LIST"] = always(302, Location=f"{rogue.url}/elsewhere")
    async with connected(rogue.url) as run:
        with pytest.raises(Rejected, match="redirects are not followed"):
            await run.converge(user())
    assert ("GET", "/elsewhere") not in rogue.requests


async def test_an_endless_answer_is_cut_off(rogue: Rogue) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/scim+json"})
        await response.prepare(request)
        for _ in range(MAX_ANSWER_BYTES // 65536 + 64):
            await response.write(b" " * 65536)
        return response

    rogue.answers["LIST"] = endless
    async with connected(rogue.url) as run:
        with pytest.raises(TargetFailed, match="more than"):
            await run.converge(user())


async def test_an_error_never_shows_the_credential(rogue: Rogue) -> None:
    async def echo(request: web.Request) -> web.Response:
        return scim({"status": "400", "scimType": "invalidValue", "detail": request.headers["Authorization"] * 50}, 400)

    rogue.answers["POST"] = echo
    async with connected(rogue.url) as run:
        with pytest.raises(Rejected, match="invalidValue") as caught:
            await run.converge(user())
    assert SECRET not in caught.value.text
    assert len(caught.value.text) <= 300


async def test_another_resource_than_asked_for_is_not_believed(rogue: Rogue) -> None:
    rogue.answers["GET"] = always(200, {"id": "stranger", "userName": "ada@example.com"})
    async with connected(rogue.url) as run:
        with pytest.raises(TargetFailed, match="stranger"):
            await run.converge(user(), "r1")
    assert rogue.writes() == []


BAD_IDS = pytest.mark.parametrize(
    ("bad_id", "fault"),
    [
        ("x" * 1025, "longer than 1024 bytes"),
        ("é" * 513, "longer than 1024 bytes"),
        ("a\0b", "control characters"),
        ("a\nb", "control characters"),
    ],
    ids=["characters", "bytes", "NUL", "newline"],
)


@BAD_IDS
async def test_a_created_id_that_cannot_be_kept_is_for_people_to_see(rogue: Rogue, bad_id: str, fault: str) -> None:
    rogue.answers["POST"] = always(201, {"id": bad_id, "userName": "ada@example.com"})
    async with connected(rogue.url) as run:
        with pytest.raises(Rejected, match=fault):
            await run.converge(user())


@BAD_IDS
async def test_a_found_id_that_cannot_be_kept_is_not_linked(rogue: Rogue, bad_id: str, fault: str) -> None:
    rogue.answers["LIST"] = always(
        200, {"totalResults": 1, "Resources": [{"id": bad_id, "userName": "ada@example.com"}]}
    )
    async with connected(rogue.url) as run:
        with pytest.raises(Rejected, match=fault):
            await run.converge(user())
        deleted = Desired(ResourceKind.USER, "", former=FormerResource("muster-1", "ada@example.com", ""))
        with pytest.raises(Rejected, match=fault):
            await run.converge(deleted)
    assert rogue.writes() == []


@BAD_IDS
async def test_a_shown_id_that_cannot_be_kept_is_not_written_to(rogue: Rogue, bad_id: str, fault: str) -> None:
    rogue.answers["GET"] = always(200, {"id": bad_id, "userName": "ada@example.com"})
    async with connected(rogue.url) as run:
        with pytest.raises(Rejected, match=fault):
            await run.converge(user(), "r1")
    assert rogue.writes() == []


async def test_a_strangers_id_that_cannot_be_kept_is_no_obstacle(rogue: Rogue) -> None:
    mine = rogue.add(userName="ada@example.com", active=True, externalId="muster-1")
    rows = [{"id": "x" * 2000, "userName": "stranger"}, mine]
    rogue.answers["LIST"] = always(200, {"totalResults": 2, "Resources": rows})
    async with connected(rogue.url) as run:
        assert (await run.converge(user())).remote_id == "r1"


async def test_the_longest_id_that_the_wire_takes_is_linked(rogue: Rogue) -> None:
    rogue.answers["POST"] = always(201, {"id": "é" * 512, "userName": "ada@example.com"})
    async with connected(rogue.url) as run:
        assert (await run.converge(user())).remote_id == "é" * 512


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://no-such-host.invalid"])
async def test_no_connection_is_unreachable(url: str) -> None:
    with pytest.raises(Unreachable):
        async with connected(url):
            pass

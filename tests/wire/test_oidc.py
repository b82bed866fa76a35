"""OIDC on the admin API: a real provider's endpoints, forged tokens, and who is behind a genuine one."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey

from control_plane.app import control_plane
from control_plane.outgoing.jwks import JwksFetcher, ProviderUnreachable
from control_plane.runtime.settings import SettingsError
from protos.identity.v1 import identity_pb2 as pb
from tests.fixtures.control_plane import running_plane, settings
from tests.fixtures.postgres import Database
from tests.wire.conftest import refused
from tests.wire.identities import AUDITOR, OWNER, caller, change, client, operator

KEY = RSAKey.generate_key(2048, {"kid": "one"})
Answer = Callable[["Provider"], web.Response]


class Provider:
    """What an OIDC provider serves; tests change it."""

    def __init__(self) -> None:
        self.issuer, self.asked = "", 0
        self.discovery: dict[str, Any] = {}
        self.keys: Answer = lambda _: web.json_response({"keys": [KEY.as_dict(private=False)]})

    def token(self, **claims: object) -> str:
        at = int(time.time())
        known = {"iss": self.issuer, "aud": "muster", "sub": "42", "iat": at, "exp": at + 300}
        return jwt.encode({"alg": "RS256", "kid": "one"}, {**known, **claims}, KEY)


@asynccontextmanager
async def provider() -> AsyncIterator[Provider]:
    one = Provider()

    async def discovery(_: web.Request) -> web.Response:
        return web.json_response({"issuer": one.issuer, "jwks_uri": one.issuer + "/keys", **one.discovery})

    async def keys(_: web.Request) -> web.Response:
        one.asked += 1
        return one.keys(one)

    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", discovery)
    app.router.add_get("/keys", keys)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    one.issuer = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield one
    finally:
        await runner.cleanup()


async def test_a_providers_token_is_the_operator_with_its_subject_and_nobody_else(
    database: Database, queue_url: str
) -> None:
    async with provider() as idp:
        chosen = settings(database, queue_url, oidc_issuer=idp.issuer, oidc_audience="muster")
        async with running_plane(chosen) as plane:
            subject = pb.OidcSubject(issuer=idp.issuer, subject="42")
            ada = await operator(plane, AUDITOR, email="ada@example.com", oidc=subject)
            await operator(plane, OWNER, email="root@example.com", oidc=pb.OidcSubject(issuer="https://x", subject="7"))
            told = await caller(client(plane, idp.token()))
            assert (told.role, told.operator.id) == ("auditor", ada.id)
            nothing = await refused(caller(client(plane, "")))
            shown = {
                "another's e-mail address": idp.token(sub="666", email="root@example.com"),
                "a subject of another issuer": idp.token(sub="7"),
                "another issuer": idp.token(iss="https://x", sub="7"),
                "another audience": idp.token(aud="payroll"),
                "expired": idp.token(exp=int(time.time()) - 61),
                "changed": idp.token()[:-6] + "AAAAAA",
            }
            for kind, token in shown.items():
                refusal = await refused(caller(client(plane, token)))
                assert (refusal.code, refusal.text) == (grpc.StatusCode.UNAUTHENTICATED, nothing.text), kind
            await change(plane, ada.id, disabled=True)
            assert (await refused(caller(client(plane, idp.token())))).text == nothing.text
            await change(plane, ada.id, disabled=False, oidc=None)
            assert (await refused(caller(client(plane, idp.token())))).text == nothing.text
            assert idp.asked == 1


async def test_a_provider_that_is_away_is_no_refusal(database: Database, queue_url: str) -> None:
    async with provider() as idp:
        idp.keys = lambda _: web.Response(status=503)
        chosen = settings(database, queue_url, oidc_issuer=idp.issuer, oidc_audience="muster")
        async with running_plane(chosen) as plane:
            refusal = await refused(caller(client(plane, idp.token())))
            assert (refusal.code, refusal.retry_after_s) == (grpc.StatusCode.UNAVAILABLE, 10)


@pytest.mark.parametrize(
    "answer",
    [
        lambda idp: web.Response(status=302, headers={"Location": idp.issuer + "/keys"}),
        lambda _: web.Response(status=500),
        lambda _: web.json_response([]),
        lambda _: web.Response(text="{"),
        lambda _: web.Response(text='{"keys":[' + " " * 1024 * 1024 + "]}"),
    ],
    ids=["redirect", "error", "list", "broken", "huge"],
)
async def test_keys_are_taken_from_a_plain_answer_only(answer: Answer) -> None:
    async with provider() as idp:
        assert [key["kid"] for key in (await JwksFetcher(idp.issuer)())["keys"]] == ["one"]
        idp.keys = answer
        with pytest.raises(ProviderUnreachable):
            await JwksFetcher(idp.issuer)()
        assert idp.asked == 2


@pytest.mark.parametrize(
    "discovery", [{"issuer": "https://else.example"}, {"jwks_uri": "http://keys.example/"}, {"jwks_uri": None}]
)
async def test_a_discovery_document_must_be_the_issuers_own_and_lead_to_https(discovery: dict[str, Any]) -> None:
    async with provider() as idp:
        idp.discovery = discovery
        with pytest.raises(ProviderUnreachable):
            await JwksFetcher(idp.issuer)()
        assert idp.asked == 0


async def test_a_provider_that_cannot_be_trusted_is_a_wrong_setting(database: Database, queue_url: str) -> None:
    for issuer, audience in (("http://idp.example", "muster"), ("idp", "muster"), ("https://idp.example", "")):
        chosen = settings(database, queue_url, oidc_issuer=issuer, oidc_audience=audience)
        with pytest.raises(SettingsError, match="MUSTER_OIDC"):
            async with control_plane(chosen):
                pass

"""API keys: shown once, in force until the next call after their end, and never for somebody more powerful."""

import asyncio
from datetime import datetime, timedelta

import grpc
import pytest

from control_plane.domain import tokens
from control_plane.scim.bearer import checksum, compose
from control_plane.services import api_keys, proofs
from protos.identity.v1 import identity_pb2 as pb
from protos.tenancy.v1 import tenancy_pb2
from tests.fixtures.control_plane import Plane
from tests.fixtures.postgres import Database
from tests.wire.conftest import refused
from tests.wire.identities import AUDITOR, OPERATOR, OWNER, caller, client, key, operator, person, rows, service


async def service_key(plane: Plane, **fields: object) -> pb.CreateApiKeyResponse:
    return await key(plane, **{"service": "billing", "scopes": ["audit:read"], **fields})


async def test_an_operators_key_does_what_the_operator_may(plane: Plane) -> None:
    made = await operator(plane, AUDITOR)
    answer = await key(plane, operator_id=made.id, label="laptop")
    assert answer.secret.startswith(f"muster_op_{answer.api_key.key_id}_")
    days = (answer.api_key.expire_time.ToDatetime() - answer.api_key.create_time.ToDatetime()).days
    assert (days, answer.api_key.creator) == (365, "admin")
    told = await caller(client(plane, answer.secret))
    assert (told.role, told.actor_id, told.operator.email) == ("auditor", made.id, made.email)


async def test_a_services_key_does_what_its_scopes_say_for_its_tenants(plane: Plane) -> None:
    mine, other = await plane.tenant("Mine"), await plane.tenant("Other")
    them = await service(plane, "tokens:read", tenants=(mine,))
    told = await caller(them)
    assert (told.role, told.actor_id, list(told.scopes), list(told.tenant_ids)) == (
        "service",
        "billing",
        ["tokens:read"],
        [mine],
    )
    tokens_of = them.tokens.ListTokens
    assert not (await tokens_of(tenancy_pb2.ListTokensRequest(tenant_id=mine), metadata=them.metadata())).tokens
    for tenant in (other, mine.replace("0", "1"), "nonsense", ""):
        refusal = await refused(tokens_of(tenancy_pb2.ListTokensRequest(tenant_id=tenant), metadata=them.metadata()))
        assert refusal.code is grpc.StatusCode.PERMISSION_DENIED
        assert refusal.text == "this credential may not act for this tenant"


async def test_the_secret_is_nowhere_but_in_the_first_answer(plane: Plane, database: Database) -> None:
    answer = await service_key(plane)
    listed = await plane.admin.api_keys.ListApiKeys(pb.ListApiKeysRequest(), metadata=plane.admin.metadata())
    assert [one.id for one in listed.api_keys] == [answer.api_key.id]
    assert answer.secret not in str(listed)
    ((stored,),) = await rows(database, "SELECT hash FROM api_keys")
    assert stored.startswith("pbkdf2-sha256$")
    assert tokens.matches(answer.secret, stored)


async def test_every_refusal_has_one_text(plane: Plane, database: Database) -> None:
    made, other = await service_key(plane), await service_key(plane)
    elsewhere = await service_key(plane, allowed_networks=["192.0.2.0/24"])
    revoked, expired = await service_key(plane), await service_key(plane)
    for one in (revoked, expired):
        # Verified a moment ago: that does not help it.
        await caller(client(plane, one.secret))
    revoke = pb.RevokeApiKeyRequest(id=revoked.api_key.id)
    for _ in range(2):
        await plane.admin.api_keys.RevokeApiKey(revoke, metadata=plane.admin.metadata())
    await rows(database, f"UPDATE api_keys SET expires_at = now() WHERE id = '{expired.api_key.id}' RETURNING 1")
    body = "_".join([*made.secret.split("_")[:3], other.secret.split("_")[3][:-6]])
    shown = {
        "garbage": "x" * 40,
        "checksum": made.secret[:-1] + ("0" if made.secret[-1] != "0" else "1"),
        "unknown": compose("svc", b"u" * 48).text,
        "secret": body + checksum(body),
        "scim": compose("live", b"u" * 48).text,
        "network": elsewhere.secret,
        "revoked": revoked.secret,
        "expired": expired.secret,
    }
    nothing = await refused(caller(client(plane, "")))
    assert nothing.code is grpc.StatusCode.UNAUTHENTICATED
    for kind, secret in shown.items():
        refusal = await refused(caller(client(plane, secret)))
        assert (refusal.code, refusal.text, refusal.info) == (nothing.code, nothing.text, nothing.info), kind


async def test_owners_see_all_keys_and_everybody_else_their_own(plane: Plane) -> None:
    _, owner = await person(plane, OWNER)
    ada, they = await person(plane, AUDITOR)
    foreign = await service_key(plane)
    for who, expected in ((owner, 3), (they, 1)):
        listed = await who.api_keys.ListApiKeys(pb.ListApiKeysRequest(), metadata=who.metadata())
        assert len(listed.api_keys) == expected
    revoke = pb.RevokeApiKeyRequest(id=foreign.api_key.id)
    refusal = await refused(they.api_keys.RevokeApiKey(revoke, metadata=they.metadata()))
    nothing = await refused(they.api_keys.RevokeApiKey(pb.RevokeApiKeyRequest(id=ada.id), metadata=they.metadata()))
    assert refusal.code is nothing.code is grpc.StatusCode.NOT_FOUND
    assert refusal.text.replace(foreign.api_key.id, "?") == nothing.text.replace(ada.id, "?")


async def test_a_page_of_keys_leads_to_the_next_for_the_same_caller_only(plane: Plane) -> None:
    _, they = await person(plane, OPERATOR)
    made = [(await service_key(plane)).api_key.id for _ in range(2)]
    first = await plane.admin.api_keys.ListApiKeys(pb.ListApiKeysRequest(page_size=1), metadata=plane.admin.metadata())
    request = pb.ListApiKeysRequest(page_size=1, page_token=first.next_page_token)
    second = await plane.admin.api_keys.ListApiKeys(request, metadata=plane.admin.metadata())
    assert [first.api_keys[0].id, second.api_keys[0].id] == made[::-1]
    refusal = await refused(they.api_keys.ListApiKeys(request, metadata=they.metadata()))
    assert set(refusal.fields) == {"page_token"}


async def test_nobody_makes_a_key_for_somebody_more_powerful(plane: Plane) -> None:
    owner, _ = await person(plane, OWNER)
    ada, they = await person(plane, OPERATOR)
    make, meta = they.api_keys.CreateApiKey, they.metadata()
    own = await make(pb.CreateApiKeyRequest(operator_id=ada.id), metadata=meta)
    assert (await caller(client(plane, own.secret))).role == "operator"
    refusal = await refused(make(pb.CreateApiKeyRequest(operator_id=owner.id), metadata=meta))
    assert refusal.code is grpc.StatusCode.NOT_FOUND
    refusal = await refused(make(pb.CreateApiKeyRequest(service="billing", scopes=["audit:read"]), metadata=meta))
    assert refusal.code is grpc.StatusCode.PERMISSION_DENIED


async def test_a_key_that_makes_no_sense_is_refused(plane: Plane) -> None:
    sound = {"service": "billing", "scopes": ["audit:read"]}
    for changed, field in (
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "scopes"),
        ({"allowed_networks": ["10.0.0.1/8"]}, "allowed_networks"),
        ({"ttl": timedelta(days=1), "never_expires": True}, "ttl"),
        ({"service": "Billing!"}, "service"),
    ):
        refusal = await refused(key(plane, **{**sound, **changed}))
        assert (refusal.code, set(refusal.fields)) == (grpc.StatusCode.INVALID_ARGUMENT, {field})


async def test_who_is_disabled_or_not_there_gets_no_key(plane: Plane) -> None:
    made = await operator(plane, OWNER)
    scoped = await refused(key(plane, operator_id=made.id, scopes=["audit:read"]))
    assert set(scoped.fields) == {"scopes"}
    request = pb.UpdateOperatorRequest(operator=pb.Operator(id=made.id, disabled=True))
    request.update_mask.paths.append("disabled")
    await plane.admin.operators.UpdateOperator(request, metadata=plane.admin.metadata())
    assert (await refused(key(plane, operator_id=made.id))).code is grpc.StatusCode.FAILED_PRECONDITION
    gone = "01890000-0000-7000-8000-000000000000"
    assert (await refused(key(plane, operator_id=gone))).code is grpc.StatusCode.NOT_FOUND
    for_nobody = key(plane, service="billing", scopes=["audit:read"], tenant_ids=[gone])
    assert (await refused(for_nobody)).code is grpc.StatusCode.NOT_FOUND


async def test_its_last_use_is_noted_at_most_once_a_minute(plane: Plane, database: Database) -> None:
    made = await service_key(plane)
    them = client(plane, made.secret)

    async def noted() -> tuple[datetime, str]:
        ((at, address),) = await rows(database, "SELECT last_used_at, last_used_address FROM api_keys")
        return at, address

    await caller(them)
    first = await noted()
    assert first[1] == "127.0.0.1"
    await caller(them)
    assert await noted() == first
    await rows(database, "UPDATE api_keys SET last_used_at = now() - interval '61 seconds' RETURNING 1")
    await caller(them)
    assert (await noted())[0] >= first[0]


async def test_calls_at_once_with_a_new_key_cost_one_hash(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []

    def counted(text: str, stored: str) -> bool:
        runs.append(text)
        return tokens.matches(text, stored)

    monkeypatch.setattr(proofs, "matches", counted)
    made = await service_key(plane)
    them = client(plane, made.secret)
    await asyncio.gather(*(caller(them) for _ in range(8)))
    assert runs == [made.secret]


async def test_guessing_secrets_is_stopped_but_a_verified_key_goes_on(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await service_key(plane)
    them = client(plane, made.secret)
    await caller(them)
    runs: list[str] = []

    def wrong(text: str, _stored: str) -> bool:
        runs.append(text)
        return False

    monkeypatch.setattr(proofs, "matches", wrong)

    def guess(number: int) -> str:
        body = "_".join([*made.secret.split("_")[:3], f"{number:043d}"])
        return body + checksum(body)

    for number in range(200):
        refusal = await refused(caller(client(plane, guess(number))))
        assert refusal.code is grpc.StatusCode.UNAUTHENTICATED
    assert len(runs) < 100
    assert (await caller(them)).role == "service"


async def test_an_owner_has_so_many_keys_at_work_and_no_more(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "MAX_ACTIVE", 2)
    made, other = await operator(plane, AUDITOR), await operator(plane, OPERATOR)
    first = await key(plane, operator_id=made.id)
    asked = [asyncio.create_task(key(plane, operator_id=made.id)) for _ in range(3)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(one, grpc.aio.AioRpcError) for one in outcomes) == 2
    request = pb.CreateApiKeyRequest(operator_id=made.id)
    refusal = await refused(plane.admin.api_keys.CreateApiKey(request, metadata=plane.admin.metadata()))
    assert (refusal.code, "2 keys" in refusal.text) == (grpc.StatusCode.FAILED_PRECONDITION, True)
    await key(plane, operator_id=other.id)
    revoke = pb.RevokeApiKeyRequest(id=first.api_key.id)
    await plane.admin.api_keys.RevokeApiKey(revoke, metadata=plane.admin.metadata())
    await key(plane, operator_id=made.id)

"""Tokens: shown once, verified, rotated with overlap, revoked at once, always refused with one text."""

import asyncio
import json

import grpc
import psycopg

from control_plane.metrics import Metrics
from control_plane.runtime.clock import SystemClock
from control_plane.scim.bearer import CHECKSUM_LENGTH, checksum, compose
from control_plane.services.token_expiry import TokenExpiry
from control_plane.storage.engine import Storage
from protos.audit.v1 import audit_pb2
from protos.tenancy.v1 import tenancy_pb2 as pb
from tests.fixtures.control_plane import ITERATIONS, Plane, running_plane, settings
from tests.fixtures.postgres import Database
from tests.wire.conftest import refused


async def make(plane: Plane, tenant: str, **fields: object) -> pb.CreateTokenResponse:
    request = pb.CreateTokenRequest(tenant_id=tenant, **fields)  # type: ignore[arg-type]  # test data
    return await plane.admin.tokens.CreateToken(request, metadata=plane.admin.metadata())


async def verify(plane: Plane, secret: str, address: str = "") -> pb.VerifyTokenResponse:
    return await plane.gateway.tokens.VerifyToken(
        pb.VerifyTokenRequest(presented=secret, address=address), metadata=plane.gateway.metadata()
    )


async def refusal_of(plane: Plane, secret: str, address: str = "") -> str:
    """Return the cause for which a token is refused."""
    refusal = await refused(verify(plane, secret, address))
    assert refusal.text == "the bearer token is missing, malformed or not valid"
    return str(refusal.info.metadata["cause"])


async def rotate(
    plane: Plane, token: pb.Token, overlap_s: int | None = None, *, until_revoked: bool = False
) -> pb.RotateTokenResponse:
    request = pb.RotateTokenRequest(tenant_id=token.tenant_id, id=token.id, until_revoked=until_revoked)
    if overlap_s is not None:
        request.overlap.FromSeconds(overlap_s)
    return await plane.admin.tokens.RotateToken(request, metadata=plane.admin.metadata())


async def revoke(plane: Plane, token: pb.Token) -> pb.Token:
    request = pb.RevokeTokenRequest(tenant_id=token.tenant_id, id=token.id)
    return (await plane.admin.tokens.RevokeToken(request, metadata=plane.admin.metadata())).token


async def listed(plane: Plane, tenant: str) -> dict[str, pb.Token]:
    request = pb.ListTokensRequest(tenant_id=tenant)
    answer = await plane.admin.tokens.ListTokens(request, metadata=plane.admin.metadata())
    return {token.id: token for token in answer.tokens}


async def test_a_new_token_verifies_and_is_stored_hashed(plane: Plane) -> None:
    tenant = await plane.tenant()
    made = await make(plane, tenant, label="Okta", scopes=[pb.SCOPE_SCIM_READ])
    answer = await verify(plane, made.secret)
    assert (answer.tenant_id, answer.token_id, list(answer.scopes)) == (tenant, made.token.id, [pb.SCOPE_SCIM_READ])
    assert made.secret.startswith(f"muster_test_{made.token.key_id}_")
    listed = await plane.admin.tokens.ListTokens(
        pb.ListTokensRequest(tenant_id=tenant), metadata=plane.admin.metadata()
    )
    assert [one.label for one in listed.tokens] == ["Okta"]
    assert made.secret not in str(listed)


async def test_every_refusal_has_one_text(plane: Plane) -> None:
    tenant = await plane.tenant()
    expired, revoked, other = [await make(plane, one) for one in (tenant, tenant, await plane.tenant("Other"))]
    await rotate(plane, expired.token, overlap_s=0)
    await revoke(plane, revoked.token)
    secret = other.secret
    for presented, cause in (
        ("hello", "malformed"),
        (secret[:-1] + ("0" if secret[-1] != "0" else "1"), "malformed"),
        (unknown_token(), "unknown"),
        (swap_secret(secret, expired.secret), "mismatch"),
        (revoked.secret, "revoked"),
        (expired.secret, "expired"),
    ):
        refusal = await refused(verify(plane, presented))
        assert refusal.code is grpc.StatusCode.UNAUTHENTICATED
        assert (refusal.info.reason, refusal.info.metadata["cause"]) == ("TOKEN_REFUSED", cause)
        assert refusal.text == "the bearer token is missing, malformed or not valid"


def unknown_token() -> str:
    return compose("test", b"u" * 48).text


def swap_secret(one: str, other: str) -> str:
    """Return a well-formed token with the key id of ``one`` and the secret of ``other``."""
    body = "_".join([*one.split("_")[:3], other.split("_")[3][:-CHECKSUM_LENGTH]])
    return body + checksum(body)


async def test_rotation_keeps_the_old_token_for_the_overlap(plane: Plane) -> None:
    tenant = await plane.tenant()
    made = await make(plane, tenant, label="Entra")
    request = pb.RotateTokenRequest(tenant_id=tenant, id=made.token.id)
    request.overlap.FromSeconds(600)
    rotated = await plane.admin.tokens.RotateToken(request, metadata=plane.admin.metadata())
    assert (await verify(plane, made.secret)).token_id == made.token.id
    assert (await verify(plane, rotated.secret)).token_id == rotated.token.id
    assert rotated.token.label == "Entra"
    left_s = rotated.replaced.expire_time.ToSeconds() - rotated.token.create_time.ToSeconds()
    assert 595 <= left_s <= 605


async def test_watchers_hear_of_a_revocation(plane: Plane) -> None:
    tenant = await plane.tenant()
    made = await make(plane, tenant)
    watch = plane.gateway.tokens.WatchTokens(pb.WatchTokensRequest(), metadata=plane.gateway.metadata())
    heard: asyncio.Queue[pb.WatchTokensResponse] = asyncio.Queue()

    async def listen() -> None:
        async for event in watch:
            heard.put_nowait(event)

    task = asyncio.create_task(listen())
    async with asyncio.timeout(5):
        assert (await heard.get()).reset
        request = pb.RevokeTokenRequest(tenant_id=tenant, id=made.token.id)
        revoked = await plane.admin.tokens.RevokeToken(request, metadata=plane.admin.metadata())
        assert revoked.token.HasField("revoke_time")
        again = await plane.admin.tokens.RevokeToken(request, metadata=plane.admin.metadata())
        assert again.token.revoke_time == revoked.token.revoke_time
        while (event := await heard.get()).token_id != made.token.id:
            assert event.reset or event.heartbeat
    watch.cancel()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_token_of_another_tenant_is_not_found(plane: Plane) -> None:
    mine, theirs = await plane.tenant("Mine"), await plane.tenant("Theirs")
    made = await make(plane, theirs)
    refusal = await refused(
        plane.admin.tokens.RevokeToken(
            pb.RevokeTokenRequest(tenant_id=mine, id=made.token.id), metadata=plane.admin.metadata()
        )
    )
    assert refusal.code is grpc.StatusCode.NOT_FOUND
    assert (await verify(plane, made.secret)).token_id == made.token.id


async def test_a_new_token_lives_a_year_unless_told_otherwise(plane: Plane) -> None:
    tenant = await plane.tenant()
    made = await make(plane, tenant)
    assert made.token.expire_time.ToSeconds() - made.token.create_time.ToSeconds() == 365 * 86_400
    assert made.token.creator == "admin"
    forever = await make(plane, tenant, never_expires=True)
    assert not forever.token.HasField("expire_time")
    both = pb.CreateTokenRequest(tenant_id=tenant, never_expires=True)
    both.ttl.FromSeconds(60)
    refusal = await refused(plane.admin.tokens.CreateToken(both, metadata=plane.admin.metadata()))
    assert refusal.fields == {"never_expires": "only without ttl"}


async def test_a_third_active_token_is_refused_even_at_the_same_moment(plane: Plane) -> None:
    tenant = await plane.tenant()
    answers = await asyncio.gather(*(make(plane, tenant) for _ in range(6)), return_exceptions=True)
    made = [one for one in answers if isinstance(one, pb.CreateTokenResponse)]
    assert len(made) == 2
    refusal = await refused(make(plane, tenant))
    assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION
    assert "2 active tokens (limits.max_active_tokens)" in refusal.text
    assert all(one.token.key_id in refusal.text for one in made)
    await revoke(plane, made[0].token)
    await make(plane, tenant)


async def test_a_rotation_counts_the_old_token_while_it_works(plane: Plane) -> None:
    tenant = await plane.tenant()
    first, _ = await make(plane, tenant), await make(plane, tenant)
    refusal = await refused(rotate(plane, first.token))
    assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION
    rotated = await rotate(plane, first.token, overlap_s=0)
    assert rotated.token.replaces == first.token.id
    assert await refusal_of(plane, first.secret) == "expired"
    # The answer got lost: once more, and the old one does not come back.
    again = await rotate(plane, first.token)
    assert await refusal_of(plane, rotated.secret) == "revoked"
    assert await refusal_of(plane, first.secret) == "expired"
    assert (await verify(plane, again.secret)).token_id == again.token.id


async def test_an_old_token_may_live_until_it_is_revoked(plane: Plane) -> None:
    tenant = await plane.tenant()
    made = await make(plane, tenant, never_expires=True, allowed_networks=["192.0.2.1"])
    rotated = await rotate(plane, made.token, until_revoked=True)
    assert not rotated.replaced.HasField("expire_time")
    assert (list(rotated.token.allowed_networks), rotated.token.HasField("expire_time")) == (["192.0.2.1/32"], False)
    refusal = await refused(rotate(plane, made.token, overlap_s=5, until_revoked=True))
    assert set(refusal.fields) == {"until_revoked"}


async def test_a_rotation_whose_answer_was_lost_is_asked_for_again(plane: Plane) -> None:
    tenant = await plane.tenant()
    made = await make(plane, tenant, never_expires=True)
    lost, again = await rotate(plane, made.token), await rotate(plane, made.token)
    # The successor does not inherit the old token's end, and the lost one works no more.
    assert not again.token.HasField("expire_time")
    assert await refusal_of(plane, lost.secret) == "revoked"
    assert (await verify(plane, again.secret, "192.0.2.7")).token_id == again.token.id
    refusal = await refused(rotate(plane, made.token))
    assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION
    assert f"its successor {again.token.key_id} was used" in refusal.text
    assert (await listed(plane, tenant))[again.token.id].last_use_address == "192.0.2.7"


async def test_a_token_works_from_its_networks_only(plane: Plane) -> None:
    tenant = await plane.tenant()
    made = await make(plane, tenant, allowed_networks=["192.0.2.0/24", "2001:DB8::/32", "192.0.2.0/24 "])
    assert list(made.token.allowed_networks) == ["192.0.2.0/24", "2001:db8::/32"]
    for address in ("192.0.2.99", "2001:db8::1", "::ffff:192.0.2.1"):
        answer = await verify(plane, made.secret, address)
        assert list(answer.allowed_networks) == ["192.0.2.0/24", "2001:db8::/32"]
    assert await refusal_of(plane, made.secret, "198.51.100.1") == "network"
    assert await refusal_of(plane, made.secret) == "network"
    refusal = await refused(make(plane, tenant, allowed_networks=["10.0.0.0/8", "10.1.2.3/8"]))
    assert refusal.fields["allowed_networks"].startswith("'10.1.2.3/8' has bits behind its prefix")


async def test_a_gateway_learns_the_tenants_state_and_limits(plane: Plane) -> None:
    tenant = await plane.tenant()
    made = await make(plane, tenant)
    answer = await verify(plane, made.secret)
    assert (answer.tenant_state, answer.limits.max_active_tokens) == (pb.TENANT_STATE_ACTIVE, 2)
    suspend = pb.SuspendTenantRequest(id=tenant, reason="unpaid")
    await plane.admin.tenants.SuspendTenant(suspend, metadata=plane.admin.metadata())
    assert (await verify(plane, made.secret)).tenant_state == pb.TENANT_STATE_SUSPENDED
    delete = pb.DeleteTenantRequest(id=tenant, confirm_display_name="Acme")
    await plane.admin.tenants.DeleteTenant(delete, metadata=plane.admin.metadata())
    assert await refusal_of(plane, made.secret) == "tenant_deleted"
    refusal = await refused(make(plane, tenant))
    assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION


async def test_watchers_hear_of_a_tenant(plane: Plane) -> None:
    tenant = await plane.tenant()
    watch = plane.gateway.tokens.WatchTokens(pb.WatchTokensRequest(), metadata=plane.gateway.metadata())
    events = aiter(watch)
    async with asyncio.timeout(5):
        assert (await anext(events)).reset
        suspend = pb.SuspendTenantRequest(id=tenant)
        await plane.admin.tenants.SuspendTenant(suspend, metadata=plane.admin.metadata())
        while (event := await anext(events)).tenant_id != tenant:
            assert event.reset or event.heartbeat
    watch.cancel()


async def test_who_knows_a_key_id_cannot_make_us_hash_nor_lock_its_owner_out(plane: Plane) -> None:
    tenant = await plane.tenant()
    made = await make(plane, tenant)
    await verify(plane, made.secret, "192.0.2.7")
    guesses = [swap_secret(made.secret, compose("test", bytes([n]) * 48).text) for n in range(14)]
    causes = [await refusal_of(plane, guess, f"198.51.100.{n}") for n, guess in enumerate(guesses)]
    assert causes[:10] == ["mismatch"] * 10
    assert "throttled" in causes
    # A guess that was wrong once is known, and costs nothing.
    assert await refusal_of(plane, guesses[0], "198.51.100.1") == "mismatch"
    # Where the token was last used from there is a bucket of its own; and who is known already passes from anywhere.
    assert await refusal_of(plane, guesses[13], "192.0.2.7") == "mismatch"
    assert (await verify(plane, made.secret, "203.0.113.5")).token_id == made.token.id


async def test_reports_note_last_uses_and_never_go_back(plane: Plane) -> None:
    tenant, other = await plane.tenant(), await plane.tenant("Other")
    made, second = await make(plane, tenant), await make(plane, other)
    now = int(made.token.create_time.ToSeconds())
    reported = [
        use_of(made.token, now - 30, "192.0.2.1", "Okta"),
        use_of(second.token, now - 20, "192.0.2.2", "Entra"),
        use_of(made.token, now - 40, "192.0.2.9", "older"),
        # Another tenant's token under this tenant's name is nobody's.
        use_of(pb.Token(id=second.token.id, tenant_id=tenant), now - 1, "192.0.2.9", "wrong"),
    ]
    await report(plane, uses=reported)
    await report(plane, uses=[use_of(made.token, now - 35, "192.0.2.9", "late")])
    mine, theirs = (await listed(plane, tenant))[made.token.id], (await listed(plane, other))[second.token.id]
    assert (mine.last_use_time.ToSeconds(), mine.last_use_address) == (now - 30, "192.0.2.1")
    assert mine.last_use_user_agent == "Okta"
    # A clock that is a year ahead is not believed.
    await report(plane, uses=[use_of(second.token, now + 365 * 86_400, "192.0.2.3", "Entra")])
    theirs = (await listed(plane, other))[second.token.id]
    assert theirs.last_use_address == "192.0.2.3"
    assert theirs.last_use_time.ToSeconds() < now + 60


def use_of(token: pb.Token, seconds: int, address: str, agent: str) -> pb.TokenUse:
    use = pb.TokenUse(tenant_id=token.tenant_id, token_id=token.id, address=address, user_agent=agent, count=1)
    use.time.FromSeconds(seconds)
    return use


def refusal_for(key_id: str, cause: str, address: str, count: int) -> pb.TokenRefusal:
    refusal = pb.TokenRefusal(key_id=key_id, cause=cause, address=address, user_agent="curl", count=count)
    refusal.time.GetCurrentTime()
    return refusal


async def report(plane: Plane, **fields: object) -> None:
    request = pb.ReportTokenUseRequest(**fields)  # type: ignore[arg-type]  # test data
    await plane.gateway.tokens.ReportTokenUse(request, metadata=plane.gateway.metadata())


async def refusals_in(plane: Plane, tenant: str) -> list[audit_pb2.AuditEvent]:
    query = audit_pb2.ListAuditEventsRequest(tenant_id=tenant, action="token.refuse", page_size=1000)
    return list((await plane.admin.audit.ListAuditEvents(query, metadata=plane.admin.metadata())).events)


async def test_refusals_are_in_the_trail_of_whose_key_id_it_is(plane: Plane) -> None:
    tenant, other = await plane.tenant(), await plane.tenant("Other")
    made = await make(plane, tenant)
    assert await refusal_of(plane, swap_secret(made.secret, unknown_token()), "198.51.100.1") == "mismatch"
    assert await refusals_in(plane, tenant) == []  # the gateway reports what it answered
    key_id = made.token.key_id
    first, more = refusal_for(key_id, "mismatch", "198.51.100.1", 3), refusal_for(key_id, "mismatch", "198.51.100.1", 4)
    await report(plane, refusals=[first, more, refusal_for("0" * 12, "mismatch", "198.51.100.1", 9)])
    (event,) = await refusals_in(plane, tenant)
    assert (event.actor_type, event.actor_id, event.actor_address) == (
        audit_pb2.ACTOR_TYPE_TOKEN,
        key_id,
        "198.51.100.1",
    )
    assert (event.outcome, event.reason) == (audit_pb2.OUTCOME_FAILURE, "the secret is wrong")
    assert (event.resource_id, json.loads(event.details)["count"]) == (made.token.id, 7)
    assert await refusals_in(plane, other) == []


async def test_a_report_writes_a_hundred_events_and_the_sum_of_the_rest(plane: Plane) -> None:
    tenant = await plane.tenant()
    key_id = (await make(plane, tenant)).token.key_id
    many = [refusal_for(key_id, "throttled", f"198.51.{n // 250}.{n % 250}", 2 if n < 100 else 1) for n in range(130)]
    await report(plane, refusals=many)
    events = await refusals_in(plane, tenant)
    assert len(events) == 101
    (rest,) = [event for event in events if not event.resource_id]
    assert json.loads(rest.details) == {"count": 30, "kinds": 30}


async def test_a_hash_is_made_anew_with_the_iterations_of_today(database: Database, queue_url: str) -> None:
    async with running_plane(settings(database, queue_url)) as plane:
        made = await make(plane, await plane.tenant())
    async with running_plane(settings(database, queue_url, token_iterations=ITERATIONS + 1)) as plane:
        await verify(plane, made.secret)
        assert (await verify(plane, made.secret)).token_id == made.token.id
        # Another process verifies the new hash.
        async with running_plane(settings(database, queue_url, token_iterations=ITERATIONS + 1)) as other:
            await verify(other, made.secret)
    async with await psycopg.AsyncConnection.connect(database.superuser_url) as connection:
        (row,) = await (await connection.execute("SELECT hash FROM tokens")).fetchall()
    assert row[0].split("$")[1] == str(ITERATIONS + 1)


async def test_expiring_tokens_are_counted_unless_they_have_a_successor(plane: Plane, database: Database) -> None:
    storage = await Storage.open(database.app_url, pool_size=1, timeout_s=5)
    metrics = Metrics()
    for days in (1, 10, 20, 300):
        request = pb.CreateTokenRequest(tenant_id=await plane.tenant())
        request.ttl.FromSeconds(days * 86_400)
        made = await plane.admin.tokens.CreateToken(request, metadata=plane.admin.metadata())
        if days == 20:
            await rotate(plane, made.token, overlap_s=600)
    assert await TokenExpiry(storage, SystemClock(), metrics).run_once() == {"3d": 1, "14d": 2, "30d": 3}
    assert metrics.registry.get_sample_value("scim_tokens_expiring", {"within": "14d"}) == 2
    await storage.close()

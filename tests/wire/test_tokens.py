"""Tokens: shown once, verified, rotated with overlap, revoked at once, always refused with one text."""

import asyncio

import grpc
import pytest

from protos.tenancy.v1 import tenancy_pb2 as pb
from tests.fixtures.control_plane import Plane
from tests.wire.conftest import refused


async def make(plane: Plane, tenant: str, **fields: object) -> pb.CreateTokenResponse:
    request = pb.CreateTokenRequest(tenant_id=tenant, **fields)  # type: ignore[arg-type]  # test data
    return await plane.admin.tokens.CreateToken(request, metadata=plane.admin.metadata())


async def verify(plane: Plane, secret: str) -> pb.VerifyTokenResponse:
    return await plane.gateway.tokens.VerifyToken(
        pb.VerifyTokenRequest(presented=secret), metadata=plane.gateway.metadata()
    )


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


@pytest.mark.parametrize("kind", ["garbage", "bad checksum", "unknown", "wrong secret", "revoked", "expired"])
async def test_every_refusal_has_one_text(plane: Plane, kind: str) -> None:
    tenant = await plane.tenant()
    made = await make(plane, tenant)
    secret, other = made.secret, (await make(plane, await plane.tenant("Other"))).secret
    presented = {
        "garbage": "hello",
        "bad checksum": secret[:-1] + ("0" if secret[-1] != "0" else "1"),
        "unknown": unknown_token(),
        "wrong secret": swap_secret(secret, other),
    }.get(kind, secret)
    if kind in {"revoked", "expired"}:
        await verify(plane, secret)
        if kind == "revoked":
            revoke = pb.RevokeTokenRequest(tenant_id=tenant, id=made.token.id)
            await plane.admin.tokens.RevokeToken(revoke, metadata=plane.admin.metadata())
        else:
            request = pb.RotateTokenRequest(tenant_id=tenant, id=made.token.id)
            request.overlap.FromSeconds(0)
            await plane.admin.tokens.RotateToken(request, metadata=plane.admin.metadata())
    call = plane.gateway.tokens.VerifyToken(
        pb.VerifyTokenRequest(presented=presented), metadata=plane.gateway.metadata()
    )
    refusal = await refused(call)
    assert refusal.code is grpc.StatusCode.UNAUTHENTICATED
    assert refusal.text == "the bearer token is missing, malformed or not valid"
    assert refusal.info.reason == "TOKEN_REFUSED"


def unknown_token() -> str:
    from control_plane.domain.tokens import compose

    return compose("test", b"u" * 48).text


def swap_secret(one: str, other: str) -> str:
    """Return a well-formed token with the key id of ``one`` and the secret of ``other``."""
    from control_plane.domain.tokens import CHECKSUM_LENGTH, _checksum

    body = "_".join([*one.split("_")[:3], other.split("_")[3][:-CHECKSUM_LENGTH]])
    return body + _checksum(body)


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


async def test_a_second_rotation_in_the_overlap_gives_a_token_that_lives(plane: Plane) -> None:
    """Its answer was lost and the operator asks again: the successor must not inherit the old token's end."""
    tenant = await plane.tenant()
    made = await make(plane, tenant)
    request = pb.RotateTokenRequest(tenant_id=tenant, id=made.token.id)
    for _ in range(2):
        rotated = await plane.admin.tokens.RotateToken(request, metadata=plane.admin.metadata())
        assert not rotated.token.HasField("expire_time")
        assert (await verify(plane, rotated.secret)).token_id == rotated.token.id

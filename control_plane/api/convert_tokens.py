"""Tokens, verifications and reports of their use <-> protobuf."""

from dataclasses import asdict
from datetime import timedelta

from control_plane.api.convert import moment, span, tenant_id, timestamp
from control_plane.domain.errors import InvalidArgument
from control_plane.domain.ids import TokenId, parse_id
from control_plane.domain.tenants import Limits
from control_plane.domain.tokens import DEFAULT_TTL, Overlap, Scope, Token, Verified, Wish, normal_networks
from control_plane.services.token_reports import Refusal
from control_plane.services.token_watch import TENANT_PREFIX
from control_plane.storage.tokens import Use
from protos.tenancy.v1 import tenancy_pb2 as pb


def token(one: Token) -> pb.Token:
    """Return a token on the wire: everything but its hash."""
    return pb.Token(
        id=str(one.id),
        tenant_id=str(one.tenant),
        key_id=one.key_id,
        label=one.label,
        scopes=[pb.Scope.ValueType(scope) for scope in one.scopes],
        create_time=timestamp(one.created_at),
        expire_time=timestamp(one.expires_at),
        revoke_time=timestamp(one.revoked_at),
        allowed_networks=one.allowed_networks,
        last_use_time=timestamp(one.last_used_at),
        last_use_address=one.last_used_address,
        last_use_user_agent=one.last_used_agent,
        replaces="" if one.replaces is None else str(one.replaces),
        creator=one.creator,
    )


def limits(one: Limits) -> pb.TenantLimits:
    """Return limits on the wire, all of them."""
    return pb.TenantLimits(**asdict(one))


def verified(found: Verified) -> pb.VerifyTokenResponse:
    """Return what a gateway has to know of a good token."""
    one = found.token
    return pb.VerifyTokenResponse(
        tenant_id=str(one.tenant),
        token_id=str(one.id),
        key_id=one.key_id,
        scopes=[pb.Scope.ValueType(scope) for scope in one.scopes],
        expire_time=timestamp(one.expires_at),
        allowed_networks=one.allowed_networks,
        tenant_state=pb.TenantState.ValueType(found.tenant_state),
        limits=limits(found.limits),
    )


def wish(request: pb.CreateTokenRequest) -> Wish:
    """Return what a new token shall be; InvalidArgument for a life that contradicts itself or a wrong network."""
    if request.never_expires and request.HasField("ttl"):
        raise InvalidArgument("never_expires", "only without ttl")
    ttl: timedelta | None = span(request.ttl) if request.HasField("ttl") else DEFAULT_TTL
    if request.never_expires:
        ttl = None
    return Wish(
        label=request.label,
        scopes=tuple(Scope(scope) for scope in request.scopes) or (Scope.READ, Scope.WRITE),
        ttl_s=None if ttl is None else int(ttl.total_seconds()),
        allowed_networks=normal_networks(request.allowed_networks),
    )


def overlap(request: pb.RotateTokenRequest) -> Overlap:
    """Return how long the old token goes on working; InvalidArgument if it is said in two ways."""
    if request.until_revoked and request.HasField("overlap"):
        raise InvalidArgument("until_revoked", "only without overlap")
    if request.HasField("overlap"):
        return Overlap(span(request.overlap))
    return Overlap(until_revoked=request.until_revoked)


def use(one: pb.TokenUse) -> Use:
    """Return a reported use."""
    return Use(
        tenant=tenant_id(one.tenant_id),
        token=TokenId(parse_id(one.token_id, "token")),
        at=moment(one.time, "uses.time"),
        address=one.address,
        agent=one.user_agent,
    )


def refusal(one: pb.TokenRefusal) -> Refusal:
    """Return a reported refusal."""
    at = moment(one.time, "refusals.time")
    return Refusal(one.key_id, one.cause, one.address, one.user_agent, at, one.count)


def change(changed: str | None) -> pb.WatchTokensResponse:
    """Return what a gateway has to drop; None: everything."""
    if changed is None:
        return pb.WatchTokensResponse(reset=True)
    if changed.startswith(TENANT_PREFIX):
        return pb.WatchTokensResponse(tenant_id=changed.removeprefix(TENANT_PREFIX))
    return pb.WatchTokensResponse(token_id=changed)

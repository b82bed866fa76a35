"""Who calls: compares the bearer token with the three that the settings give."""

import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

import grpc

from control_plane.api.errors import CallRefused
from control_plane.api.interceptors.wrapping import AroundInterceptor, Context, split_method
from control_plane.api.policy import OPEN_SERVICES, Role
from control_plane.client.names import ACTOR_ADDRESS_KEY, ACTOR_ID_KEY
from control_plane.domain.audit import Actor, ActorType
from control_plane.runtime.context import request_id
from control_plane.services.caller import Caller

MIN_TOKEN_LENGTH, MAX_ACTOR_LENGTH = 32, 200

role: ContextVar[Role] = ContextVar("role")
_actor: ContextVar[Actor] = ContextVar("actor")


def caller() -> Caller:
    """Return who makes the current call."""
    return Caller(_actor.get(), request_id.get())


class AuthInterceptor(AroundInterceptor):
    """Sets the role and the actor of each call; UNAUTHENTICATED without a known token."""

    def __init__(self, tokens: dict[Role, str]) -> None:
        """``tokens`` are the bearer tokens by role; ValueError names one that is too short."""
        for one, token in tokens.items():
            if len(token) < MIN_TOKEN_LENGTH:
                raise ValueError(f"the {one.value} token needs at least {MIN_TOKEN_LENGTH} characters")
        # Digests, so that the comparison takes the same time for every length.
        self._digests = {one: hashlib.sha256(token.encode()).digest() for one, token in tokens.items()}

    def ignores(self, method: str) -> bool:
        """Leave health and reflection open."""
        return split_method(method)[0] in OPEN_SERVICES

    @asynccontextmanager
    async def around(self, details: grpc.HandlerCallDetails, _context: Context) -> AsyncIterator[None]:
        """Find the role, then who acts: a gateway speaks for the token it verified."""
        metadata = {key: value for key, value in details.invocation_metadata or () if isinstance(value, str)}
        found = self._role(metadata.get("authorization", ""))
        role.set(found)
        address = metadata.get(ACTOR_ADDRESS_KEY, "")[:MAX_ACTOR_LENGTH]
        match found:
            case Role.ADMIN:
                _actor.set(Actor(ActorType.ADMIN, "admin"))
            case Role.GATEWAY:
                _actor.set(Actor(ActorType.TOKEN, metadata.get(ACTOR_ID_KEY, "")[:MAX_ACTOR_LENGTH], address))
            case Role.WORKER:
                _actor.set(Actor(ActorType.WORKER, "worker"))
        yield

    def _role(self, header: str) -> Role:
        scheme, _, token = header.partition(" ")
        presented = hashlib.sha256(token.strip().encode()).digest()
        for one, digest in self._digests.items():
            if scheme.lower() == "bearer" and hmac.compare_digest(presented, digest):
                return one
        raise CallRefused(
            grpc.StatusCode.UNAUTHENTICATED,
            "UNAUTHENTICATED",
            "send `authorization: Bearer <token>` with a known service token",
        )

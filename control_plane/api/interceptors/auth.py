"""Who calls: from the bearer token, the certificate and the address of a call to an identity and an actor."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import grpc

from control_plane.api.errors import CallRefused
from control_plane.api.interceptors.addresses import address_of
from control_plane.api.interceptors.lasting import while_valid
from control_plane.api.interceptors.request_id import trace_of
from control_plane.api.interceptors.wrapping import (
    AroundInterceptor,
    Context,
    Found,
    Handler,
    read_late,
    split_method,
    wrap,
)
from control_plane.api.policy import OPEN_SERVICES, POLICY
from control_plane.client.names import (
    ACTOR_ADDRESS_KEY,
    ACTOR_AGENT_KEY,
    ACTOR_ID_KEY,
    MAX_AGENT_LENGTH,
    TRACEPARENT_KEY,
)
from control_plane.domain.audit import Actor, ActorType
from control_plane.domain.errors import MusterError
from control_plane.domain.identities import Identity, Role
from control_plane.domain.peers import UnknownPeer, peer_of
from control_plane.metrics import Metrics
from control_plane.runtime.context import request_id, trace_id
from control_plane.runtime.log_limit import LogLimit
from control_plane.runtime.logs import get_logger
from control_plane.services.authentication import Authenticator, Presented
from control_plane.services.caller import Caller
from control_plane.services.key_checks import CredentialRefused

log = get_logger(__name__)

MAX_ACTOR_LENGTH = 200
# A call that may take longer is asked for its credential again and again while it lasts.
LONG_S = 60.0
# One text for all: who guesses learns nothing.
REFUSAL = "send `authorization: Bearer <token>` with a token or an API key that is valid here"

_identity: ContextVar[Identity] = ContextVar("identity")
_actor: ContextVar[Actor] = ContextVar("actor")


def identity() -> Identity:
    """Return who makes the current call, as proved."""
    return _identity.get()


def caller() -> Caller:
    """Return who acts in the current call, as the audit trail tells it: behind a gateway, who it speaks for."""
    return Caller(_actor.get(), request_id.get(), trace_id.get())


class AuthInterceptor(AroundInterceptor):
    """Sets the identity and the actor of each call; UNAUTHENTICATED if nothing proves who calls.

    Until that is known nothing is told, not even whether there is such a method or what a message should look like.
    """

    def __init__(self, authenticator: Authenticator, trust_domain: str, metrics: Metrics) -> None:
        self._authenticator, self._trust_domain, self._metrics = authenticator, trust_domain, metrics
        self._refused_lines = LogLimit(log, "refused credentials left out")

    def wrapped(self, handler: Found, details: grpc.HandlerCallDetails) -> Found:
        """Wrap the handler of every method outside the open services, of those that there are not as well."""
        if self.ignores(details.method):
            return handler
        inner = _NO_METHOD if handler is None else read_late(handler)
        return wrap(inner, lambda context: self.around(details, context))

    def ignores(self, method: str) -> bool:
        """Leave health and reflection open."""
        return split_method(method)[0] in OPEN_SERVICES

    @asynccontextmanager
    async def around(self, details: grpc.HandlerCallDetails, context: Context) -> AsyncIterator[None]:
        """Find out who calls, then who acts: a gateway speaks for the token it verified."""
        address = address_of(context.peer())
        pairs = [(key, value) for key, value in details.invocation_metadata or () if isinstance(value, str)]
        try:
            peer = peer_of(context.auth_context() or {}, self._trust_domain)
            presented = Presented(_bearer(pairs), peer, address)
            found = await self._authenticator.identify(presented)
        except (CredentialRefused, UnknownPeer) as err:
            cause = err.cause if isinstance(err, CredentialRefused) else "certificate"
            self._metrics.refused_credentials.labels(cause).inc()
            if self._refused_lines.allows():
                log.info("credential refused", cause=cause, address=address, method=details.method[:MAX_ACTOR_LENGTH])
            raise CallRefused(grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", REFUSAL) from None
        metadata = dict(pairs)
        trace_id.set(trace_of(metadata.get(TRACEPARENT_KEY, "")))
        _identity.set(found)
        _actor.set(_acting(found, metadata, address))

        async def is_valid() -> bool:
            return await self._is_still(presented, found)

        async with while_valid(is_valid) if _can_be_withdrawn(details.method, found) else nullcontext():
            yield

    async def _is_still(self, presented: Presented, found: Identity) -> bool:
        """Tell whether the credential still proves the same identity; what cannot be asked now is asked later."""
        try:
            again = await self._authenticator.identify(presented)
        except CredentialRefused as err:
            log.info("credential withdrawn during a call", cause=err.cause, address=presented.address)
            return False
        except MusterError:
            return True
        return (again.role, again.scopes, again.tenants) == (found.role, found.scopes, found.tenants)


def _can_be_withdrawn(method: str, found: Identity) -> bool:
    """Tell whether a call may outlast its credential: a long one of somebody whom the settings do not name."""
    rule = POLICY.get(method)
    is_long = rule is not None and (rule.deadline_s is None or rule.deadline_s > LONG_S)
    return is_long and found.actor_type in (ActorType.OPERATOR, ActorType.SERVICE)


def _bearer(metadata: list[tuple[str, str]]) -> str:
    """Return the bearer token, "" if there is none; what is sent twice or in another form is no credential."""
    match [value for key, value in metadata if key == "authorization"]:
        case []:
            return ""
        case [header]:
            scheme, _, token = header.partition(" ")
            if scheme.lower() == "bearer" and token.strip():
                return token.strip()
    raise CredentialRefused("malformed")


def _acting(found: Identity, metadata: dict[str, str], address: str) -> Actor:
    """Return the actor. Only gateways are believed when they say that it is somebody else."""
    if found.role is Role.GATEWAY and (actor_id := metadata.get(ACTOR_ID_KEY, "")):
        return Actor(
            ActorType.TOKEN,
            actor_id[:MAX_ACTOR_LENGTH],
            metadata.get(ACTOR_ADDRESS_KEY, "")[:MAX_ACTOR_LENGTH],
            metadata.get(ACTOR_AGENT_KEY, "")[:MAX_AGENT_LENGTH],
        )
    return Actor(found.actor_type, found.id, address)


async def _no_method(_requests: Any, _context: Context) -> None:
    raise CallRefused(grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED", "there is no such method")


_NO_METHOD: Handler = grpc.stream_stream_rpc_method_handler(_no_method)

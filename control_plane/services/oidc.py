"""Checks OIDC tokens (JWTs) of the configured provider. Fetching the provider's keys is somebody else's work."""

import asyncio
import base64
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import Key, import_key
from joserfc.jws import JWSRegistry

from control_plane.domain.errors import Unavailable
from control_plane.domain.operators import OidcSubject
from control_plane.runtime.clock import Clock
from control_plane.runtime.logs import get_logger

log = get_logger(__name__)

# Signatures alone, never "none" and never a shared secret: with HS256 anybody could sign with the public key.
ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "Ed25519"},
)
KEY_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
MAX_TOKEN_LENGTH = 8192
# Nobody's is longer (identity.proto).
MAX_SUBJECT_LENGTH = 500
SKEW_S = 60
MIN_RSA_BITS = 2048
MAX_KEYS = 100
# Keys are asked for anew when they are this old, and for an unknown key id; a try is followed by none for so long.
FRESH_S, RETRY_S = 600.0, 10.0
# While the provider does not answer, its last keys hold for so long.
STALE_S = 3600.0
_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")

# Returns the provider's key set (RFC 7517); OSError if it cannot be had.
Fetch = Callable[[], Awaitable[Mapping[str, Any]]]


class JwtRefused(Exception):
    """The token proves nothing. ``cause`` is for metrics and logs only."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class _ProviderKey:
    """A key for checking signatures, and the one algorithm it is for, if its owner says so."""

    key: Key
    kind: str
    algorithm: str | None


def looks_like_jwt(text: str) -> bool:
    """Tell whether ``text`` has the form of a signed JWT."""
    return len(text) <= MAX_TOKEN_LENGTH and _FORM.fullmatch(text) is not None


class ProviderKeys:
    """The provider's keys, by key id: fetched when needed, seldom."""

    def __init__(self, fetch: Fetch, clock: Clock) -> None:
        self._fetch, self._clock = fetch, clock
        self._keys: dict[str, _ProviderKey] = {}
        self._tried_at = self._fetched_at = float("-inf")
        self._one_at_a_time = asyncio.Lock()

    async def find(self, key_id: str | None) -> _ProviderKey:
        """Return the key; without an id the only one there is. JwtRefused if there is none."""
        await self._refresh(lambda: self._age_s() >= FRESH_S or self._known(key_id) is None)
        if self._age_s() >= STALE_S:
            raise Unavailable("the OIDC provider", RETRY_S)
        found = self._known(key_id)
        if found is None:
            raise JwtRefused("unknown key")
        return found

    def _known(self, key_id: str | None) -> _ProviderKey | None:
        if key_id is not None:
            return self._keys.get(key_id)
        return next(iter(self._keys.values())) if len(self._keys) == 1 else None

    def _age_s(self) -> float:
        return self._clock.monotonic() - self._fetched_at

    async def _refresh(self, is_needed: Callable[[], bool]) -> None:
        """Fetch the keys if needed, and if the last try is long enough ago: strangers decide how often we are asked."""
        if not is_needed():
            return
        async with self._one_at_a_time:
            if not is_needed() or self._clock.monotonic() - self._tried_at < RETRY_S:
                return
            self._tried_at = self._clock.monotonic()
            try:
                self._keys = _usable(await self._fetch())
            except OSError as err:
                log.warning("the OIDC provider's keys cannot be had", error=str(err))
                return
            self._fetched_at = self._clock.monotonic()


class OidcVerifier:
    """Says for whom a token stands."""

    def __init__(self, issuer: str, audience: str, keys: ProviderKeys, clock: Clock) -> None:
        self._issuer, self._audience, self._keys, self._clock = issuer, audience, keys, clock

    async def verify(self, token: str) -> OidcSubject:
        """Return issuer and subject; JwtRefused unless signature and claims are right, Unavailable without keys."""
        header = _part(token.partition(".")[0])
        algorithm, key_id = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise JwtRefused("algorithm")
        if key_id is not None and not isinstance(key_id, str):
            raise JwtRefused("malformed")
        found = await self._keys.find(key_id)
        if found.kind != KEY_TYPES[algorithm[:2]] or found.algorithm not in (None, algorithm):
            raise JwtRefused("algorithm")
        # No provider sends it. Who demands that something be understood (RFC 7515 section 4.1.11) is refused whole.
        if "crit" in header:
            raise JwtRefused("malformed")
        # Providers add header parameters of their own.
        registry = JWSRegistry(algorithms=[algorithm], strict_check_header=False)
        try:
            payload = jws.deserialize_compact(token, found.key, registry=registry).payload
        except (JoseError, ValueError, TypeError) as err:
            raise JwtRefused("signature") from err
        return check_claims(_object(payload), self._issuer, self._audience, self._clock.now())


def check_claims(claims: Mapping[str, Any], issuer: str, audience: str, now: datetime) -> OidcSubject:
    """Return for whom the claims of a signed token stand; JwtRefused if they are not for us, or not for now."""
    at = now.timestamp()
    audiences = claims.get("aud")
    subject = claims.get("sub")
    if claims.get("iss") != issuer:
        raise JwtRefused("issuer")
    if audience not in (audiences if isinstance(audiences, list) else [audiences]):
        raise JwtRefused("audience")
    if at >= _moment(claims, "exp") + SKEW_S:
        raise JwtRefused("expired")
    for name in ("nbf", "iat"):
        if name in claims and at < _moment(claims, name) - SKEW_S:
            raise JwtRefused("not yet valid")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_LENGTH or "\0" in subject:
        raise JwtRefused("subject")
    return OidcSubject(issuer, subject)


def _moment(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise JwtRefused("malformed")
    return float(value)


def _part(encoded: str) -> dict[str, Any]:
    """Return the JSON object of a token's part."""
    try:
        return _object(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except ValueError as err:
        raise JwtRefused("malformed") from err


def _object(raw: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(raw)
    except ValueError as err:
        raise JwtRefused("malformed") from err
    if not isinstance(found, dict):
        raise JwtRefused("malformed")
    return found


def _usable(key_set: Mapping[str, Any]) -> dict[str, _ProviderKey]:
    """Return the keys that can check a signature; others, and what is broken, are left out."""
    listed = key_set.get("keys")
    found: dict[str, _ProviderKey] = {}
    for place, each in enumerate(listed[:MAX_KEYS] if isinstance(listed, list) else []):
        if not isinstance(each, dict) or each.get("kty") not in KEY_TYPES.values() or each.get("use") == "enc":
            continue
        try:
            key = import_key(each)
            public = key.get_op_key("verify")
            is_weak = isinstance(public, RSAPublicKey) and public.key_size < MIN_RSA_BITS
        except (JoseError, ValueError, TypeError, KeyError):
            continue
        if not is_weak:
            name, algorithm = each.get("kid"), each.get("alg")
            known = name if isinstance(name, str) else f"#{place}"
            found[known] = _ProviderKey(key, key.key_type, algorithm if isinstance(algorithm, str) else None)
    return found

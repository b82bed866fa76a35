"""OIDC tokens against an injected key set: the provider's keys, their age, and how often they are asked for."""

import base64
import hmac
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from control_plane.domain.errors import Unavailable
from control_plane.domain.operators import OidcSubject
from control_plane.services.oidc import JwtRefused, OidcVerifier, ProviderKeys, check_claims, looks_like_jwt
from tests.fakes.clock import FakeClock

ISSUER, AUDIENCE = "https://idp.example", "muster"
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})


def encoded(header: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(header)).decode().rstrip("=")


class Provider:
    """An issuer: what it publishes, and how often it was asked."""

    def __init__(self, *keys: Key | dict[str, Any]) -> None:
        self.keys, self.asked, self.is_away = list(keys), 0, False
        self.clock = FakeClock()
        self.verifier = OidcVerifier(ISSUER, AUDIENCE, ProviderKeys(self._fetch, self.clock), self.clock)

    async def _fetch(self) -> Mapping[str, Any]:
        self.asked += 1
        if self.is_away:
            raise OSError("away")
        return {"keys": [key if isinstance(key, dict) else key.as_dict(private=False) for key in self.keys]}

    def claims(self, **changes: object) -> dict[str, Any]:
        at = int(self.clock.now().timestamp())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "42", "iat": at, "exp": at + 300, **changes}
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, key: Key = RSA, alg: str = "RS256", kid: str | None = None, **changes: object) -> str:
        header = {"alg": alg, "kid": kid or key.kid}
        return jwt.encode(header, self.claims(**changes), key, algorithms=[alg])

    async def cause(self, token: str) -> str:
        """Return why a token is refused."""
        with pytest.raises(JwtRefused) as caught:
            await self.verifier.verify(token)
        return caught.value.cause


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize(
    ("key", "alg"),
    [(RSA, "RS256"), (RSA, "RS384"), (RSA, "RS512"), (RSA, "PS256"), (EC, "ES256"), (ED, "EdDSA"), (ED, "Ed25519")],
)
async def test_a_signature_by_any_allowed_algorithm_is_accepted(key: Key, alg: str) -> None:
    provider = Provider(RSA, EC, ED)
    assert await provider.verifier.verify(provider.token(key, alg)) == OidcSubject(ISSUER, "42")


async def test_what_is_not_signed_by_the_provider_is_refused() -> None:
    provider = Provider(RSA, EC)
    header, body, signature = provider.token().split(".")
    nothing = encoded({"alg": "none", "kid": "rsa"})
    # The classic: an HMAC with the public key, which everybody has.
    signed = f"{encoded({'alg': 'HS256', 'kid': 'rsa'})}.{body}"
    mac = hmac.digest(RSA.as_pem(private=False), signed.encode(), "sha256")
    shared = f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
    other = RSAKey.generate_key(2048, {"kid": "rsa"})
    assert await provider.cause(f"{nothing}.{body}.") == "algorithm"
    assert await provider.cause(shared) == "algorithm"
    assert await provider.cause(provider.token(other)) == "signature"
    assert await provider.cause(f"{header}.{body}.{signature[:-8]}AAAAAAAA") == "signature"
    assert await provider.cause(f"{header}.{provider.token(sub='43').split('.')[1]}.{signature}") == "signature"
    assert await provider.cause(provider.token(RSA, "RS256", "ec")) == "algorithm"
    assert await provider.cause("e30.e30.e30") == "algorithm"
    assert await provider.cause("W10.e30.e30") == "malformed"


@pytest.mark.filterwarnings("ignore:Key size")
async def test_a_key_for_another_use_or_too_weak_is_none() -> None:
    encrypts = RSAKey.generate_key(2048, {"kid": "enc"})
    weak = RSAKey.generate_key(1024, {"kid": "weak"})
    shared = OctKey.import_key("s" * 32).as_dict() | {"kid": "shared"}
    provider = Provider(shared, encrypts.as_dict(private=False) | {"use": "enc"}, weak, {"kty": "RSA"}, RSA)
    for key in (encrypts, weak):
        assert await provider.cause(provider.token(key)) == "unknown key"
    assert await provider.verifier.verify(provider.token())


@pytest.mark.parametrize("demanded", [["b64"], [], ["kid"], [1], "b64", None])
async def test_a_header_that_must_be_understood_is_refused(demanded: object) -> None:
    provider = Provider(RSA)
    header = encoded({"alg": "RS256", "kid": "rsa", "crit": demanded, "b64": False})
    assert await provider.cause(f"{header}.{provider.token().partition('.')[2]}") == "malformed"


@pytest.mark.parametrize("brought", ["jwk", "jku", "x5u", "x5c"])
async def test_a_key_that_the_token_brings_along_is_not_used(brought: str) -> None:
    provider, stranger = Provider(RSA), RSAKey.generate_key(2048, {"kid": "rsa"})
    own = {"jwk": stranger.as_dict(private=False), "x5c": ["AAAA"]}.get(brought, "https://evil.example/keys")
    header = {"alg": "RS256", "kid": "rsa", brought: own}
    registry = jws.JWSRegistry(strict_check_header=False)
    forged = jws.serialize_compact(header, orjson.dumps(provider.claims()), stranger, registry=registry)
    assert await provider.cause(forged) == "signature"


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"iss": "https://idp.example/"}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"aud": "another"}, "audience"),
        ({"aud": ["another", "muster2"]}, "audience"),
        ({"aud": None}, "audience"),
        ({"exp": 1}, "expired"),
        ({"exp": None}, "malformed"),
        ({"exp": "tomorrow"}, "malformed"),
        ({"exp": True}, "malformed"),
        ({"nbf": 9_999_999_999}, "not yet valid"),
        ({"iat": 9_999_999_999}, "not yet valid"),
        ({"sub": None}, "subject"),
        ({"sub": ""}, "subject"),
        ({"sub": 42}, "subject"),
        ({"sub": "x" * 501}, "subject"),
        ({"sub": "4\0002"}, "subject"),
    ],
)
async def test_a_token_for_somebody_else_or_another_time_is_refused(changes: dict[str, object], cause: str) -> None:
    provider = Provider(RSA)
    assert await provider.cause(provider.token(**changes)) == cause  # type: ignore[arg-type]  # claims, not keys


def test_clocks_may_differ_by_a_minute() -> None:
    provider = Provider()
    now = provider.clock.now()
    at = now.timestamp()
    for changes in ({"exp": at - 59}, {"nbf": at + 60}, {"iat": at + 60}, {"aud": ["x", AUDIENCE]}):
        assert check_claims(provider.claims(**changes), ISSUER, AUDIENCE, now)
    for changes in ({"exp": at - 60}, {"nbf": at + 61}, {"iat": at + 61}):
        with pytest.raises(JwtRefused):
            check_claims(provider.claims(**changes), ISSUER, AUDIENCE, now)


async def test_a_new_key_is_fetched_but_strangers_cannot_make_us_ask_often() -> None:
    provider = Provider(RSA)
    await provider.verifier.verify(provider.token())
    rotated = RSAKey.generate_key(2048, {"kid": "next"})
    provider.keys = [rotated]
    for number in range(20):
        assert await provider.cause(provider.token(rotated, kid=f"unknown-{number}")) == "unknown key"
    assert provider.asked == 1
    provider.clock.advance(10)
    assert await provider.verifier.verify(provider.token(rotated))
    # The provider has withdrawn the old one.
    assert await provider.cause(provider.token()) == "unknown key"
    assert provider.asked == 2


async def test_keys_are_fetched_anew_in_time_and_hold_an_hour_while_the_provider_is_away() -> None:
    provider = Provider(RSA)
    await provider.verifier.verify(provider.token())
    provider.clock.advance(599)
    await provider.verifier.verify(provider.token())
    assert provider.asked == 1
    provider.is_away = True
    provider.clock.advance(1)
    await provider.verifier.verify(provider.token())
    assert provider.asked == 2
    provider.clock.advance(3000)
    with pytest.raises(Unavailable):
        await provider.verifier.verify(provider.token())
    provider.is_away = False
    provider.clock.advance(10)
    assert await provider.verifier.verify(provider.token())


async def test_a_provider_with_one_key_need_not_name_it() -> None:
    nameless = RSAKey.generate_key(2048)
    provider = Provider(nameless)
    token = jwt.encode({"alg": "RS256"}, provider.claims(), nameless)
    assert await provider.verifier.verify(token)
    provider = Provider(nameless, RSA)
    assert await provider.cause(token) == "unknown key"


@pytest.mark.parametrize(
    "text", ["", "a.b", "a.b.c.d", "a b.c.d", "muster_op_x_y", "a." * 3 + "é", "a.b." + "c" * 9000]
)
def test_what_has_another_form_is_no_jwt(text: str) -> None:
    assert not looks_like_jwt(text)

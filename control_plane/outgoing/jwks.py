"""Fetches the keys of an OIDC provider. An operator chose the address, so that no guard stands before it."""

import contextlib
import ipaddress
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

LIMIT_S = 5.0
MAX_BYTES = 1024 * 1024
DISCOVERY = "/.well-known/openid-configuration"


class ProviderUnreachable(OSError):
    """The provider did not answer, or with something else than it should."""


class JwksFetcher:
    """Fetches the key set of one issuer, found by OpenID Connect Discovery 1.0."""

    def __init__(self, issuer: str) -> None:
        """ValueError unless the issuer is an https URL; plain http is for this machine alone."""
        _check(issuer)
        self._issuer = issuer

    async def __call__(self) -> dict[str, Any]:
        """Return the key set as it is; ProviderUnreachable if it cannot be had."""
        timeout = aiohttp.ClientTimeout(total=LIMIT_S)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session:
                found = await _get(session, self._issuer.rstrip("/") + DISCOVERY)
                # Section 4.3: a document that speaks for somebody else is not to be used.
                if found.get("issuer") != self._issuer:
                    raise ProviderUnreachable("the discovery document is another issuer's")
                address = found.get("jwks_uri")
                if not isinstance(address, str):
                    raise ProviderUnreachable("the discovery document has no jwks_uri")
                _check(address)
                return await _get(session, address)
        except (aiohttp.ClientError, TimeoutError, ValueError) as err:
            raise ProviderUnreachable(f"{type(err).__name__} while fetching the provider's keys") from err


async def _get(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """Return the JSON object at ``url``, of one MiB at most; redirects are not followed."""
    async with session.get(url, allow_redirects=False, headers={"Accept": "application/json"}) as answer:
        if answer.status != 200:
            raise ProviderUnreachable(f"the provider answered {answer.status}")
        body = await answer.content.read(MAX_BYTES + 1)
        while not answer.content.at_eof() and len(body) <= MAX_BYTES:
            body += await answer.content.read(MAX_BYTES + 1 - len(body))
    if len(body) > MAX_BYTES:
        raise ProviderUnreachable("the provider's answer is too large")
    found = orjson.loads(body)
    if not isinstance(found, dict):
        raise ProviderUnreachable("the provider's answer is no object")
    return found


def _check(url: str) -> None:
    parts = urlsplit(url)
    is_local = parts.hostname == "localhost"
    with contextlib.suppress(ValueError):
        is_local = is_local or ipaddress.ip_address(parts.hostname or "").is_loopback
    if not parts.hostname or (parts.scheme != "https" and not (parts.scheme == "http" and is_local)):
        raise ValueError(f"{url!r} is not an https URL")

"""The bearer token: ``muster_<env>_<12 base62 key id>_<43 base62 secret><6 base62 CRC-32>``, PBKDF2-SHA256 at rest.

The checksum covers all before it and is no secret: it sheds typing errors and garbage before any look-up, and lets
secret scanners tell a real token from a lookalike (the form that GitHub uses for its tokens). The key id is public.
"""

import hashlib
import hmac
import re
import zlib
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from control_plane.domain.errors import TokenRefused
from control_plane.domain.ids import TenantId, TokenId

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
KEY_ID_LENGTH, SECRET_LENGTH, CHECKSUM_LENGTH = 12, 43, 6
# Published for secret scanners in README.md.
PATTERN = re.compile(r"muster_(live|test|dev)_([0-9A-Za-z]{12})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})")
SALT_BYTES = 16


class Scope(IntEnum):
    """What a token may do; the values are those of the wire."""

    READ = 1
    WRITE = 2


@dataclass(frozen=True, slots=True)
class Token:
    """A token as stored: everything but the secret."""

    id: TokenId
    tenant: TenantId
    key_id: str
    label: str
    scopes: tuple[Scope, ...]
    hash: str  # algorithm$iterations$salt$digest
    created_at: datetime
    ttl_s: int | None  # the life it was made for; a successor gets the same, whatever a rotation made of expires_at
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Presented:
    """A well-formed token as presented; says nothing about whether it exists."""

    key_id: str
    text: str


def base62(number: int, length: int) -> str:
    """Return ``number`` in base 62, zero-padded to ``length`` characters."""
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


def compose(env: str, random: bytes) -> Presented:
    """Return a new token of ``env`` ("live", "test" or "dev") from 48 bytes of ``random``."""
    key_id = base62(int.from_bytes(random[:16], "big"), KEY_ID_LENGTH)
    secret = base62(int.from_bytes(random[16:48], "big"), SECRET_LENGTH)
    body = f"muster_{env}_{key_id}_{secret}"
    return Presented(key_id, body + _checksum(body))


def parse(text: str) -> Presented:
    """Return the parts of a token; TokenRefused("malformed") if the form or the checksum is wrong."""
    match = PATTERN.fullmatch(text)
    if match is None or not hmac.compare_digest(_checksum(text[:-CHECKSUM_LENGTH]), match[4]):
        raise TokenRefused("malformed")
    return Presented(match[2], text)


def hash_token(text: str, salt: bytes, iterations: int) -> str:
    """Return what is stored. Costs about 0.35 us an iteration: never call it on the event loop."""
    digest = hashlib.pbkdf2_hmac("sha256", text.encode(), salt, iterations)
    return f"pbkdf2-sha256${iterations}${salt.hex()}${digest.hex()}"


def matches(text: str, stored: str) -> bool:
    """Tell, in constant time, whether ``text`` is the token behind ``stored``. As slow as :func:`hash_token`."""
    algorithm, iterations, salt, _ = stored.split("$")
    if algorithm != "pbkdf2-sha256":
        raise ValueError(f"unknown token hash {algorithm}")
    return hmac.compare_digest(hash_token(text, bytes.fromhex(salt), int(iterations)), stored)


def refuse_unless_valid(token: Token, now: datetime) -> None:
    """Raise TokenRefused if the token is revoked or expired at ``now``."""
    if token.revoked_at is not None:
        raise TokenRefused("revoked", str(token.tenant))
    if token.expires_at is not None and token.expires_at <= now:
        raise TokenRefused("expired", str(token.tenant))


def _checksum(body: str) -> str:
    return base62(zlib.crc32(body.encode()), CHECKSUM_LENGTH)

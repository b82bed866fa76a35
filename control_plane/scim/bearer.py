"""The form of a bearer token: ``muster_<env>_<12 base62 key id>_<43 base62 secret><6 base62 CRC-32>``.

The checksum covers all before it and is no secret: it sheds typing errors and garbage before any look-up, and lets
secret scanners tell a real token from a lookalike (the form that GitHub uses for its tokens). The key id is public.
Whether a well-formed token exists, only the control plane knows. docs/tokens.md publishes the form.
"""

import hmac
import re
import zlib
from dataclasses import dataclass

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
KEY_ID_LENGTH, SECRET_LENGTH, CHECKSUM_LENGTH = 12, 43, 6
# SCIM tokens, by the installation's environment; API keys of operators and of internal services have the same form.
SCIM_ENVS = ("live", "test", "dev")
API_KEY_ENVS = ("op", "svc")
PATTERN = re.compile(
    rf"muster_({'|'.join(SCIM_ENVS + API_KEY_ENVS)})"
    rf"_([0-9A-Za-z]{{{KEY_ID_LENGTH}}})_([0-9A-Za-z]{{{SECRET_LENGTH}}})([0-9A-Za-z]{{{CHECKSUM_LENGTH}}})"
)
RANDOM_BYTES = 48


@dataclass(frozen=True, slots=True)
class Presented:
    """A well-formed token as presented; says nothing about whether it exists."""

    key_id: str
    text: str


def base62(number: int, length: int) -> str:
    """Return ``number`` in base 62, zero-padded to ``length`` characters; what does not fit is cut off in front."""
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


def checksum(body: str) -> str:
    """Return the last six characters of the token whose other characters are ``body``."""
    return base62(zlib.crc32(body.encode()), CHECKSUM_LENGTH)


def compose(env: str, random: bytes) -> Presented:
    """Return a new token of ``env`` from 48 bytes of ``random``: 16 for the key id, 32 for the secret."""
    key_id = base62(int.from_bytes(random[:16], "big"), KEY_ID_LENGTH)
    secret = base62(int.from_bytes(random[16:RANDOM_BYTES], "big"), SECRET_LENGTH)
    body = f"muster_{env}_{key_id}_{secret}"
    return Presented(key_id, body + checksum(body))


def key_id_of(text: str) -> str | None:
    """Return the key id of a token whose form and checksum are right, else None."""
    match = PATTERN.fullmatch(text)
    # Both are ASCII here: the pattern's classes are.
    if match is None or not hmac.compare_digest(checksum(text[:-CHECKSUM_LENGTH]), match[4]):
        return None
    return match[2]


def env_of(text: str) -> str | None:
    """Return the environment of a token whose form is right ("live", "op", ...), else None."""
    match = PATTERN.fullmatch(text)
    return None if match is None else match[1]

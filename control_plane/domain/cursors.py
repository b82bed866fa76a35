"""Cursors of RFC 9865: where a page goes on, sealed, and bound to the tenant and the query they were made for.

A cursor holds the sort value of the last resource of a page, which may be somebody's name or address, and it travels
in URLs: so it is encrypted (AES-256-GCM), not only signed. All control planes of a deployment share the key.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from control_plane.domain.ids import TenantId
from control_plane.scim.errors import ExpiredCursor, InvalidCursor

NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Bookmark:
    """What a cursor says: the position, as JSON, and until when it counts."""

    position: Any
    expires_at: datetime


class Cursors:
    """Makes and reads cursors."""

    def __init__(self, key: bytes, *retired: bytes) -> None:
        """Keys have 32 bytes; ``key`` makes cursors, those made with a ``retired`` one are read too."""
        self._ciphers = [AESGCM(each) for each in (key, *retired)]

    def seal(self, tenant: TenantId, query: str, bookmark: Bookmark, nonce: bytes) -> str:
        """Return the cursor for ``bookmark``; ``query`` is whatever must be the same when it comes back."""
        plain = orjson.dumps([bookmark.position, int(bookmark.expires_at.timestamp())])
        sealed = self._ciphers[0].encrypt(nonce, plain, _bound_to(tenant, query))
        return base64.urlsafe_b64encode(nonce + sealed).decode().rstrip("=")

    def open(self, tenant: TenantId, query: str, cursor: str, now: datetime) -> Any:
        """Return the position; InvalidCursor if it was not made for this tenant and query, ExpiredCursor if too old."""
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            plain = self._opened(raw, _bound_to(tenant, query))
        except (InvalidTag, binascii.Error, ValueError):
            raise InvalidCursor("the cursor was not made for this query: start again without it") from None
        position, expires_at_s = orjson.loads(plain)
        if now.timestamp() >= expires_at_s:
            raise ExpiredCursor("the cursor has expired: start again without it")
        return position

    def _opened(self, raw: bytes, bound: bytes) -> bytes:
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], bound)
            except InvalidTag:
                continue
        raise InvalidTag


def _bound_to(tenant: TenantId, query: str) -> bytes:
    return tenant.bytes + hashlib.sha256(query.encode()).digest()

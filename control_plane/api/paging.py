"""Page tokens (AIP-158): the last id of a page, signed and bound to what was asked."""

import base64
import hmac
from uuid import UUID

from control_plane.domain.errors import InvalidArgument

DEFAULT_PAGE_SIZE = 100
_TAG_BYTES = 12


class PageTokens:
    """Makes and reads page tokens, with keys that all control planes share."""

    def __init__(self, key: bytes, *retired: bytes) -> None:
        """``key`` makes; tokens made with a ``retired`` one are read too."""
        self._keys = key, *retired

    def make(self, last: UUID, asked: str) -> str:
        """Return the token for what follows ``last`` in the answer to ``asked``."""
        return base64.urlsafe_b64encode(last.bytes + _tag(self._keys[0], last.bytes, asked)).decode().rstrip("=")

    def read(self, token: str, asked: str) -> UUID | None:
        """Return the id to go on after, None for the first page; InvalidArgument if it was made for something else."""
        if not token:
            return None
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except ValueError:
            raw = b""
        tags = (_tag(key, raw[:16], asked) for key in self._keys)
        if len(raw) != 16 + _TAG_BYTES or not any(hmac.compare_digest(raw[16:], tag) for tag in tags):
            raise InvalidArgument("page_token", "was not made for this request; start again without it")
        return UUID(bytes=raw[:16])


def page_size(asked: int) -> int:
    """Return the page size to use: 0 means the default."""
    return asked or DEFAULT_PAGE_SIZE


def _tag(key: bytes, last: bytes, asked: str) -> bytes:
    return hmac.digest(key, last + asked.encode(), "sha256")[:_TAG_BYTES]

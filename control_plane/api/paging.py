"""Page tokens (AIP-158): the last id of a page, signed and bound to what was asked."""

import base64
import hmac
from uuid import UUID

from control_plane.domain.errors import InvalidArgument

DEFAULT_PAGE_SIZE = 100
_TAG_BYTES = 12


class PageTokens:
    """Makes and reads page tokens with one key, shared by all control planes."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(self, last: UUID, asked: str) -> str:
        """Return the token for what follows ``last`` in the answer to ``asked``."""
        return base64.urlsafe_b64encode(last.bytes + self._tag(last.bytes, asked)).decode().rstrip("=")

    def read(self, token: str, asked: str) -> UUID | None:
        """Return the id to go on after, None for the first page; InvalidArgument if it was made for something else."""
        if not token:
            return None
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except ValueError:
            raw = b""
        if len(raw) != 16 + _TAG_BYTES or not hmac.compare_digest(raw[16:], self._tag(raw[:16], asked)):
            raise InvalidArgument("page_token", "was not made for this request; start again without it")
        return UUID(bytes=raw[:16])

    def _tag(self, last: bytes, asked: str) -> bytes:
        return hmac.digest(self._key, last + asked.encode(), "sha256")[:_TAG_BYTES]


def page_size(asked: int) -> int:
    """Return the page size to use: 0 means the default."""
    return asked or DEFAULT_PAGE_SIZE

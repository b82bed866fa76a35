"""PBKDF2 for what somebody presents: bounded for whoever guesses, never in the way of whose it is."""

from typing import Protocol

from control_plane.domain.errors import Overloaded
from control_plane.domain.tokens import matches
from control_plane.services.kdf import Kdf
from control_plane.services.token_memory import TokenMemory


class Throttled(Exception):
    """Too many wrong secrets came for this key id lately."""


class Held(Protocol):
    """What a stored token and a stored API key have in common."""

    @property
    def key_id(self) -> str:
        """Its public part."""
        ...

    @property
    def hash(self) -> str:
        """What its secret has to match."""
        ...

    @property
    def last_used_address(self) -> str:
        """Where it was last used from; "" if nowhere yet."""
        ...


async def is_match(memory: TokenMemory, kdf: Kdf, text: str, held: Held, address: str) -> bool:
    """Tell whether ``text``, presented from ``address``, is what is stored.

    Throttled or Overloaded if that is not tried now. Only what does not match is held against the key id.
    """
    is_owners = bool(address) and address == held.last_used_address
    if not memory.may_try(held.key_id, is_owners=is_owners):
        raise Throttled
    try:
        is_same = await kdf.run(matches, text, held.hash)
    except Overloaded:
        memory.forgive_try(held.key_id, is_owners=is_owners)
        raise
    # A caller that went away meanwhile has cost a run all the same, and is not forgiven.
    if is_same:
        memory.forgive_try(held.key_id, is_owners=is_owners)
    return is_same

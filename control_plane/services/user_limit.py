"""How many users a tenant may have: who comes when all places are taken is Forbidden."""

from collections.abc import Iterable, Mapping

from control_plane.domain.resources import NewResource, ResourceType
from control_plane.scim.errors import Forbidden
from control_plane.scim.rules import ScimRules
from control_plane.storage import quotas
from control_plane.storage.engine import Tx


async def places(tx: Tx, rules: ScimRules, rows: Iterable[NewResource]) -> int | None:
    """Return how many of the users in ``rows`` the tenant may have; None: there is no limit.

    Call it once in a transaction, before anything is locked (storage/quotas.py).
    """
    users = sum(row.type is ResourceType.USER for row in rows)
    if not rules.max_users or not users:
        return None
    return await quotas.room(tx, rules.max_users, users)


def beyond(taken: int | None, rows: Mapping[int, NewResource]) -> list[int]:
    """Return the keys of the users that come after the first ``taken``; none if there is no limit."""
    if taken is None:
        return []
    return [at for at, row in rows.items() if row.type is ResourceType.USER][taken:]


def full(rules: ScimRules) -> Forbidden:
    """Return what a user without a place is told."""
    return Forbidden(f"the tenant's limit of users is reached (max_users is {rules.max_users})")

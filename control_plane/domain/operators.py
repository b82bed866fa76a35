"""Operators: the people who administer Muster, each with one role."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from control_plane.domain.identities import Role
from control_plane.domain.ids import OperatorId
from control_plane.scim.compare import fold


class OperatorRole(IntEnum):
    """What a person may do; the values are those of the wire and of the database."""

    OWNER = 1
    OPERATOR = 2
    AUDITOR = 3

    @property
    def role(self) -> Role:
        """The row of the policy table."""
        return Role[self.name]


@dataclass(frozen=True, slots=True)
class OidcSubject:
    """The "iss" and "sub" claims of an OIDC token. Providers may give an e-mail address to somebody else, not these."""

    issuer: str
    subject: str


@dataclass(frozen=True, slots=True)
class Operator:
    """A person who administers Muster."""

    id: OperatorId
    email: str
    display_name: str
    role: OperatorRole
    created_at: datetime
    disabled_at: datetime | None = None
    oidc: OidcSubject | None = None

    @property
    def is_active_owner(self) -> bool:
        """Whether this is one of those without whom nobody could make operators."""
        return self.role is OperatorRole.OWNER and self.disabled_at is None


def email_key(email: str) -> str:
    """Return what addresses have in common that name one person: they differ in case only."""
    return fold(email)

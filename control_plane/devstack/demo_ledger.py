"""One identity provider's own records: the ids it was given, what it said last, and when it said so."""

import time
from dataclasses import dataclass, field

from control_plane.devstack.demo_book import Account, Book, Group
from control_plane.devstack.demo_data import Person


@dataclass(slots=True)
class Sent:
    """When requests on one resource were sent, in seconds since 1970: the first and the last."""

    first_at: float
    last_at: float


@dataclass(slots=True)
class Ledger:
    """Users are known by userName, groups by displayName."""

    book: Book = field(default_factory=Book)
    ids: dict[str, str] = field(default_factory=dict)
    users: dict[str, Sent] = field(default_factory=dict)
    groups: dict[str, Sent] = field(default_factory=dict)

    def user_created(self, account: Account, resource_id: str, sent_at: float) -> None:
        """Note a user that the SCIM endpoint acknowledged."""
        self.ids[account.user_name] = resource_id
        self.users[account.user_name] = Sent(sent_at, sent_at)
        self.book.accounts[account.user_name] = account

    def group_created(self, display_name: str, resource_id: str, sent_at: float) -> None:
        """Note a group without members that the SCIM endpoint acknowledged."""
        self.ids[display_name] = resource_id
        self.groups[display_name] = Sent(sent_at, sent_at)
        self.book.groups[display_name] = Group(display_name)

    def group_renamed(self, old: str, new: str) -> None:
        """Note an acknowledged new name."""
        self.ids[new] = self.ids.pop(old)
        self.groups[new] = self.groups.pop(old)
        group = self.book.groups.pop(old)
        group.display_name = new
        self.book.groups[new] = group


def account_of(person: Person, *, with_enterprise: bool) -> Account:
    """Return the account of a new, active user, whose e-mail address is their user name."""
    return Account(
        user_name=person.user_name,
        active=True,
        display_name=person.display_name,
        given_name=person.given_name,
        family_name=person.family_name,
        work_email=person.user_name,
        title=person.title,
        department=person.department if with_enterprise else "",
        employee_number=person.employee_number if with_enterprise else "",
    )


def now() -> float:
    """Return the wall clock's seconds since 1970: the target's times come from the same clock."""
    return time.time()

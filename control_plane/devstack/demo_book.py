"""What the identity providers of the demo say, and what the target has: the two sides of the comparison."""

from dataclasses import dataclass, field, fields


@dataclass(slots=True)
class Account:
    """A user's attributes, under the names that SCIM gives them in the report."""

    user_name: str
    active: bool
    display_name: str
    given_name: str
    family_name: str
    work_email: str
    title: str
    department: str
    employee_number: str


@dataclass(slots=True)
class Group:
    """A group and the user names of its members."""

    display_name: str
    members: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Book:
    """Accounts by user name, groups by display name."""

    accounts: dict[str, Account] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing on which the two sides do not agree; an absent thing is None."""

    what: str
    says: str | None
    has: str | None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the comparison."""

    what: str
    says: int
    has: int
    differences: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """The whole comparison. ``differences`` is empty if the sides agree."""

    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]


ATTRIBUTES = tuple(field.name for field in fields(Account) if field.name != "user_name")


def compare(says: Book, has: Book) -> Comparison:
    """Compare attribute by attribute and member by member, in both directions."""
    accounts = _presence("account", set(says.accounts), set(has.accounts))
    values = [
        Difference(f"{name} {attribute}", str(left), str(right))
        for name in sorted(says.accounts.keys() & has.accounts.keys())
        for attribute in ATTRIBUTES
        if (left := getattr(says.accounts[name], attribute)) != (right := getattr(has.accounts[name], attribute))
    ]
    groups = _presence("group", set(says.groups), set(has.groups))
    members = [
        difference
        for name in sorted(says.groups.keys() | has.groups.keys())
        for difference in _presence(f"member of {name}:", _members(says, name), _members(has, name))
    ]
    rows = (
        Row("accounts", len(says.accounts), len(has.accounts), len(accounts)),
        Row("  of them active", _active(says), _active(has), sum(each.what.endswith(" active") for each in values)),
        Row("attribute values", _values(says), _values(has), len(values)),
        Row("groups", len(says.groups), len(has.groups), len(groups)),
        Row("memberships", _memberships(says), _memberships(has), len(members)),
    )
    return Comparison(rows, (*accounts, *values, *groups, *members))


def _presence(what: str, says: set[str], has: set[str]) -> list[Difference]:
    missing = [Difference(f"{what} {name}", "present", None) for name in sorted(says - has)]
    surplus = [Difference(f"{what} {name}", None, "present") for name in sorted(has - says)]
    return missing + surplus


def _members(book: Book, name: str) -> set[str]:
    return book.groups[name].members if name in book.groups else set()


def _active(book: Book) -> int:
    return sum(account.active for account in book.accounts.values())


def _values(book: Book) -> int:
    return sum(getattr(each, name) not in ("", None) for each in book.accounts.values() for name in ATTRIBUTES)


def _memberships(book: Book) -> int:
    return sum(len(group.members) for group in book.groups.values())

from dataclasses import replace

import pytest

from control_plane.devstack.demo_book import ATTRIBUTES, Account, Book, Comparison, Difference, Group, compare

ACCOUNT = Account("a@x", True, "Ä B", "Ä", "B", "a@x", "Nurse", "Sales", "E1")


def book(*accounts: Account, **groups: set[str]) -> Book:
    return Book(
        {account.user_name: account for account in accounts},
        {name: Group(name, members) for name, members in groups.items()},
    )


def rows(found: Comparison) -> dict[str, tuple[int, int, int]]:
    return {row.what.strip(): (row.says, row.has, row.differences) for row in found.rows}


def test_equal_sides_have_no_difference() -> None:
    other = replace(ACCOUNT, user_name="b@x", active=False)
    found = compare(book(ACCOUNT, other, Staff={"a@x"}), book(ACCOUNT, other, Staff={"a@x"}))
    assert found.differences == ()
    assert rows(found) == {
        "accounts": (2, 2, 0),
        "of them active": (1, 1, 0),
        "attribute values": (16, 16, 0),
        "groups": (1, 1, 0),
        "memberships": (1, 1, 0),
    }


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_every_attribute_is_compared(attribute: str) -> None:
    changed = replace(ACCOUNT)
    setattr(changed, attribute, False if attribute == "active" else "other")
    found = compare(book(ACCOUNT), book(changed))
    assert [difference.what for difference in found.differences] == [f"a@x {attribute}"]
    assert rows(found)["attribute values"][2] == 1


def test_a_missing_account_is_a_difference() -> None:
    found = compare(book(ACCOUNT), book())
    assert found.differences == (Difference("account a@x", "present", None),)
    assert rows(found)["accounts"] == (1, 0, 1)


def test_an_account_that_nobody_asked_for_is_a_difference() -> None:
    found = compare(book(), book(ACCOUNT))
    assert found.differences == (Difference("account a@x", None, "present"),)


def test_a_missing_group_and_its_members_are_differences() -> None:
    found = compare(book(Staff={"a@x"}), book())
    assert rows(found)["groups"] == (1, 0, 1)
    assert rows(found)["memberships"] == (1, 0, 1)


def test_members_are_compared_one_by_one_in_both_directions() -> None:
    found = compare(book(Staff={"a@x", "b@x"}), book(Staff={"a@x", "c@x"}))
    assert found.differences == (
        Difference("member of Staff: b@x", "present", None),
        Difference("member of Staff: c@x", None, "present"),
    )


def test_an_active_account_that_should_not_be_is_counted_as_such() -> None:
    found = compare(book(replace(ACCOUNT, active=False)), book(ACCOUNT))
    assert rows(found)["of them active"] == (0, 1, 1)

import io

import pytest
from rich.console import Console

from control_plane.devstack.demo_book import Book, Group, compare
from control_plane.devstack.demo_data import organisations
from control_plane.devstack.demo_ledger import Ledger, account_of
from control_plane.devstack.demo_report import Delays, delays, print_report
from control_plane.devstack.demo_target import Reading, Stored


def ledger_of_one() -> Ledger:
    person = organisations(10, 2)[0].people[0]
    ledger = Ledger()
    ledger.user_created(account_of(person, with_enterprise=True), "id", sent_at=100.0)
    return ledger


def text_of(says: Book, has: Book, times: Delays) -> str:
    out = io.StringIO()
    print_report(Console(file=out, width=120), compare(says, has), times)
    return out.getvalue()


def test_a_new_account_is_timed_from_sending_to_the_targets_own_time() -> None:
    ledger = ledger_of_one()
    name = next(iter(ledger.users))
    found = delays([ledger], Reading(users={name: Stored(created_at=100.25, changed_at=100.25)}))
    assert found == Delays([0.25], [])


def test_a_change_is_timed_from_the_last_request() -> None:
    ledger = ledger_of_one()
    name = next(iter(ledger.users))
    ledger.users[name].last_at = 105.0
    found = delays([ledger], Reading(users={name: Stored(created_at=100.5, changed_at=105.5)}))
    assert found == Delays([0.5], [0.5])


def test_a_request_that_changed_nothing_there_is_not_timed() -> None:
    ledger = ledger_of_one()
    name = next(iter(ledger.users))
    ledger.users[name].last_at = 105.0
    assert delays([ledger], Reading(users={name: Stored(100.5, 104.0)})).last_changes == []


def test_what_is_missing_in_the_target_is_not_timed() -> None:
    assert delays([ledger_of_one()], Reading()) == Delays([], [])


def test_the_report_says_that_nothing_differs() -> None:
    says = ledger_of_one().book
    assert "Nothing is missing" in text_of(says, says, Delays([0.1] * 20, []))


def test_the_report_names_each_difference() -> None:
    text = text_of(Book(groups={"Łódź": Group("Łódź", {"a@x"})}), Book(), Delays([], []))
    assert "2 differences" in text
    assert "member of Łódź: a@x: IdP says present, target has None" in text
    assert "Nothing is missing" not in text


@pytest.mark.parametrize(("values", "p95"), [([1.0], "1.00"), ([float(n) for n in range(1, 101)], "95.00")])
def test_p95_is_the_nearest_rank(values: list[float], p95: str) -> None:
    assert p95 in text_of(Book(), Book(), Delays(values, []))

"""The book of leases: deadlines, credit, and results that are kept until they are settled."""

from dataclasses import replace

from workers.leases import MAX_PER_TURN, MAX_UNSETTLED, LeaseBook, result_label
from workers.messages import Done, Effect, Failure, Lease, Nack, ResourceKind

TTL_S = 30.0


def lease(fence: int) -> Lease:
    return Lease(b"k" * 48, 1, fence, 5, 1, 0, ResourceKind.USER, None, "", None)


def done(fence: int) -> Done:
    return Done(fence, 5, "r", Effect.UPDATED, 2)


def book(at: float = 100.0, slots: int = 4) -> LeaseBook:
    made = LeaseBook(slots)
    made.connected(at)
    made.configure(TTL_S)
    return made


def test_first_deadline_counts_from_the_hello_when_no_turn_was_confirmed() -> None:
    leases = book(at=100.0)
    leases.turn(105.0)
    taken = leases.take(lease(1))
    assert taken is not None
    assert (taken.deadline, taken.ttl_s) == (130.0, TTL_S)


def test_first_deadline_counts_from_the_sending_of_the_last_confirmed_turn() -> None:
    leases = book(at=100.0)
    leases.turn(105.0)
    leases.turn(110.0)
    leases.turn(115.0)
    leases.confirmed(2)
    taken = leases.take(lease(1))
    assert taken is not None
    assert taken.deadline == 140.0


def test_only_a_turn_that_carried_the_beat_moves_the_deadline() -> None:
    leases = book(at=100.0)
    before = leases.turn(105.0)
    leases.take(lease(1))
    carrying = leases.turn(110.0)
    assert leases.confirmed(before.seq) == {}
    assert leases.confirmed(carrying.seq) == {1: 140.0}


def test_one_confirmation_covers_all_turns_before_it() -> None:
    leases = book()
    leases.take(lease(1))
    leases.turn(110.0)
    leases.take(lease(2))
    leases.turn(120.0)
    assert leases.confirmed(2) == {1: 150.0, 2: 150.0}
    assert leases.confirmed(2) == {}


def test_a_confirmation_of_an_earlier_stream_means_nothing_to_the_next() -> None:
    leases = book()
    leases.take(lease(1))
    leases.turn(110.0)
    leases.connected(111.0)
    assert leases.confirmed(1) == {}
    assert leases.turn(112.0).seq == 1
    assert leases.confirmed(1) == {1: 142.0}


def test_an_expired_lease_is_handed_back_without_a_result() -> None:
    leases = book(at=100.0)
    leases.take(lease(1))
    leases.turn(110.0)
    assert leases.expired(129.9) == []
    assert leases.expired(130.0) == [1]
    assert leases.confirmed(1) == {}
    assert not leases.finished(done(1))
    [released] = leases.turn(131.0).results
    assert isinstance(released, Nack)
    assert released.failure is Failure.RELEASED


def test_a_result_is_said_once_on_a_stream_and_again_on_the_next_until_it_is_settled() -> None:
    leases = book()
    leases.take(lease(1))
    assert leases.finished(done(1))
    assert leases.turn(101.0).results == (done(1),)
    assert leases.turn(102.0).results == ()
    assert leases.connected(103.0) == [lease(1)]
    assert leases.turn(103.0).results == (done(1),)
    leases.settled(1)
    assert leases.connected(104.0) == []
    assert leases.turn(104.0).results == ()


def test_a_finished_lease_beats_no_more() -> None:
    leases = book()
    leases.take(lease(1))
    leases.take(lease(2))
    leases.progress(2, 9)
    leases.finished(done(1))
    assert leases.turn(101.0).beats == ((2, 9),)


def test_a_lost_lease_takes_its_result_with_it() -> None:
    leases = book()
    leases.take(lease(1))
    assert leases.lost(1)
    assert not leases.finished(done(1))
    leases.take(lease(2))
    leases.finished(done(2))
    assert not leases.lost(2)
    assert leases.unsettled == 0
    assert leases.turn(101.0).results == ()


def test_a_lease_that_comes_again_is_taken_once() -> None:
    leases = book()
    assert leases.take(lease(1))
    assert leases.take(lease(1)) is None
    leases.finished(done(1))
    assert leases.take(lease(1)) is None


def test_credit_is_the_free_slots() -> None:
    leases = book(slots=2)
    assert leases.credit == 2
    for fence in (1, 2, 3):
        leases.take(lease(fence))
    assert leases.credit == 0
    leases.finished(done(1))
    leases.finished(done(2))
    assert leases.credit == 1
    leases.drain()
    draft = leases.turn(101.0)
    assert (draft.credit, draft.draining) == (0, True)


def test_a_control_plane_that_settles_nothing_gets_no_more_credit() -> None:
    leases = book(slots=1)
    for fence in range(MAX_UNSETTLED):
        leases.take(lease(fence))
        leases.finished(done(fence))
    assert leases.credit == 0
    leases.settled(0)
    assert leases.credit == 1


def test_a_turn_is_never_longer_than_the_wire_allows() -> None:
    leases = book()
    for fence in range(MAX_PER_TURN + 5):
        leases.take(lease(fence))
        leases.finished(done(fence))
    assert len(leases.turn(101.0).results) == MAX_PER_TURN
    assert leases.has_unsent
    assert len(leases.turn(101.0).results) == 5
    assert not leases.has_unsent


def test_a_worker_that_drains_is_settled_when_the_server_knows_it() -> None:
    leases = book()
    settled = [leases.is_settled]
    before = leases.turn(101.0)
    leases.drain()
    settled.append(leases.is_settled)
    leases.confirmed(before.seq)
    settled.append(leases.is_settled)
    leases.confirmed(leases.turn(102.0).seq)
    settled.append(leases.is_settled)
    # A new stream is a new session of the server, which must be told again.
    leases.connected(103.0)
    settled.append(leases.is_settled)
    leases.confirmed(leases.turn(104.0).seq)
    settled.append(leases.is_settled)
    assert settled == [True, False, False, True, False, True]


def test_a_worker_that_drains_is_not_settled_while_it_holds_something() -> None:
    leases = book()
    leases.drain()
    turn = leases.turn(101.0)
    leases.take(lease(1))
    leases.confirmed(turn.seq)
    settled = [leases.is_settled]
    assert leases.hand_back([1, 2], "stopping") == [1]
    settled.append(leases.is_settled)
    assert leases.turn(102.0).results == (Nack(1, Failure.RELEASED, "stopping"),)
    leases.settled(1)
    settled.append(leases.is_settled)
    assert settled == [False, False, True]


def test_what_the_wire_would_refuse_never_enters_a_turn() -> None:
    leases = book()
    leases.take(lease(1))
    leases.take(lease(2))
    assert leases.finished(replace(done(1), remote_id="r" * 1025))
    assert leases.finished(Nack(2, Failure.TRANSIENT, "x\0" * 5000))
    first, second = leases.turn(101.0).results
    assert first == Nack(1, Failure.INVALID, "the target's id cannot be kept: it is longer than 1024 bytes")
    assert isinstance(second, Nack)
    assert len(second.error) == 300
    # And again after a reconnect.
    leases.connected(102.0)
    assert leases.turn(102.0).results == (first, second)


def test_labels() -> None:
    assert result_label(done(1)) == "updated"
    assert result_label(Nack(1, Failure.THROTTLED)) == "throttled"

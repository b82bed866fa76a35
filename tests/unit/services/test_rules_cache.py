"""A tenant's rules count while a change of them would be heard of, and for a second without."""

from uuid import UUID

import pytest

from control_plane.domain.ids import TenantId
from control_plane.scim.registry import default_registry
from control_plane.scim.rules import ScimRules
from control_plane.services import tenant_rules
from control_plane.services.tenant_rules import DEAF_AGE_S, SILENCE_S, RulesCache
from tests.fakes.clock import FakeClock

ACME, OTHER = TenantId(UUID(int=1)), TenantId(UUID(int=2))
ALIVE, MISSED = "", None


def rules() -> ScimRules:
    return ScimRules(default_registry())


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cache(clock: FakeClock) -> RulesCache:
    """A cache whose listener has connected."""
    cache = RulesCache(clock)
    cache.hear(MISSED)
    return cache


def keep(cache: RulesCache, tenant: TenantId = ACME) -> ScimRules:
    known = rules()
    cache.put(cache.ask(), tenant, known)
    return known


def test_nothing_is_known_of_a_tenant_nobody_asked_for(cache: RulesCache) -> None:
    assert cache.get(ACME) is None


def test_rules_count_for_as_long_as_the_listener_is_alive(cache: RulesCache, clock: FakeClock) -> None:
    known = keep(cache)
    for _ in range(100):
        clock.advance(1.0)
        cache.hear(ALIVE)
        assert cache.get(ACME) is known


def test_any_word_of_the_listener_is_a_sign_of_life(cache: RulesCache, clock: FakeClock) -> None:
    known = keep(cache)
    for _ in range(5):
        clock.advance(2.0)
        cache.hear(str(OTHER))
        assert cache.get(ACME) is known


def test_rules_do_not_count_when_the_listener_fell_silent(cache: RulesCache, clock: FakeClock) -> None:
    known = keep(cache)
    clock.advance(SILENCE_S - 0.1)
    assert cache.get(ACME) is known
    clock.advance(0.1)
    assert cache.get(ACME) is None


def test_a_deaf_process_keeps_rules_for_a_second(clock: FakeClock) -> None:
    cache = RulesCache(clock)  # its listener never connected
    known = keep(cache)
    clock.advance(DEAF_AGE_S - 0.1)
    assert cache.get(ACME) is known
    clock.advance(0.1)
    assert cache.get(ACME) is None


def test_the_second_begins_when_the_database_is_asked(clock: FakeClock) -> None:
    cache = RulesCache(clock)
    asked = cache.ask()
    clock.advance(DEAF_AGE_S)  # the answer took so long
    cache.put(asked, ACME, rules())
    assert cache.get(ACME) is None


def test_a_change_drops_the_rules_of_its_tenant_only(cache: RulesCache) -> None:
    keep(cache, ACME)
    others = keep(cache, OTHER)
    cache.hear(str(ACME))
    assert cache.get(ACME) is None
    assert cache.get(OTHER) is others


@pytest.mark.parametrize("said", [MISSED, "all of them", "7"])
def test_changes_that_cannot_be_told_apart_drop_everything(cache: RulesCache, said: str | None) -> None:
    keep(cache, ACME)
    keep(cache, OTHER)
    cache.hear(said)
    assert (cache.get(ACME), cache.get(OTHER)) == (None, None)


@pytest.mark.parametrize("said", [str(ACME), MISSED])
def test_what_was_read_before_a_change_is_not_kept_after_it(cache: RulesCache, said: str | None) -> None:
    asked = cache.ask()
    cache.hear(said)
    cache.put(asked, ACME, rules())
    assert cache.get(ACME) is None


def test_forgetting_is_a_change_too(cache: RulesCache) -> None:
    asked = cache.ask()
    cache.forget(ACME)
    cache.put(asked, ACME, rules())
    assert cache.get(ACME) is None


def test_the_least_recently_used_tenant_goes_first(cache: RulesCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenant_rules, "MAX_TENANTS", 3)
    one, two, three, four = (TenantId(UUID(int=number)) for number in range(1, 5))
    for tenant in (one, two, three):
        keep(cache, tenant)
    cache.get(one)
    keep(cache, four)
    assert cache.get(two) is None
    assert all(cache.get(tenant) is not None for tenant in (one, three, four))

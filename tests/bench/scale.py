"""How much of everything a run does."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes of one run."""

    rounds: int
    seconds: int  # of each measured load
    warm_up_s: float
    concurrencies: tuple[int, ...]
    users: int  # that GET, filter and PATCH work on
    leases: int  # of each round
    memory_first: int  # requests before growth is measured
    memory_step: int  # requests between two looks at the memory
    memory_steps: int
    small_tenant: int  # users of the tenants that are compared
    large_tenant: int
    large_group: int  # members of the larger of two groups; fewer than the large tenant has users
    bulk: int  # users in one bulk request
    paired_rounds: int  # of POSTs to two gateways in turn: a difference of 2 % needs many
    attack_s: int  # of bogus tokens, in each round
    revocations: int
    audit_events: int


FULL = Scale(
    rounds=3,
    seconds=2,
    warm_up_s=0.5,
    concurrencies=(16, 64),
    users=2_000,
    leases=10_000,
    memory_first=10_000,
    memory_step=10_000,
    memory_steps=5,
    small_tenant=10_000,
    large_tenant=100_100,
    large_group=100_000,
    bulk=1_000,
    paired_rounds=12,
    attack_s=8,
    revocations=10,
    audit_events=1_000_000,
)
QUICK = Scale(
    rounds=1,
    seconds=1,
    warm_up_s=0.2,
    concurrencies=(16,),
    users=200,
    leases=1_000,
    memory_first=600,
    memory_step=600,
    memory_steps=2,
    small_tenant=200,
    large_tenant=2_100,
    large_group=2_000,
    bulk=100,
    paired_rounds=2,
    attack_s=2,
    revocations=2,
    audit_events=20_000,
)

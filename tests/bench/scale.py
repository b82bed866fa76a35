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
)

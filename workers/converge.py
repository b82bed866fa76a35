"""Makes one resource in one target equal to its desired state: find or fetch, plan, apply step by step."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from workers.connectors.base import (
    Conflict,
    Connector,
    Desired,
    Gone,
    Permit,
    PlanAgain,
    Rejected,
    Remote,
    Step,
    TargetError,
    TargetFailed,
)
from workers.messages import Effect

# A round ends early when the target turns out to be otherwise than planned: gone, taken, or without PATCH.
MAX_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Converged:
    """The target agrees. ``remote_id`` is "" when the resource is gone from there."""

    remote_id: str
    effect: Effect


class Convergence:
    """One lease's way to agreement.

    ``linked_id`` is the id for a report of failure: the link we came with, or one that we have written to since. An
    account that was only found by its name is not linked until the lease is done.
    """

    def __init__(self, connector: Connector, permit: Permit, desired: Desired, remote_id: str) -> None:
        self._connector, self._permit, self._desired = connector, permit, desired
        self._remote_id = self.linked_id = remote_id
        self._adopted = False

    async def run(self) -> Converged:
        """Return how the target came to agree; a TargetError if it does not."""
        if self._desired.document is None:
            return await self._remove()
        have = await self._locate()
        surprise: TargetError | None = None
        for _ in range(MAX_ROUNDS):
            plan = self._connector.plan(self._desired, have)
            try:
                await self._apply(plan.steps)
                return Converged(self._remote_id, Effect.ADOPTED if self._adopted else plan.effect)
            except Gone as err:
                surprise, have = err, await self._after_gone(err)
            except Conflict as err:
                surprise, have = err, await self._after_conflict(err)
            except PlanAgain as err:
                surprise, have = err, await self._reread()
        raise TargetFailed(f"the target does not hold still: {surprise.text if surprise else ''}")

    async def _remove(self) -> Converged:
        if self._remote_id:
            plan = self._connector.plan(self._desired, Remote(self._remote_id))
            await self._apply(plan.steps)
            return Converged("", plan.effect)
        # Never linked. An earlier lease may have created an account without living to tell: it goes only if it bears
        # both the name and the external id that we gave it.
        orphan = await self._connector.find_former(self._permit, self._desired) if self._desired.former else None
        if orphan is None:
            return Converged("", Effect.NONE)
        plan = self._connector.plan(self._desired, orphan)
        await self._apply(plan.steps)
        return Converged(orphan.remote_id, plan.effect)

    async def _locate(self) -> Remote | None:
        """Return what the target has: by the link, else by name. This reading comes before every write.

        So a create whose outcome is unknown is found here by the next attempt, never repeated blindly.
        """
        if self._remote_id:
            have = await self._connector.fetch(self._permit, self._desired.kind, self._remote_id)
            if have is not None:
                return have
            self._remote_id = ""
        return await self._search()

    async def _search(self) -> Remote | None:
        have = await self._connector.find(self._permit, self._desired)
        self._adopted = have is not None
        self._remote_id = have.remote_id if have else ""
        return have

    async def _after_gone(self, err: Gone) -> Remote | None:
        # A 404 on a write does not prove that the resource is gone: some targets have no PUT or no PATCH route.
        if self._remote_id and await self._connector.fetch(self._permit, self._desired.kind, self._remote_id):
            raise Rejected(f"the target shows {self._remote_id} but refuses to write it: {err.text}") from err
        return await self._search()

    async def _after_conflict(self, err: Conflict) -> Remote:
        have = await self._search()
        if have is None:
            raise Rejected(f"the name is taken by something that cannot be linked: {err.text}") from err
        return have

    async def _reread(self) -> Remote | None:
        if not self._remote_id:
            return await self._search()
        return await self._connector.fetch(self._permit, self._desired.kind, self._remote_id)

    async def _apply(self, steps: Sequence[Step]) -> None:
        for step in steps:
            aimed = step if step.remote_id else replace(step, remote_id=self._remote_id)
            result = await self._connector.apply(self._permit, aimed)
            self._remote_id = self.linked_id = result.remote_id

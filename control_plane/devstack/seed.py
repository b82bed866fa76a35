"""Gives a stack its two tenants with a token each, and the first one its target; what is there already stays."""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import grpc

from control_plane.client.control_plane import ControlPlane
from control_plane.client.errors import decode
from control_plane.devstack.state import Seeded, State
from protos.tenancy.v1 import tenancy_pb2 as pb

LIMIT_S = 10.0
PAGE_SIZE = 1000
A_DAY_S = 86_400
TOKEN_LABEL = "muster dev"  # noqa: S105 - a label
TARGET_NAME = "scim2-server (demo target)"


@dataclass(frozen=True, slots=True)
class TargetApp:
    """Where the target app is and how to enter it."""

    url: str
    token: str = field(repr=False)


class Seeder:
    """Brings tenants, tokens and target to what the ready file promises, through the admin API like anybody else.

    ``save`` is called after each thing made: its id, and a secret that is shown only once, must not get lost.
    """

    def __init__(self, admin: ControlPlane, state: State, save: Callable[[], None]) -> None:
        self._admin, self._state, self._save = admin, state, save

    async def run(self, target: TargetApp | None) -> None:
        """Seed; raises what :func:`control_plane.client.errors.decode` gives."""
        try:
            for seeded in (self._state.first, self._state.second):
                await self._ensure_tenant(seeded)
                await self._ensure_token(seeded)
            await self._ensure_target(target)
        except grpc.aio.AioRpcError as err:
            raise decode(err) from err

    async def _ensure_tenant(self, seeded: Seeded) -> None:
        # By name, if its creation was not noted down any more.
        known = [tenant async for tenant in self._tenants()]
        if seeded.tenant_id in {tenant.id for tenant in known}:
            return
        found = next((tenant for tenant in known if tenant.display_name == seeded.display_name), None)
        if found is None:
            request = pb.CreateTenantRequest(display_name=seeded.display_name)
            answer = await self._admin.tenants.CreateTenant(request, metadata=self._admin.metadata(), timeout=LIMIT_S)
            found = answer.tenant
        seeded.tenant_id, seeded.token_id, seeded.token = found.id, "", ""
        self._save()

    async def _ensure_token(self, seeded: Seeded) -> None:
        live = [token async for token in self._live_tokens(seeded.tenant_id)]
        if seeded.token and any(token.id == seeded.token_id and _lasts(token) for token in live):
            return
        for former in live:
            # Ours, and nobody knows its secret any more: a tenant has few tokens.
            if former.label == TOKEN_LABEL:
                revoke = pb.RevokeTokenRequest(tenant_id=seeded.tenant_id, id=former.id)
                await self._admin.tokens.RevokeToken(revoke, metadata=self._admin.metadata(), timeout=LIMIT_S)
        request = pb.CreateTokenRequest(tenant_id=seeded.tenant_id, label=TOKEN_LABEL)
        answer = await self._admin.tokens.CreateToken(request, metadata=self._admin.metadata(), timeout=LIMIT_S)
        seeded.token_id, seeded.token = answer.token.id, answer.secret
        self._save()

    async def _ensure_target(self, app: TargetApp | None) -> None:
        tenant_id = self._state.first.tenant_id
        found = await self._find_target(tenant_id)
        if app is None:
            # Without the app, an active target would only collect failures.
            if found is not None and found.state == pb.TARGET_STATE_ACTIVE:
                pause = pb.PauseTargetRequest(tenant_id=tenant_id, id=found.id)
                await self._admin.targets.PauseTarget(pause, metadata=self._admin.metadata(), timeout=LIMIT_S)
            return
        config = pb.ScimTargetConfig(base_url=app.url, bearer_token=app.token)
        if found is None:
            create = pb.CreateTargetRequest(tenant_id=tenant_id, display_name=TARGET_NAME, scim=config)
            made = await self._admin.targets.CreateTarget(create, metadata=self._admin.metadata(), timeout=LIMIT_S)
            found = made.target
            self._state.target_id = found.id
            self._save()
        elif found.scim.base_url != app.url:
            update = pb.UpdateTargetRequest(tenant_id=tenant_id, id=found.id, scim=config)
            update.update_mask.paths.extend(["scim.base_url", "scim.bearer_token"])
            await self._admin.targets.UpdateTarget(update, metadata=self._admin.metadata(), timeout=LIMIT_S)
        activate = pb.ActivateTargetRequest(tenant_id=tenant_id, id=found.id)
        await self._admin.targets.ActivateTarget(activate, metadata=self._admin.metadata(), timeout=LIMIT_S)

    async def _find_target(self, tenant_id: str) -> pb.Target | None:
        request = pb.ListTargetsRequest(tenant_id=tenant_id, page_size=PAGE_SIZE)
        answer = await self._admin.targets.ListTargets(request, metadata=self._admin.metadata(), timeout=LIMIT_S)
        ours = (target for target in answer.targets if target.id == self._state.target_id)
        same_name = (target for target in answer.targets if target.display_name == TARGET_NAME)
        found = next(ours, None) or next(same_name, None)
        if found is not None and found.id != self._state.target_id:
            self._state.target_id = found.id
            self._save()
        return found

    async def _tenants(self) -> AsyncIterator[pb.Tenant]:
        request = pb.ListTenantsRequest(page_size=PAGE_SIZE)
        while True:
            page = await self._admin.tenants.ListTenants(request, metadata=self._admin.metadata(), timeout=LIMIT_S)
            for tenant in page.tenants:
                yield tenant
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def _live_tokens(self, tenant_id: str) -> AsyncIterator[pb.Token]:
        request = pb.ListTokensRequest(tenant_id=tenant_id, page_size=PAGE_SIZE)
        while True:
            page = await self._admin.tokens.ListTokens(request, metadata=self._admin.metadata(), timeout=LIMIT_S)
            for token in page.tokens:
                if not token.HasField("revoke_time"):
                    yield token
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def _lasts(token: pb.Token) -> bool:
    """Tell whether a token is good for another day: the stack may run as long."""
    return not token.HasField("expire_time") or token.expire_time.seconds > time.time() + A_DAY_S

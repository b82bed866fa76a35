"""A token made through the admin API works at the gateway, and stops within a second of its revocation."""

import time

import aiohttp

from control_plane.client.channel import open_channel
from control_plane.client.control_plane import ControlPlane
from protos.tenancy.v1 import tenancy_pb2 as pb
from tests.e2e.stack import Scim, Stack, eventually


async def test_created_used_revoked(stack: Stack, http: aiohttp.ClientSession) -> None:
    ready = stack.ready()
    async with open_channel(ready["grpc_target"]) as channel:
        admin = ControlPlane(channel, ready["admin_token"])
        meta = admin.metadata()
        tenant = (await admin.tenants.CreateTenant(pb.CreateTenantRequest(display_name="T"), metadata=meta)).tenant
        made = await admin.tokens.CreateToken(pb.CreateTokenRequest(tenant_id=tenant.id), metadata=meta)
        idp = Scim(http, ready["scim_base_url"], made.secret)
        assert (await idp.call("GET", "/Users"))[0] == 200
        revoke = pb.RevokeTokenRequest(tenant_id=tenant.id, id=made.token.id)
        await admin.tokens.RevokeToken(revoke, metadata=meta)
        began = time.monotonic()

        async def refused() -> bool:
            return (await idp.call("GET", "/Users"))[0] == 401

        await eventually(refused, 1.0, every_s=0.02)
        assert time.monotonic() - began < 1.0
        status, body = await idp.call("GET", "/Users")
        wrong = await Scim(http, ready["scim_base_url"], "muster_dev_nonsense").call("GET", "/Users")
        assert (status, body) == wrong

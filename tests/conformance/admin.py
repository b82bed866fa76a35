"""The admin API as an operator's script calls it: tenants, tokens, switches, the audit trail."""

import json
from typing import Any

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from protos.audit.v1 import audit_pb2
from protos.audit.v1.audit_pb2_grpc import AuditServiceStub
from protos.tenancy.v1 import tenancy_pb2 as pb
from protos.tenancy.v1.tenancy_pb2_grpc import TenantServiceStub, TokenServiceStub
from tests.conformance.client import Idp

TIMEOUT_S = 10


class Admin:
    """Calls as the administrator; errors are grpc.RpcError."""

    def __init__(self, address: str, token: str, scim_base: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self._tenants = TenantServiceStub(self._channel)
        self._tokens = TokenServiceStub(self._channel)
        self._audit = AuditServiceStub(self._channel)
        self._options: dict[str, Any] = {"metadata": (("authorization", f"Bearer {token}"),), "timeout": TIMEOUT_S}
        self.address, self.token, self.scim_base = address, token, scim_base

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def idp(self, provider: str = "generic", **switches: bool) -> Idp:
        """Create a tenant with a preset, change single switches, and return the holder of its token."""
        preset = pb.IdentityProvider.Value(f"IDENTITY_PROVIDER_{provider.upper()}")
        request = pb.CreateTenantRequest(display_name=f"{provider} {switches}", identity_provider=preset)
        tenant = self._tenants.CreateTenant(request, **self._options).tenant.id
        if switches:
            self.switch(tenant, **switches)
        made = self._tokens.CreateToken(pb.CreateTokenRequest(tenant_id=tenant), **self._options)
        return Idp(self.scim_base, made.secret, tenant)

    def switch(self, tenant: str, **switches: bool) -> pb.Tenant:
        """Change a tenant's switches; in force at once."""
        changed = pb.Tenant(id=tenant, compatibility=pb.Compatibility(**switches))
        mask = FieldMask(paths=[f"compatibility.{name}" for name in switches])
        request = pb.UpdateTenantRequest(tenant=changed, update_mask=mask)
        updated: pb.Tenant = self._tenants.UpdateTenant(request, **self._options).tenant
        return updated

    def audit(self, tenant: str, action: str = "") -> list[dict[str, Any]]:
        """Return a tenant's events, newest first: action, resource_id and the details."""
        request = audit_pb2.ListAuditEventsRequest(tenant_id=tenant, action=action)
        found = self._audit.ListAuditEvents(request, **self._options)
        return [
            {"action": one.action, "resource_id": one.resource_id, "details": json.loads(one.details or "{}")}
            for one in found.events
        ]

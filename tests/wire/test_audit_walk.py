"""Every action that the policy table calls audited leaves exactly one event when it succeeds."""

import json
from collections.abc import Awaitable
from typing import Any, TypedDict

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from control_plane.api.policy import POLICY
from protos.audit.v1 import audit_pb2
from protos.directory.v1 import directory_pb2
from protos.identity.v1 import identity_pb2
from protos.keys.v1 import keys_pb2
from protos.tenancy.v1 import tenancy_pb2
from tests.fixtures.control_plane import Plane
from tests.fixtures.postgres import Database
from tests.wire.test_audit import rows

USER = directory_pb2.RESOURCE_TYPE_USER
URN = "urn:example:params:scim:badge:1.0"
# Whose success is tested where it is built: leases, and checkpoints, which have to be configured.
ELSEWHERE = {"target.apply", "audit.checkpoint"}


class _Place(TypedDict):
    tenant_id: str
    type: directory_pb2.ResourceType.ValueType


class Walk:
    """Calls methods as an owner, and looks at what each leaves behind."""

    def __init__(self, plane: Plane, database: Database) -> None:
        self.api, self._database = plane.admin, database
        self._seen: set[Any] = set()
        self.actions: list[str] = []

    async def call(self, stub: Any, method: str, request: Any, events: int = 1) -> Any:
        call = getattr(stub, method)(request, metadata=self.api.metadata(), timeout=10)
        answer = await call if isinstance(call, Awaitable) else [one async for one in call]
        found = await rows(self._database, "SELECT id, action, outcome, actor_id, resource_id FROM audit_events")
        new = [row for row in found if row[0] not in self._seen]
        self._seen.update(row[0] for row in new)
        assert len(new) == events, (method, new)
        _, action, outcome, actor, _ = new[0]
        wanted = next(rule.audit_action for name, rule in POLICY.items() if name.endswith(f"/{method}"))
        assert (action == wanted or wanted.startswith("<type>"), outcome, actor) == (True, 1, "admin"), (method, new)
        self.actions.append(wanted)
        return answer


async def test_every_audited_action_leaves_one_event(plane: Plane, database: Database) -> None:
    walk = Walk(plane, database)
    created = await walk.call(walk.api.tenants, "CreateTenant", tenancy_pb2.CreateTenantRequest(display_name="Acme"))
    tenant = created.tenant.id
    await walk_directory(walk, tenant)
    await walk_tokens(walk, tenant)
    await walk_targets(walk, tenant)
    await walk_schemas(walk, tenant)
    await walk_people(walk)
    # These begin in one transaction and end in another.
    await walk.call(walk.api.keys, "RotateDataKey", keys_pb2.RotateDataKeyRequest(tenant_id=tenant), events=2)
    await walk.call(walk.api.keys, "RewrapDataKeys", keys_pb2.RewrapDataKeysRequest(), events=2)
    await walk.call(walk.api.audit, "ExportAuditEvents", audit_pb2.ExportAuditEventsRequest(tenant_id=tenant))
    await walk_states(walk, tenant)
    audited = {rule.audit_action for rule in POLICY.values() if rule.audit_action}
    assert audited - set(walk.actions) == ELSEWHERE


async def walk_directory(walk: Walk, tenant: str) -> None:
    stub, place = walk.api.directory, _Place(tenant_id=tenant, type=USER)
    document = json.dumps({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "ada"})
    request = directory_pb2.CreateResourceRequest(**place, document=document)
    made = (await walk.call(stub, "CreateResource", request)).resource
    document = document.replace("ada", "eve")
    replacing = directory_pb2.ReplaceResourceRequest(**place, id=made.id, document=document)
    await walk.call(stub, "ReplaceResource", replacing)
    document = json.dumps({"Operations": [{"op": "add", "path": "title", "value": "x"}]})
    await walk.call(stub, "PatchResource", directory_pb2.PatchResourceRequest(**place, id=made.id, document=document))
    document = json.dumps({"Operations": [{"method": "DELETE", "path": f"/Users/{made.id}"}]})
    await walk.call(stub, "BulkWrite", directory_pb2.BulkWriteRequest(tenant_id=tenant, document=document))
    await walk.call(
        walk.api.audit, "EraseSubject", audit_pb2.EraseSubjectRequest(tenant_id=tenant, resource_id=made.id)
    )
    again = (await walk.call(stub, "CreateResource", request)).resource
    await walk.call(stub, "DeleteResource", directory_pb2.DeleteResourceRequest(**place, id=again.id))


async def walk_tokens(walk: Walk, tenant: str) -> None:
    made = await walk.call(walk.api.tokens, "CreateToken", tenancy_pb2.CreateTokenRequest(tenant_id=tenant, label="x"))
    request = tenancy_pb2.RotateTokenRequest(tenant_id=tenant, id=made.token.id)
    new = await walk.call(walk.api.tokens, "RotateToken", request)
    await walk.call(walk.api.tokens, "RevokeToken", tenancy_pb2.RevokeTokenRequest(tenant_id=tenant, id=new.token.id))


async def walk_targets(walk: Walk, tenant: str) -> None:
    scim = tenancy_pb2.ScimTargetConfig(base_url="http://127.0.0.1:9/scim", bearer_token="s")
    request = tenancy_pb2.CreateTargetRequest(tenant_id=tenant, display_name="App", scim=scim)
    place = {"tenant_id": tenant, "id": (await walk.call(walk.api.targets, "CreateTarget", request)).target.id}
    mask = FieldMask(paths=["display_name"])
    update = tenancy_pb2.UpdateTargetRequest(**place, display_name="B", update_mask=mask)
    await walk.call(walk.api.targets, "UpdateTarget", update)
    await walk.call(walk.api.targets, "ActivateTarget", tenancy_pb2.ActivateTargetRequest(**place))
    await walk.call(walk.api.targets, "PauseTarget", tenancy_pb2.PauseTargetRequest(**place))


async def walk_schemas(walk: Walk, tenant: str) -> None:
    schema = directory_pb2.Schema(
        tenant_id=tenant,
        id=URN,
        name="Badge",
        resource_type=USER,
        attributes=[directory_pb2.SchemaAttribute(name="code", type=directory_pb2.ATTRIBUTE_TYPE_STRING)],
    )
    await walk.call(walk.api.schemas, "CreateSchema", directory_pb2.CreateSchemaRequest(schema=schema))
    schema.name = "Badges"
    await walk.call(walk.api.schemas, "UpdateSchema", directory_pb2.UpdateSchemaRequest(schema=schema))
    await walk.call(walk.api.schemas, "DeleteSchema", directory_pb2.DeleteSchemaRequest(tenant_id=tenant, id=URN))


async def walk_people(walk: Walk) -> None:
    request = identity_pb2.CreateOperatorRequest(
        email="ada@example.org", display_name="Ada", role=identity_pb2.OPERATOR_ROLE_AUDITOR
    )
    operator = (await walk.call(walk.api.operators, "CreateOperator", request)).operator
    operator.display_name = "Ada L"
    mask = FieldMask(paths=["display_name"])
    update = identity_pb2.UpdateOperatorRequest(operator=operator, update_mask=mask)
    await walk.call(walk.api.operators, "UpdateOperator", update)
    key = identity_pb2.CreateApiKeyRequest(operator_id=operator.id, label="x")
    made = await walk.call(walk.api.api_keys, "CreateApiKey", key)
    await walk.call(walk.api.api_keys, "RevokeApiKey", identity_pb2.RevokeApiKeyRequest(id=made.api_key.id))
    await walk.call(walk.api.operators, "DeleteOperator", identity_pb2.DeleteOperatorRequest(id=operator.id))


async def walk_states(walk: Walk, tenant: str) -> None:
    stub = walk.api.tenants
    mask = FieldMask(paths=["display_name"])
    change = tenancy_pb2.Tenant(id=tenant, display_name="Bcme")
    await walk.call(stub, "UpdateTenant", tenancy_pb2.UpdateTenantRequest(tenant=change, update_mask=mask))
    await walk.call(stub, "SuspendTenant", tenancy_pb2.SuspendTenantRequest(id=tenant))
    await walk.call(stub, "ResumeTenant", tenancy_pb2.ResumeTenantRequest(id=tenant))
    delete = tenancy_pb2.DeleteTenantRequest(id=tenant, grace=Duration(seconds=3600), confirm_display_name="Bcme")
    await walk.call(stub, "DeleteTenant", delete)
    await walk.call(stub, "RestoreTenant", tenancy_pb2.RestoreTenantRequest(id=tenant))

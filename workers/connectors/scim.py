"""The SCIM 2.0 connector (RFC 7643, 7644)."""

from collections.abc import Mapping
from types import MappingProxyType

from workers.connectors import scim_plan
from workers.connectors.base import (
    Conflict,
    Desired,
    Document,
    Gone,
    Op,
    Permit,
    Plan,
    PlanAgain,
    Rejected,
    Remote,
    Step,
    StepResult,
    TargetError,
    TargetFailed,
)
from workers.connectors.scim_http import Answer, ScimClient, checked_id, resource_path
from workers.connectors.scim_search import search
from workers.messages import ResourceKind

ENDPOINT: Mapping[ResourceKind, str] = MappingProxyType({ResourceKind.USER: "Users", ResourceKind.GROUP: "Groups"})
# The attribute that a resource without a link is looked up by.
NAME: Mapping[ResourceKind, str] = MappingProxyType({ResourceKind.USER: "userName", ResourceKind.GROUP: "displayName"})
# How a target says that it has no PATCH, whatever its ServiceProviderConfig claims.
NO_SUCH_METHOD = (405, 501)


class ScimConnector:
    """One SCIM service provider, over one client."""

    def __init__(self, client: ScimClient) -> None:
        self._client = client
        self._can_patch = True
        self._can_filter = True

    async def open(self, permit: Permit) -> None:
        """Read the target's ServiceProviderConfig; without one, believe that it can PATCH and filter."""
        self._client.open()
        answer = await self._client.request(permit, "GET", "/ServiceProviderConfig")
        if answer.status in (400, 404, *NO_SUCH_METHOD):
            return
        config = answer.resource()
        self._can_patch = _is_supported(config, "patch")
        self._can_filter = _is_supported(config, "filter")

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def fetch(self, permit: Permit, kind: ResourceKind, remote_id: str) -> Remote | None:
        """Return the resource with that id; None if GET says 404 (or 410)."""
        answer = await self._client.request(permit, "GET", resource_path(ENDPOINT[kind], remote_id))
        if answer.status in (404, 410):
            return None
        resource = answer.resource()
        return _remote(resource, remote_id, checked_id(answer.request, resource.get("id", remote_id)))

    async def find(self, permit: Permit, desired: Desired) -> Remote | None:
        """Return the resource with the desired name, checked row by row; Rejected if several fit."""
        document, kind = desired.document or {}, desired.kind
        name = document.get(NAME[kind])
        if not isinstance(name, str) or not name:
            raise Rejected(f"the desired {kind.value} has no {NAME[kind]} to look it up by")
        rows = await search(self._client, permit, f"/{ENDPOINT[kind]}", NAME[kind], name, can_filter=self._can_filter)
        own = {scim_plan.wanted(desired, document)["externalId"], desired.resource_id}
        free = _ours(rows, own)
        if rows and not free and kind is ResourceKind.USER:
            raise _taken(name)
        if len(free) > 1:
            ids = " and ".join(str(row["id"]) for row in free[:2])
            raise Rejected(f"the target has more than one {kind.value} with {NAME[kind]} {name!r}: {ids}")
        if not free:
            return None
        # Lists may be abridged (members above all): what is compared is what GET shows.
        have = await self.fetch(permit, kind, free[0]["id"])
        if have is not None and (have.attributes.get("externalId") or "") not in {"", *own}:
            raise _taken(name)
        return have

    async def find_former(self, permit: Permit, desired: Desired) -> Remote | None:
        """Return what we made of a resource that was deleted since: it has its name and the externalId we sent."""
        former, kind = desired.former, desired.kind
        if former is None:
            return None
        path, name = f"/{ENDPOINT[kind]}", NAME[kind]
        rows = await search(self._client, permit, path, name, former.name, can_filter=self._can_filter)
        own = [row for row in rows if row["externalId"] == (former.external_id or former.resource_id)]
        return Remote(own[0]["id"]) if len(own) == 1 else None

    def plan(self, desired: Desired, have: Remote | None) -> Plan:
        """Return what to do. PURE."""
        return scim_plan.plan(desired, have, can_patch=self._can_patch)

    async def apply(self, permit: Permit, step: Step) -> StepResult:
        """Do one step, which is one request."""
        path = resource_path(ENDPOINT[step.kind], step.remote_id)
        match step.op:
            case Op.CREATE:
                return await self._create(permit, step)
            case Op.DELETE:
                answer = await self._client.request(permit, "DELETE", path)
                # RFC 7644 section 3.6: gone is gone, whoever did it.
                if answer.status not in (404, 410):
                    answer.check()
                return StepResult("")
            case Op.REPLACE:
                answer = await self._client.request(permit, "PUT", path, body=dict(step.payload))
            case Op.UPDATE:
                answer = await self._client.request(permit, "PATCH", path, body=dict(step.payload))
            case Op.ADD_MEMBERS | Op.REMOVE_MEMBERS:
                answer = await self._client.request(permit, "PATCH", path, body=scim_plan.member_operations(step))
        if not answer.ok:
            raise self._refused(step, answer)
        # PATCH: 200 with the resource or 204 without (RFC 7644 section 3.5.2).
        answer.check()
        return StepResult(step.remote_id)

    async def _create(self, permit: Permit, step: Step) -> StepResult:
        answer = await self._client.request(permit, "POST", f"/{ENDPOINT[step.kind]}", body=dict(step.payload))
        if answer.status == 409:
            # With or without scimType "uniqueness", which not every target says.
            raise Conflict(answer.text())
        return StepResult(checked_id(answer.request, answer.resource().get("id")))

    def _refused(self, step: Step, answer: Answer) -> TargetError:
        if answer.status in (404, 410):
            return Gone(answer.text())
        if step.op is not Op.REPLACE and answer.status in NO_SUCH_METHOD:
            self._can_patch = False
            return PlanAgain(answer.text())
        if step.op is Op.REMOVE_MEMBERS and answer.scim_type == "noTarget":
            # Somebody else removed one of them since we read the group.
            return PlanAgain(answer.text())
        return answer.error()


def _is_supported(config: Document, feature: str) -> bool:
    """Return what a ServiceProviderConfig says of ``feature``; unsaid means yes."""
    said = config.get(feature)
    return not (isinstance(said, dict) and said.get("supported") is False)


def _ours(rows: list[Document], own: set[str]) -> list[Document]:
    """Return the resources that may be linked: those that carry an id of ours, else those that carry nobody's."""
    mine = [row for row in rows if row.get("externalId") in own]
    return mine or [row for row in rows if not row.get("externalId")]


def _taken(name: str) -> Rejected:
    """Return the refusal to take over an account that carries somebody else's externalId.

    That may be another user of ours, whose rename is still on its way: tried again, the name is free then.
    """
    return Rejected(f"the name {name!r} belongs to something with another externalId in the target")


def _remote(resource: Document, remote_id: str, shown: str) -> Remote:
    if shown != remote_id:
        # A target that answers a GET with another resource would have us write to a stranger's account.
        raise TargetFailed(f"the target answered a GET of {remote_id!r} with the resource {shown!r}")
    members = resource.get("members")
    ids = frozenset(
        member["value"]
        for member in (members if isinstance(members, list) else [])
        if isinstance(member, dict) and isinstance(member.get("value"), str)
    )
    return Remote(remote_id, {name: value for name, value in resource.items() if name != "members"}, ids)

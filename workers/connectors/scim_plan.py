"""PURE. What to write so that a SCIM target agrees with a desired resource.

Two ways, by what the target can: PATCH with the differing attributes only, and PUT of the merged resource. Attributes
outside the lists here are never touched: they are the target's own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from workers.connectors.base import Desired, Document, Op, Plan, Remote, Step
from workers.messages import Effect, ResourceKind

USER_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"

# Requests stay below what targets accept (AWS: 100 changes; most: 1 MiB bodies). A remove is an operation of its own.
MAX_ADDS, MAX_REMOVES = 500, 100

# RFC 7643 section 4.1, without what a client cannot or must not write here: id, meta, schemas, groups, password.
USER_SIMPLE = (
    "externalId", "userName", "displayName", "nickName", "profileUrl", "title", "userType", "preferredLanguage",
    "locale", "timezone", "active",
)  # fmt: skip
NAME_PARTS = ("formatted", "familyName", "givenName", "middleName", "honorificPrefix", "honorificSuffix")
USER_MULTI = (
    "emails", "phoneNumbers", "ims", "photos", "addresses", "entitlements", "roles", "x509Certificates",
)  # fmt: skip
# RFC 7643 section 4.3; manager apart, since only its "value" can be written.
ENTERPRISE_SIMPLE = ("employeeNumber", "costCenter", "organization", "division", "department")
GROUP_SIMPLE = ("externalId", "displayName")
# Required or without a meaning when absent: never removed.
KEPT = frozenset({"userName", "active"})


@dataclass(frozen=True, slots=True)
class Change:
    """One attribute to write; ``value`` None: to remove."""

    path: str
    value: Any

    def operation(self) -> Document:
        """Return this change as a PATCH operation (RFC 7644 section 3.5.2)."""
        if self.value is None:
            return {"op": "remove", "path": self.path}
        # "replace" of an attribute that is not there is an "add" (3.5.2.3).
        return {"op": "replace", "path": self.path, "value": self.value}


def plan(desired: Desired, have: Remote | None, *, can_patch: bool) -> Plan:
    """Return the steps that make the target agree with ``desired``."""
    if desired.document is None:
        steps = [Step(Op.DELETE, desired.kind, have.remote_id)] if have else []
        return Plan(steps, Effect.DELETED if have else Effect.NONE)
    want = wanted(desired, desired.document)
    if have is None:
        return Plan(_create(desired, want, can_patch=can_patch), Effect.CREATED)
    changes = differences(desired.kind, want, have.attributes)
    is_group = desired.kind is ResourceKind.GROUP
    if not changes and (not is_group or desired.members == have.members):
        return Plan([], Effect.NONE)
    if not can_patch:
        body = merged(desired.kind, want, have)
        if is_group:
            body["members"] = _values(sorted(desired.members))
        return Plan([Step(Op.REPLACE, desired.kind, have.remote_id, body)], Effect.UPDATED)
    steps = []
    if changes:
        body = {"schemas": [PATCH_OP], "Operations": [change.operation() for change in changes]}
        steps.append(Step(Op.UPDATE, desired.kind, have.remote_id, body))
    if is_group:
        # Access that ends comes before access that begins.
        removed, added = sorted(have.members - desired.members), sorted(desired.members - have.members)
        steps += _members(Op.REMOVE_MEMBERS, have.remote_id, removed, MAX_REMOVES)
        steps += _members(Op.ADD_MEMBERS, have.remote_id, added, MAX_ADDS)
    return Plan(steps, Effect.UPDATED)


def wanted(desired: Desired, document: Document) -> Document:
    """Return the resource as it should stand in the target: managed, assigned attributes only."""
    source = _canonical(document, _managed(desired.kind))
    want: Document = {"schemas": [GROUP_SCHEMA if desired.kind is ResourceKind.GROUP else USER_SCHEMA]}
    for name in _managed(desired.kind):
        value = _name_parts(source.get(name)) if name == "name" else source.get(name)
        if name != ENTERPRISE and _is_assigned(value):
            want[name] = value
    # Ours to know the account again by, when the identity provider gave it no id of its own.
    want["externalId"] = source.get("externalId") or desired.resource_id
    if extension := _enterprise(source.get(ENTERPRISE)):
        want["schemas"].append(ENTERPRISE)
        want[ENTERPRISE] = extension
    return want


def differences(kind: ResourceKind, want: Document, attributes: Document) -> list[Change]:
    """Return the managed attributes in which a target that shows ``attributes`` differs from ``want``."""
    have = _canonical(attributes, _managed(kind))
    if kind is ResourceKind.GROUP:
        return list(_simple(GROUP_SIMPLE, want, have, ""))
    changes = list(_simple(USER_SIMPLE, want, have, ""))
    changes += _name(want.get("name"), have.get("name"))
    for name in USER_MULTI:
        if _elements(want.get(name)) != _elements(have.get(name)):
            # Whole: value filters to single elements are where targets differ most.
            changes.append(Change(name, want.get(name)))
    return changes + _extension(want.get(ENTERPRISE), have.get(ENTERPRISE))


def merged(kind: ResourceKind, want: Document, have: Remote) -> Document:
    """Return the whole resource for PUT: the target's own attributes kept, the managed ones as wanted."""
    managed = _managed(kind)
    shown = _canonical(have.attributes, managed)
    dropped = {"meta", "groups", "password", "members"}
    body = {name: value for name, value in shown.items() if name not in managed and name.lower() not in dropped}
    own_extension = {
        name: value
        for name, value in _canonical(shown.get(ENTERPRISE) or {}, (*ENTERPRISE_SIMPLE, "manager")).items()
        if name not in ENTERPRISE_SIMPLE and name != "manager"
    }
    body |= {name: value for name, value in want.items() if name != "schemas"}
    # An account is not activated by leaving its state unsaid.
    if "active" not in want and "active" in shown:
        body["active"] = shown["active"]
    if own_extension or ENTERPRISE in want:
        body[ENTERPRISE] = own_extension | want.get(ENTERPRISE, {})
    extensions = [name for name in body if name.startswith("urn:")]
    return body | {"id": have.remote_id, "schemas": [want["schemas"][0], *extensions]}


def member_operations(step: Step) -> Document:
    """Return the PATCH body of a step that adds or removes members."""
    operations: list[Document]
    if step.op is Op.ADD_MEMBERS:
        operations = [{"op": "add", "path": "members", "value": _values(step.members)}]
    else:
        operations = [
            {"op": "remove", "path": f"members[value eq {orjson.dumps(member).decode()}]"} for member in step.members
        ]
    return {"schemas": [PATCH_OP], "Operations": operations}


def _create(desired: Desired, want: Document, *, can_patch: bool) -> list[Step]:
    members = sorted(desired.members)
    # Without PATCH there is no way to add the rest later but to send everything again.
    first = members[:MAX_ADDS] if can_patch else members
    body = want | ({"members": _values(first)} if first else {})
    rest = members[len(first) :]
    return [Step(Op.CREATE, desired.kind, "", body), *_members(Op.ADD_MEMBERS, "", rest, MAX_ADDS)]


def _members(op: Op, remote_id: str, members: Sequence[str], size: int) -> list[Step]:
    return [
        Step(op, ResourceKind.GROUP, remote_id, members=tuple(members[at : at + size]))
        for at in range(0, len(members), size)
    ]


def _values(members: Iterable[str]) -> list[Document]:
    return [{"value": member} for member in members]


def _managed(kind: ResourceKind) -> tuple[str, ...]:
    return GROUP_SIMPLE if kind is ResourceKind.GROUP else (*USER_SIMPLE, "name", *USER_MULTI, ENTERPRISE)


def _simple(names: Iterable[str], want: Document, have: Document, prefix: str) -> Iterable[Change]:
    for name in names:
        wish, shown = want.get(name), have.get(name)
        if not _is_assigned(wish):
            if _is_assigned(shown) and name not in KEPT:
                yield Change(prefix + name, None)
        elif wish != shown or isinstance(wish, bool) is not isinstance(shown, bool):
            yield Change(prefix + name, wish)


def _name(want: Any, have: Any) -> list[Change]:
    wish, shown = _name_parts(want), _name_parts(have)
    if not wish or not shown:
        return [Change("name", wish or None)] if wish != shown else []
    # RFC 7644 section 3.5.2.3: replacing a complex attribute leaves the sub-attributes alone that are not named.
    return list(_simple(NAME_PARTS, wish, shown, "name."))


def _name_parts(value: Any) -> Document:
    """Return the assigned parts of a name; of one that says nothing, nothing."""
    source = _canonical(value, NAME_PARTS) if isinstance(value, dict) else {}
    return {part: source[part] for part in NAME_PARTS if _is_assigned(source.get(part))}


def _extension(want: Any, have: Any) -> list[Change]:
    shown = _enterprise(have)
    wish = want if isinstance(want, dict) else {}
    return list(_simple((*ENTERPRISE_SIMPLE, "manager"), wish, shown, f"{ENTERPRISE}:"))


def _enterprise(value: Any) -> Document:
    """Return the extension's managed attributes; of the manager only the id, the rest is the target's to say."""
    if not isinstance(value, dict):
        return {}
    source = _canonical(value, (*ENTERPRISE_SIMPLE, "manager"))
    result = {name: source[name] for name in ENTERPRISE_SIMPLE if _is_assigned(source.get(name))}
    manager = source.get("manager")
    manager_id = _canonical(manager, ("value",)).get("value") if isinstance(manager, dict) else manager
    if _is_assigned(manager_id):
        result["manager"] = {"value": manager_id}
    return result


def _elements(value: Any) -> list[bytes]:
    """Return a multi-valued attribute in a form that compares without regard to order and to what says nothing."""
    elements = value if isinstance(value, list) else []
    return sorted(orjson.dumps(_bare(element), option=orjson.OPT_SORT_KEYS) for element in elements)


def _bare(element: Any) -> Any:
    if not isinstance(element, dict):
        return element
    # "$ref" is the target's; "primary": false is the same as no "primary" (RFC 7643 section 2.4).
    return {
        name: value
        for name, value in element.items()
        if _is_assigned(value) and name != "$ref" and not (name == "primary" and value is False)
    }


def _is_assigned(value: Any) -> bool:
    # RFC 7643 section 2.5: null, or an empty array, is unassigned. An empty object has nothing assigned either.
    return value is not None and value not in ([], {})


def _canonical(attributes: Document, names: Iterable[str]) -> Document:
    """Return ``attributes`` with ``names`` in our spelling: attribute names ignore case (RFC 7643 section 2.1)."""
    spelling = {name.lower(): name for name in names}
    return {spelling.get(name.lower(), name): value for name, value in attributes.items()}

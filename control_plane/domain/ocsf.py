"""Audit events as OCSF events (schema.ocsf.io, version 1.4.0). The table of docs/audit.md is compared with this one."""

from datetime import datetime
from typing import Any, NamedTuple

from control_plane.domain.audit import ActorType, Outcome
from control_plane.domain.audit_chain import Content, Link, shown_json

# The first version in which a group can be managed without naming a user or a privilege.
VERSION = "1.4.0"
ACCOUNT, AUTHENTICATION, ENTITY, ACCESS, GROUP, API = 3001, 3002, 3004, 3005, 3006, 6003
CLASS_NAMES = {
    ACCOUNT: "Account Change",
    AUTHENTICATION: "Authentication",
    ENTITY: "Entity Management",
    ACCESS: "User Access Management",
    GROUP: "Group Management",
    API: "API Activity",
}
CATEGORY_NAMES = {3: "Identity & Access Management", 6: "Application Activity"}
OTHER = 99
INFORMATIONAL, LOW = 1, 2


class Meaning(NamedTuple):
    """What an action is in OCSF."""

    class_uid: int
    activity_id: int
    activity: str

    @property
    def type_uid(self) -> int:
        """Class and activity in one number."""
        return self.class_uid * 100 + self.activity_id


MEANINGS = {
    "user.create": Meaning(ACCOUNT, 1, "Create"),
    "user.replace": Meaning(ACCOUNT, OTHER, "Update"),
    "user.patch": Meaning(ACCOUNT, OTHER, "Update"),
    "user.delete": Meaning(ACCOUNT, 6, "Delete"),
    "group.create": Meaning(GROUP, 6, "Create"),
    "group.replace": Meaning(GROUP, OTHER, "Update"),
    "group.patch": Meaning(GROUP, OTHER, "Update"),
    "group.delete": Meaning(GROUP, 5, "Delete"),
    "bulk.write": Meaning(API, 3, "Update"),
    "tenant.create": Meaning(ENTITY, 1, "Create"),
    "tenant.update": Meaning(ENTITY, 3, "Update"),
    "tenant.suspend": Meaning(ENTITY, 12, "Suspend"),
    "tenant.resume": Meaning(ENTITY, 13, "Resume"),
    "tenant.delete": Meaning(ENTITY, 9, "Disable"),
    "tenant.restore": Meaning(ENTITY, 8, "Enable"),
    "tenant.purge": Meaning(ENTITY, 4, "Delete"),
    "target.create": Meaning(ENTITY, 1, "Create"),
    "target.update": Meaning(ENTITY, 3, "Update"),
    "target.activate": Meaning(ENTITY, 10, "Activate"),
    "target.pause": Meaning(ENTITY, 11, "Deactivate"),
    "target.apply": Meaning(API, 3, "Update"),
    "schema.create": Meaning(ENTITY, 1, "Create"),
    "schema.update": Meaning(ENTITY, 3, "Update"),
    "schema.delete": Meaning(ENTITY, 4, "Delete"),
    "key.rotate": Meaning(ENTITY, 3, "Update"),
    "key.rewrap": Meaning(ENTITY, 3, "Update"),
    "token.create": Meaning(ACCESS, 1, "Assign Privileges"),
    "token.rotate": Meaning(ACCESS, OTHER, "Rotate"),
    "token.revoke": Meaning(ACCESS, 2, "Revoke Privileges"),
    "token.expire": Meaning(ACCESS, 2, "Revoke Privileges"),
    "token.refuse": Meaning(AUTHENTICATION, 1, "Logon"),
    "api_key.create": Meaning(ACCESS, 1, "Assign Privileges"),
    "api_key.revoke": Meaning(ACCESS, 2, "Revoke Privileges"),
    "api_key.refuse": Meaning(AUTHENTICATION, 1, "Logon"),
    "operator.create": Meaning(ACCOUNT, 1, "Create"),
    "operator.update": Meaning(ACCOUNT, OTHER, "Update"),
    "operator.delete": Meaning(ACCOUNT, 6, "Delete"),
    "access.deny": Meaning(API, OTHER, "Deny"),
    "audit.export": Meaning(API, 2, "Read"),
    "audit.checkpoint": Meaning(API, 1, "Create"),
    "audit.erase": Meaning(API, 4, "Delete"),
    "audit.expire": Meaning(API, 4, "Delete"),
    "audit.overflow": Meaning(API, OTHER, "Overflow"),
}
# What other actions are called by their verb; the class is API Activity.
_VERBS = {
    "create": (1, "Create"),
    "read": (2, "Read"),
    "list": (2, "Read"),
    "get": (2, "Read"),
    "update": (3, "Update"),
    "delete": (4, "Delete"),
}
# OCSF user.type_id: 1 User, 2 Admin, 3 System, 4 Service.
_ACTOR_TYPES = {
    ActorType.TOKEN: (4, "Service"),
    ActorType.ADMIN: (2, "Admin"),
    ActorType.WORKER: (3, "System"),
    ActorType.SYSTEM: (3, "System"),
    ActorType.OPERATOR: (2, "Admin"),
    ActorType.SERVICE: (4, "Service"),
}
_UNKNOWN_ACTOR = (0, "Unknown")


def meaning(action: str) -> Meaning:
    """Return what ``action`` is in OCSF; one that is not listed is an API activity by its verb."""
    found = MEANINGS.get(action)
    if found is not None:
        return found
    verb = action.partition(".")[2]
    return Meaning(API, *_VERBS.get(verb, (OTHER, verb or action)))


def event(link: Link, content: Content, personal: str = "") -> dict[str, Any]:
    """Return the OCSF event; what has no place in OCSF is in ``unmapped``."""
    what, failed = meaning(content.action), content.outcome == Outcome.FAILURE
    category = what.class_uid // 1000
    told: dict[str, Any] = {
        "activity_id": what.activity_id,
        "activity_name": what.activity,
        "actor": {"user": _actor(content)},
        "category_name": CATEGORY_NAMES[category],
        "category_uid": category,
        "class_name": CLASS_NAMES[what.class_uid],
        "class_uid": what.class_uid,
        "metadata": {
            "correlation_uid": content.request_id,
            "product": {"name": "Muster", "vendor_name": "Muster"},
            "sequence": link.seq,
            "tenant_uid": content.tenant,
            "uid": content.id,
            "version": VERSION,
        },
        "severity": "Low" if failed else "Informational",
        "severity_id": LOW if failed else INFORMATIONAL,
        "status": "Failure" if failed else "Success",
        "status_detail": content.reason,
        "status_id": 2 if failed else 1,
        "time": _milliseconds(content.time),
        "type_name": f"{CLASS_NAMES[what.class_uid]}: {what.activity}",
        "type_uid": what.type_uid,
        # Required where a class has it; a process of Muster has no address.
        "src_endpoint": {"ip": content.actor_address} if content.actor_address else {"name": "muster"},
        "api": {"operation": content.action, "request": {"uid": content.request_id}},
        "unmapped": {
            "details": shown_json(content.details),
            "hash": link.hash.hex(),
            "resource_type": content.resource_type,
            "trace_id": content.trace_id,
        },
    }
    if content.actor_agent:
        told["http_request"] = {"user_agent": content.actor_agent}
    if personal:
        told["unmapped"]["personal"] = shown_json(personal)
    return told | _object(what.class_uid, content)


def _object(class_uid: int, content: Content) -> dict[str, Any]:
    """Return what the event is about, under the name that its class has for it."""
    named = {"uid": content.resource_id}
    match class_uid:
        case 3001 | 3005:
            return {"user": named}
        case 3002:
            return {"user": {"uid": content.actor_id or content.resource_id}, "service": {"name": "muster"}}
        case 3006:
            return {"group": named}
        case 3004:
            return {"entity": {**named, "type": content.resource_type}}
        case _:
            return {"resources": [{**named, "type": content.resource_type}]}


def _actor(content: Content) -> dict[str, Any]:
    try:
        type_id, name = _ACTOR_TYPES[ActorType(content.actor_type)]
    except ValueError:
        type_id, name = _UNKNOWN_ACTOR
    return {"uid": content.actor_id, "type": name, "type_id": type_id}


def _milliseconds(time: str) -> int:
    try:
        return int(datetime.fromisoformat(time).timestamp() * 1000)
    except ValueError:
        return 0

"""Filters that name what somebody has: what needles and walks are made for, and random filters seldom hit."""

from typing import Any

import orjson

from control_plane.domain.resources import ResourceType
from control_plane.scim.filters import MAX_NUMBER, Filter, parse_filter
from control_plane.scim.lexer import MAX_FILTER_BYTES
from tests.storage.random_directory import Dice, Directory

# A filter, and where its value X is found in a resource. ID is the resource itself.
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
POINTED: dict[ResourceType, list[tuple[str, str]]] = {
    ResourceType.USER: [
        ("userName eq X", "userName"),
        ("userName sw X", "userName"),
        ("title pr and userName sw X", "userName"),
        ("displayName sw X", "displayName"),
        ("displayName eq X or userName eq X", "displayName"),
        ("emails eq X", "emails value"),
        ('emails[value eq X and type eq "work"]', "emails value"),
        ('emails[type eq "home"].value eq X or externalId eq X', "emails value"),
        ("id eq ID and manager eq X", f"{ENTERPRISE} manager value"),
        ("manager[value eq X]", f"{ENTERPRISE} manager value"),
        ("code eq X and active eq true", "urn:example:badge:1.0:User code"),
        ("number eq X", "urn:example:badge:1.0:User number"),
        ("groups.value eq X", "groups value"),
        ("not (groups eq X)", "groups value"),
        ('groups[value eq X and type eq "direct"]', "groups value"),
        ('groups[value eq X and type eq "indirect"]', "groups value"),
        ("groups.display eq X", "groups display"),
        ('groups[display sw X and type ne "direct"]', "groups display"),
        ("meta.lastModified ge X", "meta lastModified"),
        ("meta.lastModified eq X", "meta lastModified"),
        ("meta.created co X", "meta created"),
        ("meta.lastModified gt X and userName pr", "meta lastModified"),
    ],
    ResourceType.GROUP: [
        ("displayName eq X", "displayName"),
        ("displayName sw X and meta.lastModified pr", "displayName"),
        ("members eq X", "members value"),
        ("id eq ID and members[value eq X]", "members value"),
        ('members[value eq X and type eq "group"]', "members value"),
        ("members.display co X", "members display"),
        ("members.$ref eq X", "members $ref"),
    ],
}


def pointed(directory: Directory, dice: Dice) -> list[tuple[ResourceType, Filter]]:
    """Return filters that name what somebody has: what needles and walks are made for."""
    found = []
    for kind, one, body in directory.everything():
        for template, way in POINTED[kind]:
            texts = [text for text in _at(body, way) if isinstance(text, str | int) and not isinstance(text, bool)]
            texts = [text for text in texts if isinstance(text, str) or abs(text) < MAX_NUMBER]
            if texts and dice.chance(0.08):
                text = dice.roll.choice(texts)
                if isinstance(text, str) and "ID" not in template and dice.chance(0.5):
                    text = text.swapcase()
                start = text[: dice.roll.randint(1, 3)] if isinstance(text, str) else text
                literal = orjson.dumps(start if " sw " in template else text).decode()
                written = template.replace("ID", f'"{one}"').replace("X", literal)
                if len(written.encode()) <= MAX_FILTER_BYTES:
                    found.append((kind, parse_filter(written)))
    return found


def _at(value: Any, way: str) -> list[Any]:
    """Return what is at the end of a way of names."""
    for name in filter(None, way.split(" ")):
        items = value if isinstance(value, list) else [value]
        values = [item.get(name) for item in items if isinstance(item, dict)]
        value = [part for item in values for part in (item if isinstance(item, list) else [item])]
    return value if isinstance(value, list) else [value]

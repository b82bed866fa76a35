"""Random tenants and random filters, hard on purpose: for the differential tests of filters and sorting.

Seeded, not hypothesis: some resources are stored once and asked many times, which shrinking would not survive.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import orjson

from control_plane.domain.ids import ResourceId, TenantId
from control_plane.domain.resources import NewResource, ResourceType
from control_plane.scim.attribute_path import AttributePath
from control_plane.scim.filters import (
    And,
    Compare,
    Filter,
    Literal,
    Not,
    Operator,
    Or,
    Present,
    ValuePath,
)
from control_plane.scim.keys import keyed_values
from control_plane.scim.registry import extended_registry
from control_plane.scim.schema import Attribute, AttributeType, Document, Schema, Uniqueness
from control_plane.scim.schema_definition import Extension, check_extension
from control_plane.services.rendering import representation
from control_plane.storage import memberships, resources
from control_plane.storage.engine import Storage, Tx
from tests.storage.world import NOW, new_id

# What people ask, and what is stored or planned in a way of its own: asked more often than the rest.
HOT = {
    ResourceType.USER: ["userName", "displayName", "externalId", "id", "emails", "groups", "manager", "meta", "code"],
    ResourceType.GROUP: ["displayName", "externalId", "id", "members", "meta"],
}
# Texts by the name of the attribute that has them.
Near = Mapping[str, Sequence[str]]

BASE = "https://scim.example/v2"
BADGE, TEAM = "urn:example:badge:1.0:User", "urn:example:team:1.0:Group"
KINDS = (ResourceType.USER, ResourceType.GROUP)
NAMES = ("User", "Group")
# Read by the server, or columns of their own, or written below.
APART = {"id", "meta", "schemas", "members", "groups", "password", "userName", "externalId", "displayName", "active"}

_D, _I, _T = AttributeType.DECIMAL, AttributeType.INTEGER, AttributeType.DATE_TIME
_PARTS = (
    Attribute("value"),
    Attribute("kind", case_exact=True),
    Attribute("seats", _I),
    Attribute("since", _T),
    Attribute("primary", AttributeType.BOOLEAN),
)
EXTENSIONS = (
    Extension(
        Schema(
            BADGE,
            "Badge",
            "",
            (
                Attribute("level", _I),
                Attribute("score", _D),
                Attribute("since", _T),
                Attribute("flag", AttributeType.BOOLEAN),
                Attribute("code", case_exact=True, uniqueness=Uniqueness.SERVER),
                Attribute("number", _I, uniqueness=Uniqueness.SERVER),
                Attribute("note"),
                Attribute("tags", multi_valued=True),
                Attribute("scores", _D, multi_valued=True),
                Attribute("blob", AttributeType.BINARY),
                Attribute("link", AttributeType.REFERENCE, reference_types=("external",)),
                Attribute("plan", AttributeType.COMPLEX, sub_attributes=_PARTS),
                Attribute("grants", AttributeType.COMPLEX, multi_valued=True, sub_attributes=_PARTS),
                Attribute("seal", AttributeType.COMPLEX, sub_attributes=(Attribute("ink"),)),
            ),
        ),
        "User",
    ),
    Extension(
        Schema(
            TEAM, "Team", "", (Attribute("tier"), Attribute("budget", _D), Attribute("since", _T), Attribute("score"))
        ),
        "Group",
    ),
)
for _extension in EXTENSIONS:
    check_extension(_extension)
REGISTRY = extended_registry(EXTENSIONS)

# Letters that fold to several, to each other, or to nothing; what SQL patterns, JSON and arrays treat specially.
ATOMS = [
    "a", "A", "b", "ab", "ß", "ẞ", "ss", "SS", "İ", "i", "I", "ı", "i̇", "ſ", "s", "S", "\u212a", "k", "\u212b", "å",
    "Å", "ς", "σ", "Σ", "ﬁ", "fi", "FI", "e\u0301", "é", "É", "\u0345", "ι", "😀", "\U0010ffff", "\ud7ff", "\ue000",
    "'", '"', "\\", "%", "_", "*", "?", "$1", "{}", "null", "true", "0", " ", "\n", "\t", "\u00a0", "\u200b",
]  # fmt: skip
NUMBERS: list[int | float] = [
    0, 1, -1, 5, 5.0, 5.5, -0.0, 0.1, 0.30000000000000004, 0.3, 1e-7, 1e22, 1.2345678901234568e20, 2**64 - 1,
    2**53, 2**53 + 1, 2.0**53, 2**63 - 1, -(2**63) + 1, 9.2e18, -9.2e18, 1e300, 5e-324,
]  # fmt: skip
MOMENTS = [
    "2026-05-01T12:00:00Z", "2026-05-01T14:00:00+02:00", "2026-05-01T12:00:00", "2026-05-01T12:00:00.1Z",
    "2026-05-01T12:00:00.100000Z", "2026-05-01T12:00:00.1000009Z", "2026-05-01T12:00:00.100001Z",
    "2026-05-01T11:59:59.9999999-00:00", "2026-05-01T12:00:00.0005Z", "2026-05-01T12:00:00.001Z",
    "2026-05-01T12:00:00.002+00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00",
    "2024-02-29T23:59:59Z",
]  # fmt: skip
NO_MOMENTS = ["2023-02-29T00:00:00Z", "2026-05-01T24:00:00Z", "2026-05-01", "0000-01-01T00:00:00Z", "yesterday", ""]
ODD: list[Any] = [None, [], {}, "", 7, True, "x", ["x"], {"value": 1}, [None], [{}], [{"value": None}]]


@dataclass
class Dice:
    """A source of random documents and filters; equal seeds give equal ones."""

    seed: int
    roll: random.Random = field(init=False)
    words: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.roll = random.Random(self.seed)
        self.words = [self.text() for _ in range(24)] + ["", "work", "Work", "home"]

    def text(self) -> str:
        """Return a short text of hard letters."""
        return "".join(self.roll.choices(ATOMS, k=self.roll.randint(1, 4)))

    def chance(self, share: float) -> bool:
        """Return true in this share of the cases."""
        return self.roll.random() < share

    def word(self) -> str:
        """Return a text that others may have too."""
        return self.roll.choice(self.words)

    def value(self, attribute: Attribute) -> Any:
        """Return one value of an attribute."""
        match attribute.type:
            case AttributeType.BOOLEAN:
                return self.chance(0.5)
            case AttributeType.INTEGER:
                return self.roll.choice([number for number in NUMBERS if isinstance(number, int)])
            case AttributeType.DECIMAL:
                return self.roll.choice(NUMBERS)
            case AttributeType.DATE_TIME:
                return self.roll.choice(MOMENTS)
            case AttributeType.COMPLEX:
                return self.fields(attribute.sub_attributes, 0.6)
            case _:
                return self.word()

    def fields(self, attributes: Sequence[Attribute], share: float) -> Document:
        """Return some of the attributes with values, now and then of a shape that only an older schema explains."""
        found: Document = {}
        for attribute in attributes:
            if attribute.name in APART or not self.chance(share):
                continue
            is_keyed = attribute.name in ("emails", "manager") or attribute.uniqueness is not Uniqueness.NONE
            if not is_keyed and self.chance(0.08):
                found[attribute.name] = self.roll.choice(ODD)
            elif attribute.multi_valued:
                found[attribute.name] = [self.value(attribute) for _ in range(self.roll.randint(0, 3))]
            else:
                found[attribute.name] = self.value(attribute)
        return found

    def document(self, kind: ResourceType, number: int) -> Document:
        """Return what is stored of a resource."""
        model = REGISTRY.model(kind.scim_name)
        found = self.fields(tuple(dict.fromkeys(model.attributes.values())), 0.4)
        if kind is ResourceType.USER:
            found["userName"] = f"{self.text()}{number}"
            found |= {"active": self.chance(0.5)} if self.chance(0.8) else {}
            if self.chance(0.05):
                found["emails"] = [{"value": "x" * 1100 + self.word()}]
        if kind is ResourceType.GROUP or self.chance(0.6):
            found["displayName"] = self.word() + ("y" * 300 if self.chance(0.1) else "")
        if self.chance(0.6):
            found["externalId"] = self.word()
        for extension in model.extensions:
            if self.chance(0.7):
                found[extension.id] = self.fields(extension.attributes, 0.4)
        found["schemas"] = model.schemas_in(found)
        return found

    def path(self, kind: ResourceType) -> tuple[AttributePath, Attribute]:
        """Return a way to some attribute, in any spelling."""
        model = REGISTRY.model(kind.scim_name)
        if self.chance(0.4):
            target = model.resolve(AttributePath(None, self.roll.choice(HOT[kind])))
            assert target is not None
            return self.below(None, target.attribute)
        schema = self.roll.choice([None, model.core, *model.extensions])
        known = schema.attributes if schema is not None else tuple(dict.fromkeys(model.attributes.values()))
        attribute = self.roll.choice([one for one in known if one.name != "password"])
        return self.below(schema.id if schema is not None else None, attribute)

    def below(self, urn: str | None, attribute: Attribute) -> tuple[AttributePath, Attribute]:
        """Return the way to an attribute or to one of its parts."""
        sub = self.roll.choice(attribute.sub_attributes) if attribute.is_complex and self.chance(0.6) else None
        name = self.spelled(attribute.name)
        return AttributePath(urn, name, self.spelled(sub.name) if sub else None), sub or attribute

    def spelled(self, name: str) -> str:
        """Return a name in some case."""
        return self.roll.choice([name, name, name.lower(), name.upper()])

    def literal(self, attribute: Attribute, near: Near) -> Literal:
        """Return something to compare with, mostly of the right type."""
        if self.chance(0.06):
            odd: list[Literal] = [None, None, True, 5, "x", "True", 0.5]
            return self.roll.choice(odd)
        if attribute.is_complex:
            attribute = attribute.sub("value") or attribute
        match attribute.type:
            case AttributeType.BOOLEAN:
                booleans: list[Literal] = [True, False, "true", "FALSE"]
                return self.roll.choice(booleans)
            case AttributeType.INTEGER | AttributeType.DECIMAL:
                return self.roll.choice([one for one in NUMBERS if abs(one) < 2**63])
            case AttributeType.DATE_TIME:
                return self.roll.choice(MOMENTS if self.chance(0.9) else NO_MOMENTS)
            case _:
                texts = near.get(attribute.name, ())
                found = self.roll.choice(texts) if texts and self.chance(0.7) else self.word()
                start = self.roll.randint(0, len(found)) if self.chance(0.3) else 0
                cut = found[start : start + self.roll.randint(1, 6)] if self.chance(0.3) else found[start:]
                return self.roll.choice([cut, cut, cut, cut.upper(), cut.lower(), cut.swapcase()])

    def comparison(self, path: AttributePath, attribute: Attribute, near: Near) -> Filter:
        """Return one term."""
        if self.chance(0.15):
            return Present(path)
        usual = [Operator.EQ, Operator.EQ, Operator.NE]
        if attribute.type in (AttributeType.INTEGER, AttributeType.DECIMAL, AttributeType.DATE_TIME):
            usual += [Operator.GT, Operator.GE, Operator.LT, Operator.LE]
        elif attribute.type is not AttributeType.BOOLEAN:
            usual += [Operator.CO, Operator.SW, Operator.EW, Operator.EQ]
        operator = self.roll.choice(usual if self.chance(0.85) else list(Operator))
        return Compare(path, operator, self.literal(attribute, near))

    def term(self, kind: ResourceType, near: Near) -> Filter:
        """Return one term, or one value path."""
        path, attribute = self.path(kind)
        has_elements = attribute.multi_valued or attribute.is_complex
        if not has_elements or path.sub is not None or self.chance(0.4):
            return self.comparison(path, attribute, near)
        return ValuePath(path, self.joined(lambda: self.element_term(attribute, near), 2))

    def element_term(self, attribute: Attribute, near: Near) -> Filter:
        """Return one term about an element."""
        sub = self.roll.choice(attribute.sub_attributes) if attribute.is_complex else attribute
        name = sub.name if attribute.is_complex else "value"
        return self.comparison(AttributePath(None, self.spelled(name)), sub, near)

    def joined(self, term: Any, depth: int) -> Filter:
        """Return some terms under not, and, or."""
        if depth == 0 or self.chance(0.5):
            found: Filter = term()
            return found
        if self.chance(0.25):
            return Not(self.joined(term, depth - 1))
        terms = tuple(self.joined(term, depth - 1) for _ in range(self.roll.randint(2, 3)))
        return And(terms) if self.chance(0.5) else Or(terms)

    def filter(self, kind: ResourceType, near: Near) -> Filter:
        """Return a filter; ``near`` are texts that some resource has."""
        return self.joined(lambda: self.term(kind, near), 3)


@dataclass
class Directory:
    """A stored tenant, and each resource as clients see it."""

    tenant: TenantId
    seen: dict[ResourceType, dict[ResourceId, Document]]
    near: Near

    def everything(self) -> list[tuple[ResourceType, ResourceId, Document]]:
        """Return all resources in order of their ids."""
        found = [(kind, one, body) for kind, bodies in self.seen.items() for one, body in bodies.items()]
        return sorted(found, key=lambda item: item[1])


async def make_directory(storage: Storage, dice: Dice, users: int, groups: int, unit_us: int = 1) -> Directory:
    """Store a random tenant: groups hold users and groups, also in circles. Times are multiples of ``unit_us``."""
    tenant = TenantId(new_id())
    rows = [_row(dice, kind, n) for kind, count in zip(KINDS, (users, groups), strict=True) for n in range(count)]
    async with storage.begin(tenant) as tx:
        written = await resources.insert(tx, rows)
        assert len(written.ids) == len(rows)
        everybody = [row.id for row in rows]
        for row in rows:
            if row.type is ResourceType.GROUP and dice.chance(0.8):
                await memberships.add(tx, row.id, dice.roll.sample(everybody, dice.roll.randint(1, min(5, len(rows)))))
        for row in rows:
            if dice.chance(0.7):
                await _change(tx, row.id, dice, unit_us)
        seen = {kind: await _seen(tx, kind, [row.id for row in rows if row.type is kind]) for kind in KINDS}
    near: dict[str, list[str]] = {}
    for bodies in seen.values():
        for body in bodies.values():
            _collect(body, "", near)
    return Directory(tenant, seen, near)


async def _change(tx: Tx, one: ResourceId, dice: Dice, unit_us: int) -> None:
    """Move a resource in time, by fractions of what is shown."""
    moved_us = dice.roll.choice([0, 1, 499, 500, 999, 1000, 1001, 2000, 2500])
    moved = NOW + timedelta(microseconds=moved_us * unit_us)
    await tx.fetch(
        "UPDATE resources SET version = %(version)b, updated_at = %(at)b, created_at = %(at)b WHERE id = %(id)b",
        {"version": dice.roll.choice([1, 2, 10, 11]), "at": moved, "id": one},
    )


def _row(dice: Dice, kind: ResourceType, number: int) -> NewResource:
    document = dice.document(kind, number)
    return NewResource(
        id=ResourceId(new_id()),
        type=kind,
        user_name=document.get("userName"),
        external_id=document.get("externalId"),
        display_name=document.get("displayName"),
        # As services/writes.py does: nothing said means active.
        active=bool(document.get("active", True)) if kind is ResourceType.USER else None,
        document=document,
        at=NOW,
        keys=keyed_values(REGISTRY.model(kind.scim_name), document),
    )


async def _seen(tx: Tx, kind: ResourceType, ids: Sequence[ResourceId]) -> dict[ResourceId, Document]:
    stored = await resources.get(tx, kind, ids)
    members = await memberships.render(tx, ids, BASE) if kind is ResourceType.GROUP else {}
    groups = await memberships.render_groups(tx, ids, BASE) if kind is ResourceType.USER else {}
    found: dict[ResourceId, Document] = {}
    for one, resource in stored.items():
        body = representation(resource, BASE)
        listed = {"members": members.get(one, ("", 0))[0], "groups": groups.get(one, "")}
        found[one] = body | {name: orjson.loads(text) for name, text in listed.items() if text}
    return found


def _collect(value: Any, name: str, near: dict[str, list[str]]) -> None:
    if isinstance(value, str):
        near.setdefault(name, []).append(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            _collect(item, key, near)
            # "emails eq" asks for the values.
            _collect(item.get("value") if isinstance(item, dict) else None, key, near)
    elif isinstance(value, list):
        for item in value:
            _collect(item, name, near)

"""docs/ says what the code says: links, the values of limits, compatibility switches, identity providers."""

import importlib
import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
from google.protobuf import json_format, symbol_database

from control_plane.scim import limits
from control_plane.scim.compatibility import GENERIC, PRESETS, SWITCHES, Compatibility
from protos.audit.v1 import audit_pb2
from protos.directory.v1 import directory_pb2
from protos.identity.v1 import identity_pb2
from protos.tenancy.v1 import tenancy_pb2

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SCIM = (DOCS / "scim.md").read_text()
PAGES = sorted(DOCS.rglob("*.md"))
LINKED = [ROOT / "README.md", *PAGES]
# "generic" stands for whatever has no page of its own.
PAGE_OF = {"generic": "custom"}

_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_LIMIT_ROW = re.compile(r"^\| (?P<what>[^|]+) \| (?P<value>[\d.]+) \| `(?P<code>[\w.]+:[\w.]+)` \|", re.MULTILINE)
_SWITCH_ROW = re.compile(r"^\| `(?P<name>\w+)` \|.*\| (?P<default>on|off) \|$", re.MULTILINE)
_GRPCURL = re.compile(r"-d '(?P<body>[^']+)'[^`]*?(?P<service>muster\.[\w.]+)/(?P<method>\w+)")
_INLINE_UPDATE = re.compile(r'`(?P<body>\{"tenant": [^`]+\})` to')
_PRESET_ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<differs>[^|]+) \|$", re.MULTILINE)
WIRE = {
    service.full_name: service
    for module in (audit_pb2, directory_pb2, identity_pb2, tenancy_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(path: Path) -> str:
    """The text without fenced code, where brackets mean something else."""
    return _FENCE.sub("", path.read_text())


def anchors(path: Path) -> set[str]:
    """The fragments under which GitHub serves the headings."""
    headings = (heading.lower().replace("`", "") for heading in _HEADING.findall(prose(path)))
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}


def section(title: str) -> str:
    """The part of scim.md under a heading of the second level."""
    return SCIM.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def value_of(code: str) -> object:
    """What ``module:NAME`` is, or the default of ``module:Class.field``."""
    module_name, _, name = code.partition(":")
    owner, _, field = name.partition(".")
    found: object = getattr(importlib.import_module(module_name), owner)
    if not field:
        return found
    assert isinstance(found, type), code
    assert is_dataclass(found), code
    return next(one.default for one in fields(found) if one.name == field)


def limit_rows() -> list[tuple[str, str]]:
    return [(row["code"], row["value"]) for row in _LIMIT_ROW.finditer(section("Limits"))]


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, fragment = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (fragment and path.suffix == ".md" and fragment not in anchors(path)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize(("code", "value"), limit_rows())
def test_a_documented_limit_has_the_codes_value(code: str, value: str) -> None:
    assert value_of(code) == float(value)


def test_every_row_of_the_limits_table_is_checked() -> None:
    rows = [line for line in section("Limits").splitlines() if line.startswith("| ") and "`" in line]
    assert len(rows) == len(limit_rows())


def test_every_protocol_limit_is_documented() -> None:
    wanted = {f"{limits.__name__}:{name}" for name in vars(limits) if name.isupper()}
    assert wanted - {code for code, _ in limit_rows()} == set()


def test_every_compatibility_switch_is_documented_with_its_default() -> None:
    told = {row["name"]: row["default"] for row in _SWITCH_ROW.finditer(section("Compatibility"))}
    assert told == {name: "on" if getattr(GENERIC, name) else "off" for name in SWITCHES}


def test_every_preset_is_documented_with_what_it_differs_in() -> None:
    told = {row["name"]: row["differs"] for row in _PRESET_ROW.finditer(section("Compatibility"))}
    assert told == {name: difference(preset) for name, preset in PRESETS.items()}


def difference(preset: Compatibility) -> str:
    changed = [name for name in SWITCHES if getattr(preset, name) != getattr(GENERIC, name)]
    return ", ".join(f"`{name}` {'on' if getattr(preset, name) else 'off'}" for name in changed) or "nothing"


@pytest.mark.parametrize("preset", PRESETS)
def test_every_identity_provider_has_a_page_that_says_how_to_set_its_preset(preset: str) -> None:
    page = DOCS / "idp" / f"{PAGE_OF.get(preset, preset)}.md"
    text = page.read_text()
    assert f"muster tenant update TENANT --identity-provider {preset}" in text
    assert f"IDENTITY_PROVIDER_{preset.upper()}" in text


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "README.md").read_text()
    missing = [
        str(page.relative_to(DOCS))
        for page in PAGES
        if page.name != "README.md" and str(page.relative_to(DOCS)) not in index
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_grpc_request_is_one_that_the_wire_knows(page: Path) -> None:
    text = page.read_text()
    for call in _GRPCURL.finditer(text):
        service = WIRE[call["service"]]
        parsed(service.methods_by_name[call["method"]].input_type.full_name, call["body"])
    for body in _INLINE_UPDATE.findall(text):
        parsed("muster.tenancy.v1.UpdateTenantRequest", body)


def parsed(message: str, body: str) -> None:
    """Raise ParseError unless ``body`` is the JSON of ``message``; an update mask must name fields that there are."""
    request = symbol_database.Default().GetSymbol(message)()
    json_format.Parse(body, request)
    if isinstance(request, tenancy_pb2.UpdateTenantRequest):
        assert request.update_mask.paths
        assert request.update_mask.IsValidForDescriptor(tenancy_pb2.Tenant.DESCRIPTOR)

"""The PATH of a PATCH operation (RFC 7644 section 3.5.2, figure 7): an attribute path, or a value path.

PATH = attrPath / valuePath [subAttr], valuePath = attrPath "[" valFilter "]"
"""

import re
from dataclasses import dataclass

from control_plane.scim.attribute_path import AttributePath, parse_attribute_path
from control_plane.scim.errors import InvalidPath
from control_plane.scim.filters import Filter, parse_filter, write_filter
from control_plane.scim.lexer import MAX_FILTER_BYTES

_VALUE_PATH = re.compile(r"([^\[\]\"]+)\[(.*)\](?:\.([A-Za-z$][A-Za-z0-9_$-]*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class PatchPath:
    """``attribute`` with its sub-attribute; ``selection`` chooses elements of it when the path has brackets."""

    attribute: AttributePath
    selection: Filter | None = None

    def __str__(self) -> str:
        if self.selection is None:
            return str(self.attribute)
        whole = AttributePath(self.attribute.urn, self.attribute.name)
        sub = f".{self.attribute.sub}" if self.attribute.sub else ""
        return f"{whole}[{write_filter(self.selection)}]{sub}"


def parse_path(text: str) -> PatchPath:
    """Return the path that ``text`` spells. InvalidPath if it is none, InvalidFilter for what is wrong in brackets."""
    text = text.strip()
    if len(text) > MAX_FILTER_BYTES:
        raise InvalidPath(f"the path is longer than {MAX_FILTER_BYTES} characters")
    if "[" not in text:
        return PatchPath(_attribute(text, text))
    match = _VALUE_PATH.fullmatch(text)
    if match is None:
        raise InvalidPath(f"{text[:200]!r} is not a path")
    name, selection, sub = match.groups()
    attribute = _attribute(name.strip(), text)
    if attribute.sub is not None:
        raise InvalidPath(f"{text[:200]!r} selects elements of a sub-attribute, which has none")
    return PatchPath(AttributePath(attribute.urn, attribute.name, sub), parse_filter(selection))


def _attribute(name: str, text: str) -> AttributePath:
    attribute = parse_attribute_path(name)
    if attribute is None:
        raise InvalidPath(f"{text[:200]!r} is not a path")
    return attribute

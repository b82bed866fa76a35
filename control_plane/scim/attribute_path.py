"""The attribute path ``[URN ":"] name ["." sub]`` of RFC 7644 section 3.10: in filters, PATCH paths, projections."""

import re
from dataclasses import dataclass

_NAME = r"[A-Za-z$][A-Za-z0-9_$-]*"
# The last colon ends the URN: attribute names have none.
_PATH = re.compile(rf"(?:(urn:[^\s\[\]()\"]+):)?({_NAME})(?:\.({_NAME}))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class AttributePath:
    """A path as written; case is kept and means nothing."""

    urn: str | None
    name: str
    sub: str | None = None

    def __str__(self) -> str:
        text = f"{self.urn}:{self.name}" if self.urn else self.name
        return f"{text}.{self.sub}" if self.sub else text


def parse_attribute_path(text: str) -> AttributePath | None:
    """Return the path that ``text`` spells, or None if it spells none.

    A bare schema URN parses too, as the attribute "User" of the URN before it: who cares about bare URNs asks
    :meth:`ResourceModel.schema_of` first.
    """
    match = _PATH.fullmatch(text)
    if match is None:
        return None
    urn, name, sub = match.groups()
    return AttributePath(urn, name, sub)

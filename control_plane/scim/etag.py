"""Entity tags of resources: If-Match and If-None-Match (RFC 7644 section 3.14, RFC 9110 section 13.1).

Tags are compared weakly, in If-Match too: RFC 7644's own examples send the weak ``meta.version`` there.
"""

import re

from control_plane.scim.errors import PreconditionFailed

_TAG = re.compile(r'(?:W/)?"([^"]*)"')


def version_tag(version: int) -> str:
    """Return the weak entity tag of a version: the same text in ETag, in meta.version and in a BulkResponse."""
    return f'W/"{version}"'


def check(version: int, if_match: str, if_none_match: str) -> None:
    """Raise PreconditionFailed unless a write of the resource at ``version`` may go on.

    Both are header values; empty is no precondition. ``if_match`` must name the version in its list of tags, or be
    ``*``; ``if_none_match`` must not.
    """
    if if_match.strip() and not _names(if_match, version):
        raise PreconditionFailed(f"the resource is at version {version_tag(version)}, not at {if_match.strip()[:200]}")
    if _names(if_none_match, version):
        raise PreconditionFailed(f"the resource is at version {version_tag(version)}, which If-None-Match excludes")


def is_current(if_none_match: str, version: int) -> bool:
    """Whether a read can be answered by 304: the client has ``version`` already."""
    return _names(if_none_match, version)


def _names(header: str, version: int) -> bool:
    """Whether a list of tags names ``version``, or has a ``*``. A malformed list names nothing."""
    tags = _TAG.findall(header)
    others = {item.strip() for item in _TAG.sub("", header).split(",")} - {""}
    return others <= {"*"} and (bool(others) or str(version) in tags)

"""Entity tags of resources, and If-Match (RFC 7644 section 3.14, RFC 9110 section 13.1.1)."""

import re

from control_plane.scim.errors import PreconditionFailed

_TAG = re.compile(r'(?:W/)?"([^"]*)"')


def require_match(if_match: str, version: int) -> None:
    """Raise PreconditionFailed unless ``if_match`` is empty, ``*``, or names ``version`` in its list of tags.

    Tags are compared weakly: RFC 7644's own examples send the weak ``meta.version`` in If-Match.
    """
    given = if_match.strip()
    if not given or given == "*":
        return
    if str(version) not in _TAG.findall(given):
        raise PreconditionFailed(f'the resource is at version W/"{version}", not at {given}')

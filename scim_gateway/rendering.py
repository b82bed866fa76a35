"""From the wire's resource to SCIM JSON, by splicing bytes: nothing is parsed here.

What a request selects (``attributes``, ``excludedAttributes``), or what a tenant's schemas hide, is the control plane's
matter: then it sends the whole representation. A group too large to carry its members inside is rendered as two halves,
between which its members are streamed.
"""

import time
from dataclasses import dataclass

import orjson
from google.protobuf.timestamp_pb2 import Timestamp

from protos.directory.v1.directory_pb2 import Resource
from scim_gateway.kinds import KIND_OF, location

MEMBERS_START = b',"members":['


@dataclass(frozen=True, slots=True)
class Rendered:
    """A resource in JSON: ``head + tail``, or, if ``members_of`` is set, with that group's members between them."""

    head: bytes
    tail: bytes = b""
    members_of: str = ""

    def without_members(self) -> bytes:
        """Return the resource without the members that would be streamed."""
        return self.head.removesuffix(MEMBERS_START) + b"}"


def render(resource: Resource, base: str) -> Rendered:
    """Return ``resource`` in JSON; ``base`` is the absolute URL before "/Users"."""
    text = resource.selected.rstrip() or _spliced(resource, base)
    if is_inline(resource):
        return Rendered(text.encode())
    # The last "}" makes room for what is streamed.
    return Rendered(text[:-1].encode() + MEMBERS_START, b"]}", resource.id)


def is_inline(resource: Resource) -> bool:
    """Whether the resource carries all its members, or none were wanted."""
    return bool(resource.members) or resource.member_count == 0


def timestamp(moment: Timestamp) -> str:
    """Return RFC 3339 in UTC with milliseconds."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(moment.seconds))}.{moment.nanos // 1_000_000:03d}Z"


def _spliced(resource: Resource, base: str) -> str:
    """Return what the document lacks, and then the document."""
    members = f',"members":{resource.members}' if resource.members else ""
    groups = f',"groups":{resource.groups}' if resource.groups else ""
    return (
        f'{{"id":"{resource.id}","meta":{{"resourceType":"{KIND_OF[resource.type].name}"'
        f',"created":"{timestamp(resource.create_time)}","lastModified":"{timestamp(resource.update_time)}"'
        f',"location":{_quoted(location(base, resource.type, resource.id))},"version":"W/\\"{resource.version}\\""}}'
        f"{members}{groups}{_continued(resource.document)}"
    )


def _continued(document: str) -> str:
    """Return a JSON object's text as the continuation of an object already begun."""
    inside = document.strip()[1:]
    return inside if inside.strip() == "}" else "," + inside


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()

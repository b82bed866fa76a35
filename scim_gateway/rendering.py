"""From the wire's resource to SCIM JSON, by splicing bytes: the document passes through unparsed.

Only a request that selects attributes has its resources parsed. A group too large to carry its members inline is
rendered as two halves, between which its members are streamed.
"""

import time
from dataclasses import dataclass

import orjson
from google.protobuf.timestamp_pb2 import Timestamp

from control_plane.scim.projection import compile_projection, wants_members
from control_plane.scim.registry import default_registry
from protos.directory.v1.directory_pb2 import Resource
from scim_gateway.kinds import Kind
from scim_gateway.requests import Selection

_REGISTRY = default_registry()


@dataclass(frozen=True, slots=True)
class Rendered:
    """A resource in JSON: ``head + tail``, or, if ``members_of`` is set, with that group's members between them."""

    head: bytes
    tail: bytes = b""
    members_of: str = ""


class Renderer:
    """Renders resources of one type for one request."""

    def __init__(self, kind: Kind, base: str, selection: Selection) -> None:
        self._kind, self._base, self._selection = kind, base, selection
        attributes, excluded = selection.attributes, selection.excluded
        self._projection = compile_projection(kind.name, attributes, excluded, _REGISTRY)
        self.wants_members = kind.has_members and wants_members(attributes, excluded)

    def location(self, resource: Resource) -> str:
        """Return the resource's absolute URL: the same text in Location and in meta.location."""
        return f"{self._base}/{self._kind.endpoint}/{resource.id}"

    def is_inline(self, resource: Resource) -> bool:
        """Whether the resource carries all its members."""
        return bool(resource.members) or resource.member_count == 0

    def render(self, resource: Resource) -> Rendered:
        """Return ``resource`` in JSON."""
        members = resource.members if self.wants_members else ""
        is_streamed = self.wants_members and not self.is_inline(resource)
        if self._selection:
            rendered = self._select(resource, members)
        else:
            member_part = f',"members":{members}' if members else ""
            rendered = (self._envelope(resource) + member_part + _continued(resource.document)).encode()
        if is_streamed:
            return Rendered(rendered[:-1] + b',"members":[', b"]}", resource.id)
        return Rendered(rendered)

    def members(self, piece: str) -> bytes:
        """Return one piece of streamed members, comma-separated objects, with the attributes asked for."""
        if not self._selection or not piece:
            return piece.encode()
        chosen = self._projection.apply({"members": orjson.loads(f"[{piece}]")}).get("members", [])
        return orjson.dumps(chosen)[1:-1]

    def _envelope(self, resource: Resource) -> str:
        """Return the opening brace and what the document lacks, without the closing brace."""
        return (
            f'{{"id":"{resource.id}","meta":{{"resourceType":"{self._kind.name}"'
            f',"created":"{timestamp(resource.create_time)}","lastModified":"{timestamp(resource.update_time)}"'
            f',"location":{_quoted(self.location(resource))},"version":"W/\\"{resource.version}\\""}}'
        )

    def _select(self, resource: Resource, members: str) -> bytes:
        body = orjson.loads(self._envelope(resource) + _continued(resource.document))
        if members:
            body["members"] = orjson.loads(members)
        return orjson.dumps(self._projection.apply(body))


def timestamp(moment: Timestamp) -> str:
    """Return RFC 3339 in UTC with milliseconds."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(moment.seconds))}.{moment.nanos // 1_000_000:03d}Z"


def _continued(document: str) -> str:
    """Return a JSON object's text as the continuation of an object already begun."""
    inside = document.strip()[1:]
    return inside if inside.strip() == "}" else "," + inside


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()

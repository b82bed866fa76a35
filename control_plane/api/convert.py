"""Domain <-> protobuf, at the door: the rules never see a ``_pb2``."""

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from control_plane.domain import targets as target_domain
from control_plane.domain.errors import InvalidArgument
from control_plane.domain.ids import TenantId, parse_id
from control_plane.domain.resources import ResourceType, StoredResource
from control_plane.services.bulk import BulkResult
from protos.directory.v1 import directory_pb2
from protos.tenancy.v1 import tenancy_pb2

MIN_SECONDS, MAX_SECONDS = 0, int(datetime(9998, 12, 31, tzinfo=UTC).timestamp())


def tenant_id(text: str) -> TenantId:
    """Return a tenant's id; NotFound for what is none."""
    return TenantId(parse_id(text, "tenant"))


def timestamp(at: datetime | None) -> Timestamp | None:
    """Return ``at`` on the wire; absent stays absent."""
    if at is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp


def moment(stamp: Timestamp, field: str) -> datetime:
    """Return a wire timestamp as an aware datetime; InvalidArgument outside the years that databases agree on."""
    if not MIN_SECONDS <= stamp.seconds <= MAX_SECONDS:
        raise InvalidArgument(field, "must lie between the years 1970 and 9998")
    return stamp.ToDatetime(tzinfo=UTC)


def span(duration: Duration) -> timedelta:
    """Return a wire duration."""
    return duration.ToTimedelta()


def duration(seconds: float) -> Duration:
    """Return ``seconds`` on the wire."""
    wire = Duration()
    wire.FromTimedelta(timedelta(seconds=seconds))
    return wire


def target(one: target_domain.Target) -> tenancy_pb2.Target:
    """Return a target on the wire, without its secret."""
    return tenancy_pb2.Target(
        id=str(one.id),
        tenant_id=str(one.tenant),
        display_name=one.display_name,
        kind=tenancy_pb2.TargetKind.ValueType(one.kind),
        state=tenancy_pb2.TargetState.ValueType(one.state),
        scim=tenancy_pb2.ScimTargetConfig(base_url=one.base_url),
        create_time=timestamp(one.created_at),
        update_time=timestamp(one.updated_at),
    )


def resource(one: StoredResource) -> directory_pb2.Resource:
    """Return a resource on the wire; its document passes through untouched."""
    wire = directory_pb2.Resource(
        id=str(one.id),
        type=directory_pb2.ResourceType.ValueType(one.type),
        version=one.version,
        user_name=one.user_name or "",
        external_id=one.external_id or "",
        display_name=one.display_name or "",
        create_time=timestamp(one.created_at),
        update_time=timestamp(one.updated_at),
        document=one.document,
        members=one.members,
        member_count=one.member_count,
        groups=one.groups,
        selected=one.selected,
    )
    if one.active is not None:
        wire.active = one.active
    return wire


def resource_type(wire: directory_pb2.ResourceType.ValueType) -> ResourceType:
    """Return the resource type; the contract's rules have refused anything else."""
    return ResourceType(wire)


def bulk_result(one: BulkResult) -> directory_pb2.BulkResult:
    """Return what became of one bulk operation on the wire."""
    return directory_pb2.BulkResult(
        method=one.method,
        bulk_id=one.bulk_id,
        type=directory_pb2.ResourceType.ValueType(one.type or 0),
        id=one.id,
        version=one.version,
        status=one.status,
        scim_type=one.scim_type,
        detail=one.detail,
    )

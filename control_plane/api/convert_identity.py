"""Operators and API keys <-> protobuf."""

import re
from uuid import UUID

from control_plane.api.convert import span, timestamp
from control_plane.domain.api_keys import ApiKey
from control_plane.domain.errors import InvalidArgument
from control_plane.domain.ids import OperatorId, TenantId, parse_id
from control_plane.domain.operators import OidcSubject, Operator, OperatorRole
from control_plane.services.api_keys import Wanted
from control_plane.services.operators import OperatorChange
from protos.identity.v1 import identity_pb2 as pb

MASK_FIELDS = ("email", "display_name", "role", "disabled", "oidc")
# CreateOperator's rule, for UpdateOperator, whose message may leave the address out.
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


def operator(one: Operator) -> pb.Operator:
    """Return an operator on the wire."""
    return pb.Operator(
        id=str(one.id),
        email=one.email,
        display_name=one.display_name,
        role=pb.OperatorRole.ValueType(one.role),
        create_time=timestamp(one.created_at),
        disable_time=timestamp(one.disabled_at),
        disabled=one.disabled_at is not None,
        oidc=pb.OidcSubject(issuer=one.oidc.issuer, subject=one.oidc.subject) if one.oidc else None,
    )


def operator_id(text: str) -> OperatorId:
    """Return an operator's id; NotFound for what is none."""
    return OperatorId(parse_id(text, "operator"))


def oidc_subject(wire: pb.Operator | pb.CreateOperatorRequest) -> OidcSubject | None:
    """Return the subject, None if it is absent."""
    return OidcSubject(wire.oidc.issuer, wire.oidc.subject) if wire.HasField("oidc") else None


def operator_change(request: pb.UpdateOperatorRequest) -> OperatorChange:
    """Return what the mask names, as AIP-134 reads it: a named field that is absent is cleared."""
    paths, wanted = set(request.update_mask.paths), request.operator
    if not paths or not paths <= set(MASK_FIELDS):
        raise InvalidArgument("update_mask", f"names one or more of {', '.join(MASK_FIELDS)}")
    if "email" in paths and _EMAIL.fullmatch(wanted.email) is None:
        raise InvalidArgument("operator.email", "is not an e-mail address")
    if "role" in paths and not wanted.role:
        raise InvalidArgument("operator.role", "is owner, operator or auditor")
    return OperatorChange(
        email=wanted.email if "email" in paths else None,
        display_name=wanted.display_name if "display_name" in paths else None,
        role=OperatorRole(wanted.role) if "role" in paths else None,
        disabled=wanted.disabled if "disabled" in paths else None,
        sets_oidc="oidc" in paths,
        oidc=oidc_subject(wanted),
    )


def api_key(one: ApiKey) -> pb.ApiKey:
    """Return a key on the wire: everything but its hash."""
    wire = pb.ApiKey(
        id=str(one.id),
        key_id=one.key_id,
        label=one.label,
        scopes=one.scopes,
        tenant_ids=[str(each) for each in one.tenants],
        allowed_networks=one.allowed_networks,
        create_time=timestamp(one.created_at),
        expire_time=timestamp(one.expires_at),
        revoke_time=timestamp(one.revoked_at),
        last_use_time=timestamp(one.last_used_at),
        last_use_address=one.last_used_address,
        creator=one.created_by,
    )
    if one.service is not None:
        wire.service = one.service
    else:
        wire.operator_id = str(one.operator)
    return wire


def wanted_key(request: pb.CreateApiKeyRequest) -> Wanted:
    """Return what a key shall be; the contract's rules have seen to it that ids are ids and an owner is there."""
    return Wanted(
        operator=operator_id(request.operator_id) if request.HasField("operator_id") else None,
        service=request.service if request.HasField("service") else None,
        label=request.label,
        scopes=tuple(request.scopes),
        tenants=tuple(TenantId(UUID(each)) for each in request.tenant_ids),
        networks=tuple(request.allowed_networks),
        ttl=span(request.ttl) if request.HasField("ttl") else None,
        never_expires=request.never_expires,
    )

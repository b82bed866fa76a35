"""The servicers with the use cases behind them, and the duties that run beside them."""

from collections.abc import Awaitable, Callable, Mapping

from control_plane.api.api_keys import ApiKeyServicer
from control_plane.api.audit import AuditServicer
from control_plane.api.audit_trail import TrailUses
from control_plane.api.directory import DirectoryServicer
from control_plane.api.keys import KeyServicer
from control_plane.api.leases import LeaseServicer
from control_plane.api.operators import OperatorServicer
from control_plane.api.policy import SCOPES
from control_plane.api.schemas import SchemaServicer
from control_plane.api.server import Servicers
from control_plane.api.targets import TargetServicer
from control_plane.api.tenants import TenantServicer
from control_plane.api.tokens import TokenServicer
from control_plane.app.foundation import Foundation
from control_plane.domain.cursors import Cursors
from control_plane.outgoing.guard import Guard
from control_plane.runtime.settings import SettingsError
from control_plane.services.api_keys import ApiKeyService
from control_plane.services.audit import AuditService
from control_plane.services.audit_expiry import AuditExpiry
from control_plane.services.audit_export import AuditExporter
from control_plane.services.audit_sealer import AuditSealer
from control_plane.services.audit_verify import AuditVerifier
from control_plane.services.bulk import BulkService
from control_plane.services.directory import DirectoryService
from control_plane.services.grants import Grants
from control_plane.services.keys import KeyService
from control_plane.services.operators import OperatorService
from control_plane.services.permits import PermitService
from control_plane.services.purge import Purge
from control_plane.services.queries import QueryService
from control_plane.services.reach import Reach
from control_plane.services.schemas import SchemaService
from control_plane.services.targets import TargetService
from control_plane.services.tenants import TenantService
from control_plane.services.token_checks import TokenChecks
from control_plane.services.token_expiry import TokenExpiry
from control_plane.services.token_reports import TokenReports
from control_plane.services.tokens import TokenService
from control_plane.services.writes import Writer

# One connection in so many may be held by a stream of a group's members.
STREAMS_SHARE = 4
# And one in so many by lists that no prepared statement answers.
WALKS_SHARE = 2


def servicers(f: Foundation) -> Servicers:
    """Return every servicer. SettingsError for allowed networks that are none."""
    operators = OperatorService(f.storage, f.clock, f.trail, has_admin_token=bool(f.settings.admin_token))
    api_keys = ApiKeyService(f.storage, f.clock, f.kdf, SCOPES, iterations=f.settings.token_iterations)
    return Servicers(
        tenants=TenantServicer(
            TenantService(f.storage, f.clock, f.rules, f.relay),
            PermitService(f.storage, f.rates, f.clock, f.limits),
            f.pages,
            f.limits,
        ),
        tokens=_tokens(f),
        targets=TargetServicer(
            TargetService(f.storage, f.clock, f.keys.keyring, f.relay, Reach(_guard(f.settings.allowed_networks))),
            f.pages,
        ),
        directory=_directory(f),
        schemas=SchemaServicer(SchemaService(f.storage, f.clock, f.rules)),
        audit=_audit(f),
        operators=OperatorServicer(operators, f.pages),
        api_keys=ApiKeyServicer(api_keys, f.pages),
        keys=KeyServicer(KeyService(f.storage, f.clock, f.keys.keyring)),
        leases=LeaseServicer(f.engine, Grants(*f.keys.grants)),
    )


def duties(f: Foundation) -> Mapping[str, Callable[[], Awaitable[None]]]:
    """Return the duties, by name, besides those of the queue."""
    return {
        "token watch": f.watch.run,
        "token expiry": TokenExpiry(f.storage, f.clock, f.metrics).run,
        "rules watch": f.rules.run,
        "purge": Purge(f.storage, f.clock).run,
        "read counts": f.reads.run,
        "refusal counts": f.refusals.run,
        "audit sealer": AuditSealer(f.storage, f.metrics, f.clock).run,
        "audit checkpoints": f.checkpoints.run,
        "audit tail": f.tail.run,
        "audit expiry": AuditExpiry(f.storage, f.checkpoints, f.clock).run,
    }


def _tokens(f: Foundation) -> TokenServicer:
    settings = f.settings
    issuing = TokenService(
        f.storage, f.clock, f.kdf, env=settings.token_env, iterations=settings.token_iterations, limits=f.limits
    )
    checking = TokenChecks(f.storage, f.clock, f.kdf, iterations=settings.token_iterations, limits=f.limits)
    return TokenServicer(issuing, checking, TokenReports(f.storage, f.clock), f.watch, f.pages)


def _directory(f: Foundation) -> DirectoryServicer:
    settings, writer = f.settings, Writer(f.clock, f.trail)
    streams = max(1, settings.postgres_pool_size // STREAMS_SHARE)
    queries = QueryService(
        f.storage,
        f.clock,
        f.rules,
        Cursors(*f.keys.cursors),
        timeout_s=settings.filter_timeout_s,
        walks=max(1, settings.postgres_pool_size // WALKS_SHARE),
    )
    return DirectoryServicer(
        DirectoryService(f.storage, writer, f.relay, f.rules, streams=streams),
        queries,
        BulkService(f.storage, f.clock, writer, f.relay, f.rules, f.refusals),
    )


def _audit(f: Foundation) -> AuditServicer:
    reading = AuditService(f.storage, f.trail, f.clock, f.settings.filter_timeout_s)
    exporter = AuditExporter(f.storage, f.trail, f.clock)
    verifier = AuditVerifier(f.storage, f.checkpoints, f.metrics, f.clock)
    return AuditServicer(reading, TrailUses(f.tail, exporter, verifier, f.checkpoints), f.pages)


def _guard(allowed_networks: str) -> Guard:
    try:
        return Guard.parse(allowed_networks)
    except ValueError as err:
        raise SettingsError(f"MUSTER_ALLOWED_NETWORKS: {err}") from err

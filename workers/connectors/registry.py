"""Which connector speaks to which kind of target: an explicit list, no discovery."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from control_plane.outgoing.guard import Guard
from control_plane.runtime.clock import Clock
from workers.connectors.base import Connector
from workers.connectors.scim import ScimConnector
from workers.connectors.scim_http import ScimClient
from workers.messages import Target, TargetKind


@dataclass(frozen=True, slots=True)
class ConnectorContext:
    """What every connector may use."""

    clock: Clock
    observe: Callable[[str, str, float], None]  # kind of target, code, seconds: once for each request
    guard: Guard  # every connection to a target goes through it: its address is the tenant's choice


Factory = Callable[[Target, ConnectorContext], Connector]


def scim(target: Target, context: ConnectorContext) -> Connector:
    """Return a connector, not yet open, for a SCIM 2.0 target."""
    return ScimConnector(
        ScimClient(
            target.config, context.clock, lambda code, seconds: context.observe("scim", code, seconds), context.guard
        )
    )


CONNECTORS: Mapping[TargetKind, Factory] = MappingProxyType({TargetKind.SCIM: scim})

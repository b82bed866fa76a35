"""Who may call, as the settings say: fixed tokens, API keys, an OIDC provider."""

from control_plane.domain.identities import Role
from control_plane.outgoing.jwks import JwksFetcher
from control_plane.runtime.clock import Clock
from control_plane.runtime.settings import SettingsError
from control_plane.services.authentication import Authenticator, FixedTokens
from control_plane.services.kdf import Kdf
from control_plane.services.key_checks import ApiKeyChecks
from control_plane.services.oidc import OidcVerifier, ProviderKeys
from control_plane.settings import ControlPlaneSettings
from control_plane.storage.engine import Storage


def authenticator(settings: ControlPlaneSettings, storage: Storage, clock: Clock, kdf: Kdf) -> Authenticator:
    """Return what knows callers; SettingsError if a token or the OIDC provider cannot be used."""
    fixed = FixedTokens(
        {Role.OWNER: settings.admin_token, Role.GATEWAY: settings.gateway_token, Role.WORKER: settings.worker_token}
    )
    return Authenticator(storage, fixed, ApiKeyChecks(storage, clock, kdf), _oidc(settings, clock))


def _oidc(settings: ControlPlaneSettings, clock: Clock) -> OidcVerifier | None:
    if not settings.oidc_issuer:
        return None
    if not settings.oidc_audience:
        raise SettingsError("MUSTER_OIDC_AUDIENCE must be set, or tokens made for other applications would do")
    try:
        fetcher = JwksFetcher(settings.oidc_issuer)
    except ValueError as err:
        raise SettingsError(f"MUSTER_OIDC_ISSUER: {err}") from err
    return OidcVerifier(settings.oidc_issuer, settings.oidc_audience, ProviderKeys(fetcher, clock), clock)

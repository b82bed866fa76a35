"""All keys of a process, from its sealing keys: one of its own for each use."""

import base64
import binascii
import hashlib
from dataclasses import dataclass, field

from control_plane.domain.secrets import KEY_BYTES, FormerKey
from control_plane.runtime.clock import Clock
from control_plane.runtime.settings import SettingsError
from control_plane.services.keyring import FileKeyProvider, Keyring
from control_plane.settings import ControlPlaneSettings


@dataclass(frozen=True, slots=True)
class Keys:
    """What the sealing keys serve for. Of several the first makes, the others only read: they are former ones."""

    keyring: Keyring
    pages: tuple[bytes, ...] = field(repr=False)
    cursors: tuple[bytes, ...] = field(repr=False)
    grants: tuple[bytes, ...] = field(repr=False)


def keys_of(settings: ControlPlaneSettings, clock: Clock) -> Keys:
    """Return all keys; SettingsError if a sealing key is none."""
    retired = [one.strip() for one in settings.sealing_keys_retired.split(",") if one.strip()]
    keys = [_key("MUSTER_SEALING_KEY", settings.sealing_key)]
    keys += [_key("MUSTER_SEALING_KEYS_RETIRED", one) for one in retired]
    pages, cursors, grants = (
        tuple(hashlib.sha256(use + key).digest() for key in keys)
        for use in (b"page tokens", b"scim cursors", b"lease grants")
    )
    return Keys(Keyring(FileKeyProvider(keys, clock), clock, [FormerKey(key) for key in keys]), pages, cursors, grants)


def _key(setting: str, encoded: str) -> bytes:
    try:
        key = base64.b64decode(encoded, validate=True)
    except binascii.Error as err:
        raise SettingsError(f"{setting} must be the base64 of 32 bytes") from err
    if len(key) != KEY_BYTES:
        raise SettingsError(f"{setting} must be the base64 of 32 bytes")
    return key

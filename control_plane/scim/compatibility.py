"""The few points where identity providers and RFC 7644 really conflict, as switches of a tenant, and their presets.

Everything else is tolerant for everybody (``quirks.py``): a switch is for what cannot be read in two ways at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Compatibility:
    """All switches, as they are in force for a tenant; the defaults are the generic preset."""

    # PATCH replace through a value path that selects nothing: RFC 7644 section 3.5.2.3 says noTarget, Entra expects
    # the element to be created (AzureAD provisioning sends ``replace emails[type eq "work"].value`` for a first value).
    replace_creates: bool = False
    # PUT without "active" (RFC 7644 section 3.5.1: omitted values MAY be cleared, or assigned the default).
    put_keeps_active: bool = True
    # PUT of a group without "members"; the RFC's reading is to clear them.
    put_keeps_members: bool = False
    # The RFC allows two groups of one displayName; Entra and OneLogin match groups by it.
    unique_group_names: bool = True
    # A member id that nobody has: skipped and audited, or 400 invalidValue naming the ids.
    reject_unknown_members: bool = False
    # An attribute of a body that no schema has: ignored and audited, or 400 invalidSyntax naming it.
    strict_attributes: bool = False


SWITCHES: tuple[str, ...] = tuple(Compatibility.__dataclass_fields__)
GENERIC = Compatibility()
# By the name of the identity provider. Only what scim.md names as a real conflict differs from generic.
PRESETS: Mapping[str, Compatibility] = {
    "generic": GENERIC,
    "okta": GENERIC,
    "entra": replace(GENERIC, replace_creates=True),
    "onelogin": GENERIC,
    "ping": GENERIC,
    "google": GENERIC,
    "jumpcloud": GENERIC,
    "rippling": GENERIC,
}


def effective(identity_provider: str, overrides: Mapping[str, bool]) -> Compatibility:
    """Return the preset of ``identity_provider`` with ``overrides`` by switch name; unknown names are ignored.

    They are what a newer version of Muster stored.
    """
    preset = PRESETS.get(identity_provider, GENERIC)
    return replace(preset, **{name: value for name, value in overrides.items() if name in SWITCHES})

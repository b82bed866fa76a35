"""What vendors send beside the RFC and we accept, each with its source.

None of this is a switch: each reading is unambiguous, so it cannot change what a correct client means.
(Threads are on GitHub as owner/name#number.)
"""

from collections.abc import Mapping

from control_plane.scim.schema import Attribute

# OneLogin's template has the draft's URNs in "schemas" (goauthentik/authentik#11249), SCIM 1.1 installations the 1.0
# ones. They stand for the core schema of whichever endpoint they are sent to.
CORE_URN_ALIASES = ("urn:scim:schemas:core:2.0", "urn:scim:schemas:core:1.0")

# The same for the extension; the last is a typing error in Entra's own documentation that people copy.
EXTENSION_URN_ALIASES: Mapping[str, str] = {
    "urn:scim:schemas:extension:enterprise:2.0": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
    "urn:scim:schemas:extension:enterprise:1.0": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0User": (
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
    ),
}


def operation_name(op: str) -> str:
    """Return ``op`` as the RFC spells it: Entra sends "Add", "Replace", "Remove" (ssoready/ssoready#159)."""
    return op.lower()


def boolean(value: object) -> bool | None:
    """Return the boolean that ``value`` is or spells, else None.

    Entra sends ``"active": "False"`` unless its ``aadOptscim062020`` flag is set (scimmyjs/scimmy#51,
    AzureAD/SCIMReferenceCode#21).
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())
    return None


def complex_value(attribute: Attribute, value: object) -> object:
    """Return ``value`` as the object that a complex attribute with a ``value`` sub-attribute wants.

    Entra sends ``manager`` as the bare id (apache/directory-scimple#1242, pond/scimitar#48), others as a list of one
    (SCIM-SDK's ComplexSimpleValue work-around), Microsoft's own test collection members as bare strings.
    The empty string names nobody, which is "unassigned".
    """
    if "value" not in attribute.subs:
        return value
    if isinstance(value, list) and len(value) == 1 and not attribute.multi_valued:
        value = value[0]
    if isinstance(value, str):
        return {"value": value} if value else None
    return value


def lists_elements(value: object) -> bool:
    """Whether a ``remove`` with this ``value`` names the elements to remove, instead of removing all.

    Entra and JumpCloud remove members by a value array, without a filter (Captain-P-Goldfish/SCIM-SDK#149,
    pond/scimitar#43). .NET serializers write an absent value as null, so null is no list; an empty list is one,
    of nothing: it must never be read as "everybody".
    """
    return value is not None


def single(value: object) -> object:
    """Return the one element that a list of one holds, else ``value``: for a path that selects elements.

    The RFC's value there is an object (section 3.5.2.3); serializers that know only lists for multi-valued attributes
    send a list of it, as Entra does for ``manager`` (Captain-P-Goldfish/SCIM-SDK, ComplexSimpleValue).
    """
    return value[0] if isinstance(value, list) and len(value) == 1 else value

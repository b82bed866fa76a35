"""Which values of a document are looked up by equality and are no column, and under which keys they are stored.

An attribute of the table ``attribute_values`` is named "emails.value", or by its URN: "<urn>:manager.value",
"<urn>:<name>". A key is what equal values have in common: two values are equal if and only if their keys are.
"""

from control_plane.scim.compare import fold, number
from control_plane.scim.core_schemas import ENTERPRISE_URN
from control_plane.scim.errors import InvalidValue
from control_plane.scim.registry import ResourceModel, Target
from control_plane.scim.schema import Attribute, Document, Uniqueness

# In UTF-8: what an index can hold, with room for the tenant beside it. Nobody looks for an address of this length.
MAX_KEY_BYTES = 1024
# These have columns and indexes of their own.
COLUMNS = ("userName", "externalId", "displayName")
EMAILS, MANAGER, VALUE = "emails", "manager", "value"
EMAIL = f"{EMAILS}.{VALUE}"
MANAGER_ID = f"{ENTERPRISE_URN}:{MANAGER}.{VALUE}"


def keyed_values(model: ResourceModel, document: Document) -> tuple[tuple[str, str], ...]:
    """Return the (attribute, key) pairs of ``document``, sorted, each once. Values with too long a key are left out.

    InvalidValue if the attribute of such a value must be unique, or is one of ``COLUMNS``.
    """
    check_columns(document)
    found = set(unique_keys(model, document))
    elements = document.get(EMAILS)
    if elements:
        attribute = model.attributes[EMAILS].subs[VALUE]
        keys = [value_key(attribute, element.get(VALUE)) for element in elements]
        found.update((EMAIL, key) for key in keys if key is not None)
    manager = document.get(ENTERPRISE_URN, {}).get(MANAGER)
    if manager:
        attribute = model.extension_attributes[ENTERPRISE_URN][MANAGER].subs[VALUE]
        key = value_key(attribute, manager.get(VALUE))
        if key is not None:
            found.add((MANAGER_ID, key))
    return tuple(sorted(found))


def unique_keys(model: ResourceModel, document: Document) -> tuple[tuple[str, str], ...]:
    """Return the pairs that no other resource of the tenant may have: of what its extensions declare unique.

    InvalidValue if one of these values is too long.
    """
    found = []
    for urn, attribute in model.unique:
        value = document.get(urn, {}).get(attribute.name)
        if value is None:
            continue
        key = value_key(attribute, value)
        if key is None:
            raise InvalidValue(f"{urn}:{attribute.name} is unique and must have at most {MAX_KEY_BYTES} bytes")
        found.append((f"{urn}:{attribute.name}", key))
    return tuple(sorted(found))


def check_columns(document: Document) -> None:
    """Raise InvalidValue for a value of ``COLUMNS`` that no index could hold: it could not be found again."""
    for name in COLUMNS:
        value = document.get(name)
        if value is not None and max(len(value.encode()), len(fold(value).encode())) > MAX_KEY_BYTES:
            raise InvalidValue(f"{name} is longer than {MAX_KEY_BYTES} bytes")


def keyed_attribute(target: Target) -> str | None:
    """Return the name under which the values that ``target`` leads to are stored, or None if they are not.

    A complex attribute stands for its "value", as in filters: ``emails eq``, ``manager eq``.
    """
    sub = target.sub.name if target.sub is not None else None
    if target.extension is None:
        return EMAIL if target.attribute.name == EMAILS and sub in (None, VALUE) else None
    if target.extension == ENTERPRISE_URN:
        return MANAGER_ID if target.attribute.name == MANAGER and sub in (None, VALUE) else None
    if sub is None and target.attribute.uniqueness is Uniqueness.SERVER:
        return f"{target.extension}:{target.attribute.name}"
    return None


def value_key(attribute: Attribute, value: object) -> str | None:
    """Return the key of a value of ``attribute``, stored or from a filter; None if it has none or too long a one."""
    match value:
        case bool():
            return None
        case int():
            return str(value)
        case float():
            # A filter may spell an integer as 5.0 or 5e3; any other fraction equals no integer.
            exact = number(value)
            return str(int(exact)) if exact == exact.to_integral_value() else None
        case str():
            key = value if attribute.case_exact else fold(value)
            return key if len(key.encode()) <= MAX_KEY_BYTES else None
        case _:
            return None

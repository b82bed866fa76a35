"""PUT (RFC 7644 section 3.5.1): what becomes of the stored document."""

from typing import Any

from control_plane.scim.registry import Keys
from control_plane.scim.rules import ScimRules
from control_plane.scim.schema import Document
from control_plane.scim.validate import Normalised, check_immutable, require_attributes, value_at


def replace(resource_type_name: str, stored_document: Document, body: Normalised, rules: ScimRules) -> Document:
    """Return the document after a PUT of ``body``: what it omits is cleared (RFC: "MAY"), with two exceptions.

    ``active`` keeps its stored value (or stays unassigned) if the tenant's ``put_keeps_active`` is on: a PUT of a
    profile by a client that does not know the attribute must not bring a deactivated user back. An immutable attribute
    keeps its value always, and Mutability is raised for another one. InvalidValue if what is kept leaves its extension
    without what that requires.
    """
    model = rules.registry.model(resource_type_name)
    document = dict(body.document)
    if rules.compatibility.put_keeps_active:
        for name in body.defaulted:
            del document[name]
            document |= {name: stored_document[name]} if name in stored_document else {}
    for keys in model.immutable:
        stored = value_at(stored_document, keys)
        if stored is not None and value_at(document, keys) is None:
            _put_at(document, keys, stored)
    check_immutable(model, stored_document, document)
    require_attributes(model, document)
    document["schemas"] = model.schemas_in(document)
    return document


def _put_at(document: Document, keys: Keys, value: Any) -> None:
    """Set what ``keys`` lead to; the objects on the way are copied, since ``body`` has them too."""
    holder = document
    for key in keys[:-1]:
        holder[key] = dict(holder.get(key, {}))
        holder = holder[key]
    holder[keys[-1]] = value

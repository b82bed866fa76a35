"""PUT (RFC 7644 section 3.5.1): what becomes of the stored document."""

from control_plane.scim.errors import Mutability
from control_plane.scim.registry import SchemaRegistry
from control_plane.scim.schema import Document
from control_plane.scim.schema import Mutability as Kind
from control_plane.scim.validate import Normalised


def replace(resource_type_name: str, stored_document: Document, body: Normalised, registry: SchemaRegistry) -> Document:
    """Return the document after a PUT of ``body``: what it omits is cleared (RFC: "MAY"), with two exceptions.

    ``active`` keeps its stored value: a PUT of a profile by a client that does not know the attribute must not bring a
    deactivated user back. An immutable attribute keeps its value too, and Mutability is raised for another one.
    """
    document = dict(body.document)
    for name in body.defaulted:
        if name in stored_document:
            document[name] = stored_document[name]
    for attribute in registry.model(resource_type_name).core.attributes:
        if attribute.mutability is Kind.IMMUTABLE and attribute.name in stored_document:
            stored = stored_document[attribute.name]
            if document.setdefault(attribute.name, stored) != stored:
                raise Mutability(f"{attribute.name} cannot be changed once it is set")
    return document

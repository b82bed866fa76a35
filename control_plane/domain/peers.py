"""Whom the other end's certificate names: spiffe://<trust domain>/gateway/<id>, .../worker/<id> or .../admin/<name>."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from cryptography import x509

# What gRPC tells of a connection. The SPIFFE id is absent unless the certificate has exactly one URI, which is one.
CERTIFICATE, SPIFFE_ID = "x509_pem_cert", "peer_spiffe_id"
_PATH = re.compile(r"/(gateway|worker|admin)/([A-Za-z0-9._-]{1,100})")


class PeerKind(Enum):
    """What a certificate was made for. None can stand for another."""

    GATEWAY = "gateway"
    WORKER = "worker"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Peer:
    """The owner of a certificate."""

    kind: PeerKind
    name: str
    spiffe_id: str


class UnknownPeer(Exception):
    """The certificate is valid, and names nobody that Muster knows: another trust domain, or none of the paths."""


def peer_of(auth_context: Mapping[str, Iterable[bytes]], trust_domain: str) -> Peer | None:
    """Return whose certificate the connection was made with; None if it was made without one.

    ``auth_context`` is what gRPC says of the connection.
    """
    if not list(auth_context.get(CERTIFICATE, ())) and not list(auth_context.get(SPIFFE_ID, ())):
        return None
    match list(auth_context.get(SPIFFE_ID, ())):
        case [one]:
            spiffe_id = one.decode(errors="replace")
        case _:
            raise UnknownPeer
    # gRPC reads a name up to its first NUL, so that "worker/one\0.example" would be worker/one.
    if any(_uris(pem) != (spiffe_id,) for pem in auth_context.get(CERTIFICATE, ())):
        raise UnknownPeer
    prefix = f"spiffe://{trust_domain}"
    found = _PATH.fullmatch(spiffe_id.removeprefix(prefix)) if spiffe_id.startswith(prefix) else None
    if found is None:
        raise UnknownPeer
    return Peer(PeerKind(found[1]), found[2], spiffe_id)


# The same certificate comes with each call of a connection, and parsing it takes a tenth of a millisecond.
@lru_cache(maxsize=1024)
def _uris(pem: bytes) -> tuple[str, ...]:
    """Return the URIs among a certificate's names, whole; none if it cannot be read."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return tuple(names.get_values_for_type(x509.UniformResourceIdentifier))
    except (ValueError, x509.ExtensionNotFound):
        return ()

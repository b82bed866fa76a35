"""A certificate authority for development: it makes the files that mutual TLS between Muster's processes needs.

    DIR/ca/ca.crt ca.key             the authority; made once, never replaced
    DIR/<role>-<id>/tls.crt tls.key ca.crt   one identity, spiffe://<trust domain>/<role>/<id>

The three names are those of a Kubernetes secret made by cert-manager, which takes this module's place in production.
"""

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# The default of MUSTER_TLS_SERVER_NAME; client/names.py, which this package may not know, has it too.
SERVER_NAME = "control-plane.muster"
ROLES = ("control-plane", "gateway", "worker", "admin")
DEFAULT_TRUST_DOMAIN = "muster"
CA_FOLDER, CA_CERT, CA_KEY = "ca", "ca.crt", "ca.key"
LEAF_CERT, LEAF_KEY = "tls.crt", "tls.key"
# Each machine's clock is a little off: a certificate is good from a few minutes ago.
BACKDATED = timedelta(minutes=5)

_TRUST_DOMAIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,254}")
_IDENTITY = re.compile(r"(?P<role>[a-z-]+)/(?P<id>[A-Za-z0-9][A-Za-z0-9._-]{0,99})")


class CaError(Exception):
    """The authority or an identity cannot be made; the message is for people and says why."""


@dataclass(frozen=True, slots=True)
class Issued:
    """One identity: where its files are and how long it is good."""

    spiffe_id: str
    folder: Path
    expires_at: datetime

    @property
    def cert(self) -> Path:
        """Its certificate."""
        return self.folder / LEAF_CERT

    @property
    def key(self) -> Path:
        """Its private key."""
        return self.folder / LEAF_KEY

    @property
    def ca(self) -> Path:
        """What its peers' certificates must lead to."""
        return self.folder / CA_CERT


@dataclass(frozen=True, slots=True)
class Names:
    """Besides the SPIFFE id, the names and addresses that a control plane is dialled by."""

    dns: Sequence[str] = (SERVER_NAME, "localhost")
    ips: Sequence[str] = ("127.0.0.1", "::1")


class DevelopmentCa:
    """An opened authority."""

    def __init__(
        self, folder: Path, trust_domain: str, cert: x509.Certificate, key: ec.EllipticCurvePrivateKey
    ) -> None:
        self.folder, self.trust_domain = folder, trust_domain
        self._cert, self._key = cert, key

    @classmethod
    def open(cls, folder: Path, trust_domain: str | None, *, days: int, now: datetime) -> "DevelopmentCa":
        """Return the authority kept in ``folder``, or a new one that is good for ``days``.

        ``trust_domain`` None takes that of the authority found. CaError if there is half of one, or another's.
        """
        if trust_domain is not None and not _TRUST_DOMAIN.fullmatch(trust_domain):
            raise CaError(f"{trust_domain!r} is no trust domain: lower-case letters, digits, dots, dashes, underscores")
        place = folder / CA_FOLDER
        cert, key = place / CA_CERT, place / CA_KEY
        if not cert.exists() and not key.exists():
            return cls._make(folder, trust_domain or DEFAULT_TRUST_DOMAIN, days, now)
        # Half an authority is somebody's accident. Making another would lock out everything that trusts the first.
        for path in (cert, key):
            if not path.exists():
                raise CaError(f"{path} is missing: put it back, or choose an empty folder; a CA is never overwritten")
        found = _load(cert, key)
        domain = _domain_of(found[0], cert)
        if trust_domain not in (None, domain):
            raise CaError(f"the CA in {place} is of the trust domain {domain!r}, not {trust_domain!r}")
        return cls(folder, domain, *found)

    @classmethod
    def _make(cls, folder: Path, domain: str, days: int, now: datetime) -> "DevelopmentCa":
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Muster development CA {domain}"[:64])])
        # As SPIFFE wants it: an authority signs for one trust domain and names it.
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{domain}")])
        usage = _usage(signs_certificates=True)
        cert = (
            _builder(name, name, key.public_key(), now, now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(names, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, SHA256())
        )
        if not folder.exists():
            _private_folder(folder)
        place = _private_folder(folder / CA_FOLDER)
        write_file(place / CA_KEY, _pem(key), 0o600)
        write_file(place / CA_CERT, cert.public_bytes(Encoding.PEM), 0o644)
        return cls(folder, domain, cert, key)

    @property
    def ca_cert(self) -> Path:
        """The authority's certificate."""
        return self.folder / CA_FOLDER / CA_CERT

    def issue(self, name: str, *, days: float, now: datetime, names: Names = Names()) -> Issued:
        """Write the files of identity ``name``, "<role>/<id>", good for ``days``; what was there is replaced."""
        match = _IDENTITY.fullmatch(name)
        if match is None or match["role"] not in ROLES:
            raise CaError(f"{name!r} is no identity: <role>/<id>, where the role is one of {', '.join(ROLES)}")
        spiffe_id = f"spiffe://{self.trust_domain}/{name}"
        expires_at = min(now + timedelta(days=days), self._cert.not_valid_after_utc)
        key = ec.generate_private_key(ec.SECP256R1())
        cert = self._sign(match["role"], spiffe_id, key.public_key(), (now, expires_at), names)
        folder = _private_folder(self.folder / f"{match['role']}-{match['id']}")
        issued = Issued(spiffe_id, folder, expires_at)
        own = self._cert.public_bytes(Encoding.PEM)
        # A bundle that has this authority among others stays: that is how one authority follows another.
        if not (issued.ca.exists() and own in issued.ca.read_bytes()):
            write_file(issued.ca, own, 0o644)
        write_file(issued.key, _pem(key), 0o600)
        write_file(issued.cert, cert.public_bytes(Encoding.PEM), 0o644)
        return issued

    def _sign(
        self, role: str, spiffe_id: str, key: ec.EllipticCurvePublicKey, time: tuple[datetime, datetime], names: Names
    ) -> x509.Certificate:
        alternatives: list[x509.GeneralName] = [x509.UniformResourceIdentifier(spiffe_id)]
        purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if role == "control-plane":
            # Clients refuse a server whose certificate does not say that it is one.
            purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
            try:
                alternatives += [x509.DNSName(name) for name in names.dns]
                alternatives += [x509.IPAddress(ip_address(ip)) for ip in names.ips]
            except ValueError as err:
                raise CaError(f"a name of the control plane cannot be used: {err}") from err
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, spiffe_id.rpartition("/")[2][:64])])
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            _builder(subject, self._cert.subject, key, *time)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(issuer, critical=False)
            .sign(self._key, SHA256())
        )


def write_file(path: Path, content: bytes, mode: int) -> None:
    """Replace the file at ``path`` in one step: whoever reads it meanwhile sees the former or the new content."""
    # mkstemp makes it with mode 0600, so that no moment exists in which others could open a key.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(until)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _load(cert: Path, key: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        certificate = x509.load_pem_x509_certificate(cert.read_bytes())
        private = load_pem_private_key(key.read_bytes(), None)
    except OSError as err:
        raise CaError(f"{err.filename} cannot be read: {err.strerror}") from err
    except (ValueError, TypeError) as err:
        raise CaError(f"{cert} and {key} are no certificate and key in PEM") from err
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.public_key() != certificate.public_key():
        raise CaError(f"{key} is not the key of {cert}")
    return certificate, private


def _domain_of(certificate: x509.Certificate, path: Path) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        uris = []
    if not uris or not uris[0].startswith("spiffe://"):
        raise CaError(f"{path} was not made by `muster certs`: it names no trust domain")
    return uris[0].removeprefix("spiffe://")


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _private_folder(folder: Path) -> Path:
    """Return ``folder``, made if it is missing, closed to all others."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as err:
        raise CaError(f"{folder} cannot be made: {err.strerror}") from err
    return folder

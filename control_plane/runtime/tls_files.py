"""The files of mutual TLS: which ones are meant, what they hold, and what they hold now.

Certificates live for weeks, processes for months: whoever uses these files asks :meth:`TlsFiles.reload` and goes on
with the new ones. A pair that is only half written, or that does not fit together, is left alone: the last good one
serves until the files are right.
"""

import threading
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from control_plane.runtime.logs import get_logger
from control_plane.runtime.settings import SettingsError

if TYPE_CHECKING:
    from cryptography import x509

log = get_logger(__name__)

SPIFFE_SCHEME = "spiffe://"
HOW = (
    "either mutual TLS (MUSTER_TLS_CERT, MUSTER_TLS_KEY and MUSTER_TLS_CA name files; `muster certs` makes a set for "
    "development), or MUSTER_PLAINTEXT=true, and then everybody on the way can read tokens and people's data"
)


class TlsSettings(Protocol):
    """What the settings of every process say about TLS."""

    @property
    def tls_cert(self) -> str:
        """Path of the certificate chain."""
        ...

    @property
    def tls_key(self) -> str:
        """Path of its private key."""
        ...

    @property
    def tls_ca(self) -> str:
        """Path of the certificates that peers' must lead to."""
        ...

    @property
    def plaintext(self) -> bool:
        """Whether to go without."""
        ...


@dataclass(frozen=True, slots=True)
class TlsPaths:
    """Where the three files are."""

    cert: Path
    key: Path
    ca: Path


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """What the three files hold, PEM; certificate and key belong together."""

    cert: bytes
    key: bytes = field(repr=False)
    ca: bytes
    spiffe_id: str
    expires_at: datetime


class Unfit(Exception):
    """The files cannot be used; the message names the file and says why."""


def chosen_paths(settings: TlsSettings) -> TlsPaths | None:
    """Return where the files are; None if plaintext was asked for. SettingsError unless exactly one of both was."""
    named = (settings.tls_cert, settings.tls_key, settings.tls_ca)
    if settings.plaintext:
        if any(named):
            raise SettingsError(f"MUSTER_PLAINTEXT is true and files of TLS are named: choose {HOW}")
        return None
    if not all(named):
        raise SettingsError(f"gRPC between Muster's processes needs a choice: {HOW}")
    return TlsPaths(*(Path(name) for name in named))


def warn_of_plaintext() -> None:
    """Say loudly, at the start of a process, that gRPC is not encrypted."""
    log.warning("gRPC is plaintext: tokens and people's data can be read on the way; see docs/tls.md")


class TlsFiles:
    """The three files of one process, with the last good content in memory. Safe to use from several threads."""

    def __init__(self, paths: TlsPaths) -> None:
        """Read the files; SettingsError if they cannot be used."""
        self._paths, self._lock = paths, threading.Lock()
        try:
            self._seen = _stamp(paths)
            self._material = _read(paths)
        except Unfit as err:
            raise SettingsError(str(err)) from err

    @property
    def material(self) -> TlsMaterial:
        """The last good content."""
        return self._material

    def reload(self) -> TlsMaterial:
        """Read the files again if they have changed; return the last good content. Three calls of stat if not."""
        with self._lock:
            try:
                stamp = _stamp(self._paths)
                if stamp == self._seen:
                    return self._material
                fresh = _read(self._paths)
                if _stamp(self._paths) != stamp:
                    # Somebody is writing: what was read may be of two different sets.
                    return self._material
            except Unfit as err:
                # Noted as seen: it is told once, and looked at again as soon as a file changes.
                self._seen = _stamp_or_nothing(self._paths)
                log.warning("TLS files cannot be used; the former ones stay", reason=str(err))
                return self._material
            self._seen = stamp
            if fresh != self._material:
                self._material = fresh
                log.info("TLS files read anew", spiffe_id=fresh.spiffe_id, expires_at=fresh.expires_at.isoformat())
            return self._material


_Stamp = tuple[tuple[int, int, int], ...]


def _stamp(paths: TlsPaths) -> _Stamp:
    """Return what changes with the files, also if they are links that were turned to others (as Kubernetes does)."""
    stamps = []
    for path in (paths.cert, paths.key, paths.ca):
        try:
            found = path.stat()
        except OSError as err:
            raise Unfit(f"{path} cannot be read: {err.strerror}") from err
        stamps.append((found.st_mtime_ns, found.st_ino, found.st_size))
    return tuple(stamps)


def _stamp_or_nothing(paths: TlsPaths) -> _Stamp:
    try:
        return _stamp(paths)
    except Unfit:
        return ()


def _read(paths: TlsPaths) -> TlsMaterial:
    """Return the content of the files; Unfit if they are damaged or do not belong together."""
    # Loaded only where there is TLS: it takes longer than all of this module.
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    cert, key, ca = (_bytes(path) for path in (paths.cert, paths.key, paths.ca))
    try:
        leaf = x509.load_pem_x509_certificates(cert)[0]
        public, spiffe_id = leaf.public_key(), _spiffe_id(leaf)
    except (ValueError, UnsupportedAlgorithm) as err:
        raise Unfit(f"{paths.cert} has no certificate in PEM, or one that cannot be read") from err
    try:
        private = load_pem_private_key(key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as err:
        raise Unfit(f"{paths.key} has no private key in PEM, or one with a password") from err
    if private.public_key() != public:
        raise Unfit(f"{paths.key} is not the key of the certificate in {paths.cert}")
    try:
        x509.load_pem_x509_certificates(ca)
    except ValueError as err:
        raise Unfit(f"{paths.ca} has no certificate in PEM") from err
    return TlsMaterial(cert, key, ca, spiffe_id, leaf.not_valid_after_utc)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as err:
        raise Unfit(f"{path} cannot be read: {err.strerror}") from err


def _spiffe_id(certificate: "x509.Certificate") -> str:
    """Return the SPIFFE id in the subject alternative names; "" if there is none."""
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return next((uri for uri in uris if uri.startswith(SPIFFE_SCHEME)), "")

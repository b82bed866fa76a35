"""Secrets at rest: sealed with a data key of their tenant, AES-256-GCM, bound to the row and column they stand in.

Form 2, the only one that is written: a byte 2, 4 bytes data key version, 12 bytes nonce, ciphertext; the associated
data are "tenant|table|row|column|version". So nothing opens at another tenant, row or column, or as another version's.
Form 1 was sealed by the sealing key itself, before there were data keys: it is still opened, and rotation replaces it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import LiteralString, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from control_plane.domain.errors import FailedPrecondition, MusterError
from control_plane.domain.ids import TenantId

KEY_BYTES, NONCE_BYTES = 32, 12
FORM_1, FORM_2 = 1, 2
VERSION_BYTES = 4
HEADER_BYTES = 1 + VERSION_BYTES
UNOPENED = "a stored secret cannot be opened with this key"


class KeyProvider(Protocol):
    """Has the key-encryption keys: a file now, a key management service if somebody writes one (docs/keys.md).

    ``context`` says whose data key it is; what was wrapped for one context must not unwrap for another. Raise
    Unavailable if the provider does not answer, FailedPrecondition if it answers no.
    """

    @property
    def primary_id(self) -> str:
        """The key that wraps from now on."""
        ...

    @property
    def ids(self) -> frozenset[str]:
        """All keys that can unwrap, the primary one among them."""
        ...

    async def wrap(self, key: bytes, context: str) -> tuple[str, bytes]:
        """Return the id of the key that wrapped, and ``key`` wrapped."""
        ...

    async def unwrap(self, kek_id: str, wrapped: bytes, context: str) -> bytes:
        """Return the key that was wrapped by ``kek_id`` for ``context``."""
        ...


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column that holds sealed values, NULL where there is none; ``row`` names the column of the row's id."""

    table: LiteralString
    row: LiteralString
    column: LiteralString

    def place(self, row_id: object) -> str:
        """Return what a value in this column is bound to, besides its tenant and version."""
        return f"{self.table}|{row_id}|{self.column}"


TARGET_SECRETS = SealedColumn("targets", "id", "secret_sealed")
SUBJECT_KEYS = SealedColumn("audit_subjects", "subject_id", "key_sealed")
# Everything that a rotation seals anew. What is sealed and not listed here is lost with the old key.
SEALED_COLUMNS = (TARGET_SECRETS, SUBJECT_KEYS)


def header(version: int) -> bytes:
    """Return what every value of form 2 begins with that ``version`` sealed."""
    return bytes([FORM_2]) + version.to_bytes(VERSION_BYTES)


def sealed_version(sealed: bytes) -> int:
    """Return the version of the data key that ``sealed`` needs; 0: none, it is of form 1."""
    return int.from_bytes(sealed[1:HEADER_BYTES]) if sealed[:1] == bytes([FORM_2]) else 0


class TenantSealer:
    """Seals and opens small secrets with one tenant's data keys, as they were when it was made."""

    def __init__(
        self, tenant: TenantId, keys: Mapping[int, AESGCM | MusterError], former: Sequence["FormerKey"] = ()
    ) -> None:
        """``keys`` by version; an error stands for a key that cannot be had, and is raised when it is needed."""
        self._tenant, self._keys, self._former = str(tenant), keys, former
        # The highest seals; the lower ones are there until a rotation has finished.
        self.version = max(keys, default=0)

    def seal(self, secret: bytes, place: str, nonce: bytes) -> bytes:
        """Return ``secret`` sealed for ``place`` ("table|row|column") with a fresh 12-byte nonce."""
        cipher = self._cipher(self.version)
        return header(self.version) + nonce + cipher.encrypt(nonce, secret, self._bound(place, self.version))

    def open(self, sealed: bytes, place: str) -> bytes:
        """Return the secret; FailedPrecondition if the key or the place is another one."""
        version = sealed_version(sealed)
        if version == 0:
            return self._open_former(sealed, place)
        nonce, body = sealed[HEADER_BYTES : HEADER_BYTES + NONCE_BYTES], sealed[HEADER_BYTES + NONCE_BYTES :]
        try:
            return self._cipher(version).decrypt(nonce, body, self._bound(place, version))
        except (InvalidTag, ValueError) as err:  # ValueError: too short
            raise FailedPrecondition(UNOPENED) from err

    def _cipher(self, version: int) -> AESGCM:
        found = self._keys.get(version)
        if found is None:
            raise FailedPrecondition(f"the tenant has no data key of version {version}")
        if isinstance(found, MusterError):
            raise found
        return found

    def _bound(self, place: str, version: int) -> bytes:
        return f"{self._tenant}|{place}|{version}".encode()

    def _open_former(self, sealed: bytes, place: str) -> bytes:
        # Form 1 called the one column that it had by a shorter name.
        binding = f"{self._tenant}|{place.removesuffix('_sealed')}"
        for key in self._former:
            try:
                return key.open(sealed, binding)
            except FailedPrecondition:
                continue
        raise FailedPrecondition(UNOPENED)


class FormerKey:
    """Opens what a sealing key sealed by itself (form 1)."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def open(self, sealed: bytes, binding: str) -> bytes:
        """Return the secret; FailedPrecondition if the key or the binding is another one."""
        try:
            return self._cipher.decrypt(sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :], binding.encode())
        except (InvalidTag, ValueError) as err:  # ValueError: too short
            raise FailedPrecondition(UNOPENED) from err

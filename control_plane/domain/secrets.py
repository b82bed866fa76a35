"""Secrets of targets, sealed with AES-256-GCM; the associated data binds the row, so that rows cannot be swapped."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from control_plane.domain.errors import FailedPrecondition

# First byte: the form of what follows. Envelope encryption with a key per tenant will be form 2.
FORM = b"\x01"
KEY_BYTES, NONCE_BYTES = 32, 12


class Sealer:
    """Seals and opens small secrets with one 32-byte key."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"the sealing key has {KEY_BYTES} bytes, not {len(key)}")
        self._cipher = AESGCM(key)

    def seal(self, secret: str, binding: str, nonce: bytes) -> bytes:
        """Return ``secret`` sealed for ``binding`` (such as "tenant|targets|id|secret") with a fresh 12-byte nonce."""
        return FORM + nonce + self._cipher.encrypt(nonce, secret.encode(), binding.encode())

    def open(self, sealed: bytes, binding: str) -> str:
        """Return the secret; FailedPrecondition if the key or the binding is another one."""
        try:
            body = sealed[1 + NONCE_BYTES :]
            return self._cipher.decrypt(sealed[1 : 1 + NONCE_BYTES], body, binding.encode()).decode()
        except (InvalidTag, ValueError) as err:  # ValueError: too short, or no UTF-8
            raise FailedPrecondition("a stored secret cannot be opened with this key") from err

"""docs/keys.md: its example of a key provider is one, and its commands exist."""

import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from typer.testing import CliRunner

from control_plane.cli.app import app
from control_plane.domain.errors import FailedPrecondition, Unavailable
from control_plane.domain.secrets import KeyProvider

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "keys.md").read_text()
NONCE = b"n" * 12


class Client:
    """What a client of a key management service looks like to the example."""

    is_down = False

    async def encrypt(self, **asked: Any) -> dict[str, bytes]:
        return {"CiphertextBlob": self._key(asked).encrypt(NONCE, asked["Plaintext"], self._context(asked))}

    async def decrypt(self, **asked: Any) -> dict[str, bytes]:
        if self.is_down:
            raise ConnectionResetError
        return {"Plaintext": self._key(asked).decrypt(NONCE, asked["CiphertextBlob"], self._context(asked))}

    def _key(self, asked: dict[str, Any]) -> AESGCM:
        return AESGCM(asked["KeyId"].encode() * 32)

    def _context(self, asked: dict[str, Any]) -> bytes:
        return str(asked["EncryptionContext"]).encode()


def provider(client: Client, *ids: str) -> KeyProvider:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)
    made: KeyProvider = names["KmsKeyProvider"](client, *ids)
    return made


async def test_the_example_is_a_key_provider() -> None:
    client = Client()
    kms = provider(client, "b", "a")
    assert (kms.primary_id, kms.ids) == ("b", frozenset("ab"))
    kek_id, wrapped = await kms.wrap(b"k" * 32, "tenant|1")
    assert await kms.unwrap(kek_id, wrapped, "tenant|1") == b"k" * 32
    with pytest.raises(FailedPrecondition, match=InvalidTag.__name__):
        await kms.unwrap(kek_id, wrapped, "another tenant|1")
    with pytest.raises(FailedPrecondition, match="key c is not configured"):
        await kms.unwrap("c", wrapped, "tenant|1")
    client.is_down = True
    with pytest.raises(Unavailable):
        await kms.unwrap(kek_id, wrapped, "tenant|1")


@pytest.mark.parametrize("command", sorted(set(re.findall(r"muster keys (\w+)", PAGE))))
def test_each_command_of_the_page_exists(command: str) -> None:
    assert CliRunner().invoke(app, ["keys", command, "--help"]).exit_code == 0

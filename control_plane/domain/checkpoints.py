"""Checkpoints: signed statements about the heads of all chains, one line of a file each, outside the database.

A line lists the heads that changed since the line before, so that the file alone gives every root again. Each statement
has the hash of the one before, so that no line can be taken out, and a newer key vouches for what an older one signed.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from control_plane.domain.audit_chain import HASH_BYTES
from control_plane.domain.ids import TenantId
from control_plane.domain.merkle import Tree, leaf_hash

VERSION = 1
KEY_BYTES = 32
NO_PREVIOUS = bytes(HASH_BYTES)


class BadLine(Exception):
    """A line is no checkpoint; the message says why."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What is signed."""

    number: int
    # As the canonical form of events writes times.
    time: str
    root: bytes
    heads: int
    previous: bytes
    key_id: str

    def canonical(self) -> bytes:
        """Return the signed bytes: a JSON object, keys sorted, no white space."""
        return orjson.dumps(
            {
                "heads": self.heads,
                "key_id": self.key_id,
                "number": self.number,
                "previous": self.previous.hex(),
                "root": self.root.hex(),
                "time": self.time,
                "version": VERSION,
            },
            option=orjson.OPT_SORT_KEYS,
        )

    def hash(self) -> bytes:
        """Return what the next statement has as ``previous``."""
        return hashlib.sha256(self.canonical()).digest()


@dataclass(frozen=True, slots=True)
class ChainHead:
    """A head as checkpoints have it: the hash of the link ``seq`` of a tenant's chain."""

    tenant: TenantId
    seq: int
    hash: bytes

    def leaf(self) -> bytes:
        """Return the hash of its leaf."""
        body = {"hash": self.hash.hex(), "seq": self.seq, "tenant_id": str(self.tenant)}
        return leaf_hash(orjson.dumps(body, option=orjson.OPT_SORT_KEYS))


@dataclass(frozen=True, slots=True)
class Signed:
    """A statement, its signature, the heads that changed since the one before, and the tenants that are gone."""

    statement: Statement
    signature: bytes
    changed: tuple[ChainHead, ...]
    gone: tuple[TenantId, ...]

    def line(self) -> bytes:
        """Return the line of the file, with its end."""
        return orjson.dumps(
            {
                "statement": orjson.loads(self.statement.canonical()),
                "signature": self.signature.hex(),
                "heads": [[str(one.tenant), one.seq, one.hash.hex()] for one in self.changed],
                "gone": [str(one) for one in self.gone],
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )


class VerifyKey:
    """An Ed25519 public key and the name it has in checkpoints."""

    def __init__(self, raw: bytes) -> None:
        """``raw`` are 32 bytes; ValueError if they are not."""
        self._key = Ed25519PublicKey.from_public_bytes(raw)
        self.raw = raw
        self.id = hashlib.sha256(raw).hexdigest()[:16]

    def is_signed(self, statement: Statement, signature: bytes) -> bool:
        """Tell whether this key signed ``statement``."""
        try:
            self._key.verify(signature, statement.canonical())
        except InvalidSignature:
            return False
        return True


class SigningKey:
    """The Ed25519 key that signs checkpoints."""

    def __init__(self, seed: bytes) -> None:
        """``seed`` are 32 bytes; ValueError if they are not."""
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = VerifyKey(self._key.public_key().public_bytes_raw())

    def sign(self, statement: Statement) -> bytes:
        """Return the signature."""
        return self._key.sign(statement.canonical())


def parse_line(line: bytes) -> Signed:
    """Return the checkpoint on a line; BadLine if there is none."""
    try:
        wire: dict[str, Any] = orjson.loads(line)
        return Signed(
            statement_of(wire["statement"]),
            bytes.fromhex(wire["signature"]),
            tuple(_head(one) for one in wire["heads"]),
            tuple(TenantId(UUID(one)) for one in wire["gone"]),
        )
    except (ValueError, KeyError, TypeError) as err:
        raise BadLine("the line cannot be read as a checkpoint") from err


def statement_of(said: Mapping[str, Any]) -> Statement:
    """Return the statement that parsed JSON says; BadLine if it says none."""
    try:
        if said["version"] != VERSION:
            raise BadLine(f"version {said['version']} is not known")
        return Statement(
            number=int(said["number"]),
            time=str(said["time"]),
            root=bytes.fromhex(said["root"]),
            heads=int(said["heads"]),
            previous=bytes.fromhex(said["previous"]),
            key_id=str(said["key_id"]),
        )
    except (ValueError, KeyError, TypeError) as err:
        raise BadLine("the statement cannot be read") from err


def _head(wire: Any) -> ChainHead:
    tenant, seq, digest = wire
    return ChainHead(TenantId(UUID(tenant)), int(seq), bytes.fromhex(digest))


@dataclass(slots=True)
class Replay:
    """What the lines of a file say together, taken one after the other."""

    heads: dict[TenantId, ChainHead] = field(default_factory=dict)
    last: Signed | None = None

    def take(self, signed: Signed) -> None:
        """Go on to the next checkpoint."""
        self.last = signed
        for tenant in signed.gone:
            self.heads.pop(tenant, None)
        self.heads.update((one.tenant, one) for one in signed.changed)

    def ordered(self) -> list[ChainHead]:
        """Return all heads in the order of the leaves."""
        return [self.heads[tenant] for tenant in sorted(self.heads)]

    def tree(self) -> Tree:
        """Return the tree over all heads."""
        return Tree([one.leaf() for one in self.ordered()])

    @property
    def next_number(self) -> int:
        """The number of the checkpoint after the last."""
        return 1 if self.last is None else self.last.statement.number + 1

    @property
    def previous(self) -> bytes:
        """What the checkpoint after the last has as ``previous``."""
        return NO_PREVIOUS if self.last is None else self.last.statement.hash()


def make(replay: Replay, now: Mapping[TenantId, ChainHead], number: int, time: str, key: SigningKey) -> Signed:
    """Return the checkpoint of the heads ``now``, and take it into ``replay``."""
    changed = tuple(now[tenant] for tenant in sorted(now) if replay.heads.get(tenant) != now[tenant])
    gone = tuple(sorted(replay.heads.keys() - now.keys()))
    previous, after = replay.previous, Replay(dict(now))
    statement = Statement(number, time, after.tree().root, len(now), previous, key.public.id)
    signed = Signed(statement, key.sign(statement), changed, gone)
    replay.take(signed)
    return signed


@dataclass(slots=True)
class FileCheck:
    """Verifies the lines of a checkpoint file in order, and collects what they say of one tenant.

    Memory does not grow with the file, but for the marks: one for each time that the tenant's head changed.
    """

    tenant: TenantId
    keys: Mapping[str, VerifyKey]
    # seq -> the hash there, and the number of the checkpoint that says so.
    marks: dict[int, tuple[bytes, int]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    replay: Replay = field(default_factory=Replay)
    # By number, of this tenant: what the database must say too.
    statements: dict[int, tuple[Statement, bytes]] = field(default_factory=dict)
    _broken: int = 0
    _is_root_checked: bool = True

    def feed(self, lines: Iterable[bytes]) -> None:
        """Take every line."""
        for line in lines:
            self.take(line)
        self._finish()

    def take(self, line: bytes) -> None:
        """Take one line. A broken one is forgiven if the next follows from the one before: a crash left it."""
        try:
            signed = parse_line(line) if line.endswith(b"\n") else None
        except BadLine:
            signed = None
        if signed is None:
            self._broken += 1
            return
        said = signed.statement
        number = said.number
        if said.previous != self.replay.previous:
            self.problems.append(f"checkpoint {number} does not follow from the one before it in the file")
        elif self.replay.last is not None and number < self.replay.next_number:
            self.problems.append(f"checkpoint {number} comes after number {self.replay.next_number - 1}")
        self._broken = 0
        key = self.keys.get(said.key_id)
        if key is not None and not key.is_signed(said, signed.signature):
            self.problems.append(f"the signature of checkpoint {number} does not hold")
        self.replay.take(signed)
        mine = next((one for one in signed.changed if one.tenant == self.tenant), None)
        self._is_root_checked = mine is not None
        if mine is not None:
            self.marks[mine.seq] = (mine.hash, number)
            self.statements[number] = (said, signed.signature)
            self._check_root()

    def _check_root(self) -> None:
        assert self.replay.last is not None
        said = self.replay.last.statement
        if len(self.replay.heads) != said.heads or self.replay.tree().root != said.root:
            self.problems.append(f"the heads beside checkpoint {said.number} do not give its root")

    def _finish(self) -> None:
        if self._broken:
            self.problems.append("the last line of the checkpoint file is cut off or unreadable")
        last = self.replay.last
        if last is None:
            return
        if not self._is_root_checked:
            self._check_root()
        if self.keys and last.statement.key_id not in self.keys:
            # Older lines may be of another key: the chain of statements leads to them.
            self.problems.append(
                f"checkpoint {last.statement.number} is signed by the unknown key {last.statement.key_id}"
            )

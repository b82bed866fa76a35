"""Lets one system user pass through a folder: a POSIX ACL entry (acl(5)), which gives nobody else anything.

Started by root, PostgreSQL runs as a user of its own. A data folder below one that only root may enter, as
``mktemp -d`` makes them, would be out of its reach.
"""

import os
import pwd
import stat
import struct
from pathlib import Path

ATTRIBUTE = "system.posix_acl_access"
VERSION = struct.pack("<I", 2)
# An entry is a tag, the rights (read 4, write 2, enter 1) and an id that only the tags of named users and groups have.
ENTRY = struct.Struct("<HHI")
OWNER, USER, GROUP, NAMED_GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
NO_ID = 0xFFFF_FFFF
ENTER = 1


def may_enter(folder: Path, account: pwd.struct_passwd) -> bool:
    """Tell whether the account may pass through ``folder``, by its mode or by an ACL entry of its own."""
    status = folder.stat()
    if status.st_uid == account.pw_uid:
        return bool(status.st_mode & stat.S_IXUSR)
    named = [rights for tag, rights, owner in _entries(folder) if tag == USER and owner == account.pw_uid]
    if named:
        return bool(named[0] & ENTER)
    if status.st_gid == account.pw_gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def let_pass(folder: Path, account: pwd.struct_passwd) -> bool:
    """Give the account the right to pass through one of root's own folders; False if it cannot be given."""
    if folder.stat().st_uid != 0 or os.geteuid() != 0:
        return False
    entries = [one for one in _entries(folder) if one[0] != MASK and (one[0], one[2]) != (USER, account.pw_uid)]
    entries.append((USER, ENTER, account.pw_uid))
    # The mask bounds every right but the owner's and the others'.
    rights = [rights for tag, rights, _ in entries if tag in (USER, GROUP, NAMED_GROUP)]
    mask = 0
    for one in rights:
        mask |= one
    entries.append((MASK, mask, NO_ID))
    packed = VERSION + b"".join(ENTRY.pack(*one) for one in sorted(entries, key=lambda one: (one[0], one[2])))
    try:
        os.setxattr(folder, ATTRIBUTE, packed)
    except OSError:  # a file system without ACLs
        return False
    return may_enter(folder, account)


def _entries(folder: Path) -> list[tuple[int, int, int]]:
    """Return the folder's ACL; without one, the three entries that its mode stands for."""
    try:
        raw = os.getxattr(folder, ATTRIBUTE)
    except OSError:
        mode = folder.stat().st_mode
        return [(OWNER, mode >> 6 & 7, NO_ID), (GROUP, mode >> 3 & 7, NO_ID), (OTHER, mode & 7, NO_ID)]
    body = raw[len(VERSION) :]
    return [(tag, rights, owner) for tag, rights, owner in ENTRY.iter_unpack(body)]

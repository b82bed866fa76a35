"""Runs a command that ends when the process that started it ends, even by SIGKILL.

Run by path, as ``python -I -S tether.py SIGNAL PARENT_PID UID:GID COMMAND...`` (``-`` for UID:GID keeps the user); it
becomes the command, with the same process id. A wrapper instead of subprocess's ``preexec_fn``, which may deadlock in
a parent that has threads, and gRPC brings some. Standard library only: it starts with ``-S``, so in about 20 ms.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
PARENT_IS_GONE = 75  # EX_TEMPFAIL


def tether(number: int, parent: int) -> None:
    """Ask the kernel to send this process signal ``number`` when ``parent`` dies; Linux only, elsewhere nothing."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # The parent may have died before the call above.
    if os.getppid() != parent:
        sys.exit(PARENT_IS_GONE)


def become_user(owner: str) -> None:
    """Drop to "uid:gid" for good; "-" keeps the user."""
    if owner == "-":
        return
    uid, gid = (int(part) for part in owner.split(":"))
    os.setgroups([gid])
    os.setgid(gid)
    os.setuid(uid)


def main(arguments: list[str]) -> None:
    """Become the command."""
    number, parent, owner, *command = arguments
    # In this order: a change of user clears the signal that the parent's death would send.
    become_user(owner)
    tether(int(number), int(parent))
    os.execv(command[0], command)  # noqa: S606 - no shell is what we want


if __name__ == "__main__":
    main(sys.argv[1:])

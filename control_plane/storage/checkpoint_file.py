"""The file of checkpoints, outside the database: it only grows, and is on the disk before anybody is told."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from control_plane.domain.checkpoints import BadLine, Replay, parse_line
from control_plane.runtime.logs import get_logger

log = get_logger(__name__)

NAME = "checkpoints.jsonl"
MODE, FOLDER_MODE = 0o640, 0o750
LINE_END = b"\n"


class CheckpointFile:
    """One file, shared by all control planes: ``flock`` lets one at a time append. Blocking: call it in a thread."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        # What its lines said so far, up to which byte, and of which file.
        self._replay, self._offset, self._inode = Replay(), 0, 0

    def prepare(self) -> None:
        """Make the folder and the file if they are missing; OSError if they cannot be written."""
        self.path.parent.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        os.close(os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, MODE))
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def locked(self) -> Iterator["Appender"]:
        """Give what the file says now, and the only right to append."""
        self.prepare()
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            is_news = self._refresh(descriptor)
            yield Appender(self, descriptor, self._replay, is_news)
        except BaseException:
            # What was taken into the replay may not be in the file: read it again from the start.
            self._inode = 0
            raise
        finally:
            os.close(descriptor)

    def lines(self) -> Iterator[bytes]:
        """Yield the lines that there are now; none if there is no file."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return
        with file:
            # Under the lock no line is half written: what comes later is left for another time.
            fcntl.flock(file, fcntl.LOCK_SH)
            left = os.fstat(file.fileno()).st_size
            fcntl.flock(file, fcntl.LOCK_UN)
            while left > 0 and (line := file.readline(left)):
                left -= len(line)
                yield line

    def _refresh(self, descriptor: int) -> bool:
        """Read what was appended since the last look; tell whether it was anything."""
        status = os.fstat(descriptor)
        if status.st_ino != self._inode or status.st_size < self._offset:
            self._replay, self._offset, self._inode = Replay(), 0, status.st_ino
        if status.st_size == self._offset:
            return False
        with os.fdopen(os.dup(descriptor), "rb") as file:
            file.seek(self._offset)
            for line in file:
                try:
                    self._replay.take(parse_line(line))
                except BadLine as err:
                    log.error("a line of the checkpoint file is broken", path=str(self.path), error=str(err))
        self._offset = status.st_size
        return True

    def _appended(self, size: int) -> None:
        self._offset = size


class Appender:
    """The right to append one line, as long as the lock is held."""

    def __init__(self, file: CheckpointFile, descriptor: int, replay: Replay, is_news: bool) -> None:
        self._file, self._descriptor = file, descriptor
        self.replay, self.is_news = replay, is_news

    def append(self, line: bytes) -> None:
        """Append ``line`` and wait for the disk."""
        status = os.fstat(self._descriptor)
        if status.st_size and os.pread(self._descriptor, 1, status.st_size - 1) != LINE_END:
            # A crash cut the last line off: it stays as it is, on a line of its own.
            line = LINE_END + line
        view = memoryview(line)
        while view:
            view = view[os.write(self._descriptor, view) :]
        os.fsync(self._descriptor)
        self._file._appended(os.fstat(self._descriptor).st_size)

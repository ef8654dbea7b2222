"""Locks between processes, which the kernel frees however a process ends, and folders that one process owns.

A folder `NAME` is owned by whoever holds the lock on `NAME.lock` beside it. A lock is taken before its folder is
made, and the folder removed before its lock is; so a folder whose lock can be had is an orphan.
"""

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600  # records may hold what people wrote
BINARY: int = getattr(os, "O_BINARY", 0)


class Lock:
    """A held lock; see `take`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def release(self, *, remove: bool) -> None:
        """Gives it up, and removes its file where nobody will want it again."""
        if remove:
            with suppress(OSError):
                self.path.unlink()
        self.abandon()

    def abandon(self) -> None:
        """Closes this process's handle only: in a forked child, the parent goes on to hold the lock."""
        with suppress(OSError):
            os.close(self._descriptor)


def take(path: Path) -> Lock | None:
    """The lock on a file, which is made where it is missing; None while another holds it.

    Raises OSError where the file cannot be opened, or its file system knows no locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | BINARY, PRIVATE_FILE)
    try:
        if _lock(descriptor) and _still_there(path, descriptor):
            return Lock(path, descriptor)
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


class Folder:
    """A folder that this process owns."""

    def __init__(self, path: Path, lock: Lock) -> None:
        self.path = path
        self._lock = lock

    def release(self) -> None:
        """Gives it up: removed where it is empty, else left for whoever comes next."""
        with suppress(OSError):
            self.path.rmdir()
        self._lock.release(remove=not self.path.exists())

    def abandon(self) -> None:
        """Forgets it in a forked child: it is the parent's."""
        self._lock.abandon()


def make_folder(parent: Path) -> Folder:
    """A new folder of this process's own. Raises OSError where there can be none."""
    parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    while True:
        path = parent / f"{os.getpid()}-{secrets.token_hex(4)}"
        lock = take(parent / f"{path.name}.lock")
        if lock is None:
            continue
        try:
            path.mkdir(mode=PRIVATE_FOLDER)
        except OSError:
            lock.release(remove=True)
            raise
        return Folder(path, lock)


def orphans(parent: Path) -> Iterator[Folder]:
    """The folders of this user whose owners are gone, owned by this process from now on. Raises OSError."""
    names = {path.name.removesuffix(".lock") for path in parent.iterdir()}
    for name in sorted(names):
        try:
            lock = take(parent / f"{name}.lock")
        except PermissionError:  # another user's
            continue
        if lock is None:
            continue
        if (parent / name).is_dir():
            yield Folder(parent / name, lock)
        else:  # a process ended between the lock and the folder
            lock.release(remove=True)


def _still_there(path: Path, descriptor: int) -> bool:
    """Whether the locked file is still the one of this name: its last owner may have removed it meanwhile."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

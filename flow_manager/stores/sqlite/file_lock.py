"""Who owns the database file."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from pathlib import Path
from typing import Final

from flow_manager.errors import StoreDamaged, StoreError, StoreLocked, StoreReadOnly

PATIENCE: Final = 1.0
"""Seconds to wait for the lock: a process that was killed lets go of it a moment later."""

_owned: Final[set[tuple[int, int]]] = set()
_owning: Final = threading.Lock()


class FileLock:
    """An exclusive lock on the file itself, by inode: a second name for the file changes nothing.

    The kernel lets go of it when the process ends, however it ends. The descriptor stays open as
    long as any SQLite connection: closing any descriptor of a file drops SQLite's own locks on it.
    That is why a file which this very process owns is not even opened a second time.

    Raises `StoreLocked`, `StoreReadOnly`, `StoreDamaged`, `StoreError`.
    """

    def __init__(self, path: Path) -> None:
        _refuse_orphaned_log(path)
        with _owning:
            if path.exists() and _identity(path.stat()) in _owned:
                raise _locked(path)
            self._descriptor = _open(path)
            self._identity = _identity(os.fstat(self._descriptor))
            try:
                self._lock(path)
            except BaseException:
                os.close(self._descriptor)
                raise
            _owned.add(self._identity)

    def _lock(self, path: Path) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise _locked(path) from None
            except OSError as error:
                raise StoreError(f"{path} cannot be locked: {error.strerror}; choose a local disk") from error
            time.sleep(0.05)

    def release(self) -> None:
        with _owning:
            _owned.discard(self._identity)
            os.close(self._descriptor)


def _locked(path: Path) -> StoreLocked:
    return StoreLocked(f"another process is using {path}; stop it, or choose another file with --database")


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _open(path: Path) -> int:
    read_only = StoreReadOnly(f"{path} or its folder cannot be written; reading works")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise read_only from error
        raise StoreError(f"{path} cannot be opened: {error.strerror}") from error
    if not os.access(path.parent, os.W_OK):  # the write-ahead log could not be created beside it
        os.close(descriptor)
        raise read_only
    return descriptor


def _refuse_orphaned_log(path: Path) -> None:
    """A write-ahead log without its database holds somebody's data; opening would discard it."""
    log = Path(f"{path}-wal")
    if log.exists() and log.stat().st_size and not (path.exists() and path.stat().st_size):
        raise StoreDamaged(f"{log} exists, but {path} is missing or empty; put the database file back")

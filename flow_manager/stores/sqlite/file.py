"""The database file: who owns it, how it is opened, and whether it is sound."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import apsw

from flow_manager.errors import StoreDamaged, StoreError, StoreLocked, StoreNewer, StoreReadOnly
from flow_manager.stores.migrations import load_migrations

Durability = Literal["full", "relaxed"]

_PACKAGE: Final = "flow_manager.stores.sqlite"
_SYNCHRONOUS: Final = {"full": 2, "relaxed": 1}
_LOCK_PATIENCE: Final = 1.0
"""Seconds to wait for the lock: a process that was killed lets go of it a moment later."""


class FileLock:
    """An exclusive lock on the file itself, by inode: a second name for the file changes nothing.

    The kernel lets go of it when the process ends, however it ends. The descriptor stays open as
    long as any SQLite connection: closing it would drop SQLite's own locks on the same file.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = _open_for_lock(path)
        deadline = time.monotonic() + _LOCK_PATIENCE
        while not self._try_lock():
            if time.monotonic() >= deadline:
                os.close(self._descriptor)
                raise StoreLocked(
                    f"another process is using {path}; stop it, or choose another file with --database"
                )
            time.sleep(0.05)

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        os.close(self._descriptor)


def _open_for_lock(path: Path) -> int:
    _refuse_orphaned_wal(path)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.EROFS, errno.EACCES):
            raise StoreReadOnly(f"{path} cannot be written: {error.strerror}") from error
        raise StoreError(f"{path} cannot be opened: {error.strerror}") from error


def _refuse_orphaned_wal(path: Path) -> None:
    """A write-ahead log without its database holds somebody's data; opening would discard it."""
    wal = Path(f"{path}-wal")
    if wal.exists() and wal.stat().st_size and not (path.exists() and path.stat().st_size):
        raise StoreDamaged(f"{wal} exists, but {path} is missing or empty; put the database file back")


def open_writer(path: Path, durability: Durability) -> apsw.Connection:
    """The one write connection, migrated, with its settings verified."""
    with _named_errors(path):
        connection = apsw.Connection(str(path))
        connection.set_busy_timeout(250)
        if not connection.pragma("page_count"):
            connection.pragma("auto_vacuum", "incremental")
        _set(connection, "journal_mode", "wal", expected="wal")
        _set(connection, "synchronous", durability, expected=_SYNCHRONOUS[durability])
        _set(connection, "wal_autocheckpoint", 0, expected=0)
        _set(connection, "journal_size_limit", 64 << 20, expected=64 << 20)
        _set(connection, "temp_store", 2, expected=2)
        _set(connection, "cache_size", -16_000, expected=-16_000)
        migrate(connection, path)
        return connection


def open_reader(path: Path) -> apsw.Connection:
    """A read-only connection. Works beside the owner of the file, and on a read-only file system."""
    if not path.exists():
        raise StoreError(f"there is no database at {path}; start the service or run a flow first")
    with _named_errors(path):
        connection = _open_read_only(path)
        connection.set_busy_timeout(1000)
        connection.pragma("cache_size", -1_000)
        connection.pragma("query_only", 1)
        _check_version(connection, path)
        return connection


def _open_read_only(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.pragma("schema_version")
        return connection
    except (apsw.CantOpenError, apsw.ReadOnlyError):
        connection.close()
    # Nothing may be written beside the file, not even the shared index of the log. A log that was
    # not checkpointed is then unreadable, and pretending it is empty would show an older state.
    wal = Path(f"{path}-wal")
    if wal.exists() and wal.stat().st_size:
        raise StoreReadOnly(f"{wal} was not checkpointed and {path.parent} cannot be written; make it writable once")
    uri = f"file:{path}?immutable=1"
    return apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)


def _set(connection: apsw.Connection, pragma: str, value: object, *, expected: object) -> None:
    """Set a pragma and read it back: some builds change what a setting means or forbid it."""
    connection.pragma(pragma, value)
    found = connection.pragma(pragma)
    if found != expected:
        raise StoreError(f"SQLite answered {found!r} to {pragma}={value!r}; this build cannot keep the promises")


def migrate(connection: apsw.Connection, path: Path) -> None:
    """Bring the schema up to date, each migration in a transaction of its own."""
    _check_version(connection, path)
    done = connection.pragma("user_version")
    for migration in load_migrations(_PACKAGE):
        if migration.number > done:
            connection.execute(f"BEGIN IMMEDIATE; {migration.sql}; PRAGMA user_version = {migration.number}; COMMIT")


def newest_version() -> int:
    return load_migrations(_PACKAGE)[-1].number


def _check_version(connection: apsw.Connection, path: Path) -> None:
    version, known = connection.pragma("user_version"), newest_version()
    if version > known:
        raise StoreNewer(
            f"{path} has schema {version}, written by a newer version; this one knows up to {known}: upgrade it"
        )


def verify(connection: apsw.Connection, path: Path) -> None:
    """After an unclean end: check the file, then rewrite its pages from the log and sync them, so
    that nothing the kernel failed to write stays only in its cache."""
    with _named_errors(path):
        found = connection.pragma("quick_check")
        if found != "ok":
            raise StoreDamaged(f"{path} is damaged and was left as it is: {found}; restore a backup")
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


@contextlib.contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """SQLite's own words, as errors that name the file and say what to do."""
    try:
        yield
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise StoreDamaged(f"{path} is not a sound database and was left as it is: {error}") from error
    except apsw.ReadOnlyError as error:
        raise StoreReadOnly(f"{path} cannot be written: {error}") from error
    except apsw.CantOpenError as error:
        raise StoreError(f"{path} cannot be opened: {error}") from error
    except apsw.BusyError as error:
        raise StoreLocked(f"another process holds a lock inside {path}: {error}") from error

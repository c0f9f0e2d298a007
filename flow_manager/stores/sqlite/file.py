"""The database file: how it is opened, and whether it is sound."""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal

import apsw

from flow_manager.errors import (
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreLocked,
    StoreNewer,
    StoreReadOnly,
)
from flow_manager.stores.migrations import load_migrations

log = logging.getLogger(__name__)

Durability = Literal["full", "relaxed"]

APPLICATION_ID: Final = 0x464C4F57
"""The letters FLOW, in the file's header: other programs' databases are left alone."""

_MIGRATIONS: Final = load_migrations("flow_manager.stores.sqlite")
ALWAYS_VERIFIED: Final = 256 << 20
"""Bytes of a file that is verified at every start: 0.3 s (measured: 900 MB/s)."""

_SYNCHRONOUS: Final[Mapping[Durability, int]] = {"full": 2, "relaxed": 1}
"""SQLite's numbers for FULL and NORMAL."""


def open_writer(path: Path, durability: Durability, sql: Mapping[str, str]) -> apsw.Connection:
    """The one write connection: settings verified, file verified after an unclean end, migrated."""
    with named_errors(path):
        connection = apsw.Connection(str(path))
        try:
            _check_ownership(connection, path)
            _configure_writer(connection, durability)
            if connection.pragma("user_version"):
                _verify_if_wise(connection, path, sql)
            migrate(connection)
            connection.execute(sql["set_property"], ("clean_stop", "0"))
        except BaseException:
            connection.close(True)
            raise
        return connection


def _check_ownership(connection: apsw.Connection, path: Path) -> None:
    _check_version(connection, path)
    holds_tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
    if holds_tables and connection.pragma("application_id") != APPLICATION_ID:
        raise StoreDamaged(f"{path} is not a database of Flow Manager and was left as it is")


def _configure_writer(connection: apsw.Connection, durability: Durability) -> None:
    connection.set_busy_timeout(250)
    if not connection.pragma("page_count"):
        connection.pragma("auto_vacuum", "incremental")
    _set(connection, "journal_mode", "wal", expected="wal")
    _set(connection, "synchronous", _SYNCHRONOUS[durability], expected=_SYNCHRONOUS[durability])
    _set(connection, "wal_autocheckpoint", 0, expected=0)
    _set(connection, "journal_size_limit", 64 << 20, expected=64 << 20)
    _set(connection, "temp_store", 2, expected=2)
    _set(connection, "cache_size", -16_000, expected=-16_000)
    _set(connection, "cell_size_check", 1, expected=1)


def _set(connection: apsw.Connection, pragma: str, value: str | int, *, expected: str | int) -> None:
    """Set a pragma and read it back: some builds change what a setting means or forbid it."""
    connection.pragma(pragma, value)
    found = connection.pragma(pragma)
    if found != expected:
        raise StoreError(
            f"SQLite answered {found!r} to {pragma}={value!r}; this build cannot keep the promises"
        )


def open_reader(path: Path) -> apsw.Connection:
    """A read-only connection. Works beside the owner of the file, and on a read-only file system."""
    if not path.exists():
        raise StoreError(f"there is no database at {path}; start the service or run a flow first")
    with named_errors(path):
        connection = _open_read_only(path)
        try:
            connection.set_busy_timeout(1000)
            connection.pragma("cache_size", -1_000)
            connection.pragma("cell_size_check", 1)
            connection.pragma("query_only", 1)
            _check_version(connection, path)
        except BaseException:
            connection.close(True)
            raise
        return connection


_OUT_OF_FILES: Final = (errno.EMFILE, errno.ENFILE)
"""The errors of a system that gives no more descriptors: they say nothing about the file."""


def _open_read_only(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.pragma("schema_version")
        return connection
    except (apsw.CantOpenError, apsw.ReadOnlyError):
        is_out_of_files = connection.system_errno in _OUT_OF_FILES
        connection.close(True)
        if is_out_of_files:
            raise
    except BaseException:
        connection.close(True)
        raise
    # Nothing may be written beside the file, not even the shared index of the log. A log that was
    # not checkpointed is then unreadable, and pretending it is empty would show an older state.
    wal = Path(f"{path}-wal")
    if wal.exists() and wal.stat().st_size:
        raise StoreReadOnly(
            f"{wal} was not checkpointed and {path.parent} cannot be written; make it writable once"
        )
    uri = f"{path.absolute().as_uri()}?immutable=1"
    return apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)


def migrate(connection: apsw.Connection) -> None:
    """Bring the schema up to date, each migration in a transaction of its own."""
    done = connection.pragma("user_version")
    for migration in _MIGRATIONS:
        if migration.number > done:
            connection.execute(
                f"BEGIN IMMEDIATE; {migration.sql}; PRAGMA user_version = {migration.number};"
                f"PRAGMA application_id = {APPLICATION_ID}; COMMIT"
            )


def newest_version() -> int:
    return _MIGRATIONS[-1].number


def _check_version(connection: apsw.Connection, path: Path) -> None:
    version, known = connection.pragma("user_version"), newest_version()
    if version > known:
        raise StoreNewer(
            f"{path} has schema {version} of a newer version, and this one knows up to {known}: upgrade it"
        )


def _verify_if_wise(connection: apsw.Connection, path: Path, sql: Mapping[str, str]) -> None:
    """After an unclean end always, else as long as it takes no time."""
    if connection.execute(sql["get_property"], ("clean_stop",)).get != "1":
        log.info("the last process did not stop cleanly; verifying %s", path)
        verify(connection, path)
    elif path.stat().st_size <= ALWAYS_VERIFIED:
        verify(connection, path)


def verify(connection: apsw.Connection, path: Path) -> None:
    """Check the file, then rewrite its pages from the log and sync them, so that nothing the kernel
    failed to write stays only in its cache."""
    # A look at every page should not leave them all in memory: they are not those that will be needed.
    cache = connection.pragma("cache_size")
    connection.pragma("cache_size", -1_000)
    found = connection.pragma("quick_check")
    connection.pragma("cache_size", cache)
    if found != "ok":
        raise StoreDamaged(f"{path} is damaged and was left as it is: {found}; restore a backup")
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


@contextlib.contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """SQLite's own words, as errors that name the file and say what to do. A statement that does
    not fit to the schema counts as damage: statements and schema are shipped together."""
    try:
        yield
    except (apsw.NotADBError, apsw.CorruptError, apsw.FormatError, apsw.SQLError) as error:
        raise StoreDamaged(f"{path} is not a sound database and was left as it is: {error}") from error
    except apsw.ReadOnlyError as error:
        raise StoreReadOnly(f"{path} cannot be written: {error}") from error
    except apsw.FullError as error:
        raise StoreFull(f"no space left for {path}; free some and start again") from error
    except apsw.BusyError as error:
        raise StoreLocked(f"another process holds a lock inside {path}: {error}") from error
    except apsw.InterruptError as error:
        raise StoreError(f"reading {path} took too long and was given up") from error
    except apsw.Error as error:
        raise StoreError(f"{path} cannot be used: {type(error).__name__}: {error}") from error

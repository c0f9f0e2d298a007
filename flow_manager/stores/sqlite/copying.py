"""A verified copy of a database file, whoever writes to it meanwhile."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import apsw

from flow_manager.errors import StoreDamaged, StoreError, StoreFull, TargetExists
from flow_manager.ports.database import Copied
from flow_manager.stores.sqlite.file import APPLICATION_ID, named_errors, open_reader
from flow_manager.stores.sqlite.file_lock import FileLock

STEP: Final = 4_096
"""Pages that are copied at once (16 MiB): between two of them the process can be interrupted."""
UNFINISHED: Final = ".partial"
"""What the name of a copy ends with until it is whole."""


def copy_database(source: Path, target: Path, *, replace: bool, keep: bool = False) -> Copied:
    """Copy under another name, verify, sync, and only then rename. With `keep` the file that is replaced
    is kept beside it.

    One read transaction spans the copy: without it SQLite begins again whenever somebody writes, and
    under load never ends. While it lasts the write-ahead log of the source grows.
    """
    source, target = source.resolve(), target.resolve()
    _refuse(source, target, replace)
    unfinished = target.with_name(target.name + UNFINISHED)
    with _own(unfinished), _owned_if_there(target):
        try:
            schema = _copy(source, unfinished)
            size = unfinished.stat().st_size
            _refuse(source, target, replace)
            if not keep:
                _refuse_log(target)
            kept = _set_aside(target) if keep else None
            os.replace(unfinished, target)
            _sync(target.parent)
        except OSError as error:
            raise StoreError(f"{target} cannot be written: {error.strerror}") from error
        finally:
            unfinished.unlink(missing_ok=True)
    return Copied(str(target), size, schema, None if kept is None else str(kept))


def _refuse(source: Path, target: Path, replace: bool) -> None:
    if target.exists() and source.exists() and target.samefile(source):
        raise TargetExists(f"{target} is the file that is to be copied; name another")
    if not target.parent.is_dir():
        raise StoreError(f"there is no folder {target.parent}")
    if target.exists() and not (replace and target.is_file()):
        raise TargetExists(f"{target} exists; name another file, or replace it with --force")


def _refuse_log(target: Path) -> None:
    """The log of another database must never stand beside the copy, and may hold what is nowhere else."""
    log = _log_of(target)
    if log.exists() and log.stat().st_size:
        raise TargetExists(f"{log} shows that {target} was not closed; name another file")


@contextlib.contextmanager
def _own(path: Path) -> Iterator[None]:
    """Nobody else makes a file of this name. What an earlier process left there, killed, is overwritten."""
    for leftover in (f"{path}-wal", f"{path}-journal", f"{path}-shm"):
        Path(leftover).unlink(missing_ok=True)
    lock = FileLock(path)
    try:
        os.truncate(path, 0)
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _owned_if_there(path: Path) -> Iterator[None]:
    """A file that is replaced belongs to nobody: who has it open would go on with what has no name."""
    lock = FileLock(path) if path.exists() or _log_of(path).exists() else None
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _copy(source: Path, target: Path) -> int:
    """The pages of the source; the answer is the version of its schema."""
    reading = open_reader(source)
    try:
        with named_errors(source):
            _check_ours(reading, source)
            _copy_pages(reading, target)
    finally:
        reading.close(True)
    return verify_copy(target)


def _copy_pages(reading: apsw.Connection, target: Path) -> None:
    with reading:  # a read transaction: nothing in it changes until the copy is whole
        reading.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        writing = apsw.Connection(str(target))
        try:
            writing.pragma("journal_mode", "off")
            writing.pragma("synchronous", 0)
            with writing.backup("main", reading, "main") as backup:
                while not backup.done:
                    backup.step(STEP)
        except apsw.FullError as error:
            raise StoreFull(f"no space left for {target}; free some and try again") from error
        finally:
            writing.close(True)
    _make_plain(target)
    _sync(target)


def _make_plain(path: Path) -> None:
    """Without a write-ahead log: one file, that is looked at without leaving others beside it."""
    connection = apsw.Connection(str(path))
    try:
        connection.pragma("journal_mode", "delete")
    finally:
        connection.close(True)


def verify_copy(path: Path) -> int:
    """Look at every page of a file that nobody writes to; the answer is the version of its schema.
    Raises `StoreDamaged`."""
    with named_errors(path):
        uri = f"{path.absolute().as_uri()}?immutable=1"
        connection = apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
        try:
            _check_ours(connection, path)
            found = connection.pragma("quick_check")
            if found != "ok":
                raise StoreDamaged(f"{path} is damaged: {found}")
            schema: int = connection.pragma("user_version")
            return schema
        finally:
            connection.close(True)


def _check_ours(connection: apsw.Connection, path: Path) -> None:
    if connection.pragma("application_id") != APPLICATION_ID:
        raise StoreDamaged(f"{path} is not a database of Flow Manager")


def _set_aside(path: Path) -> Path | None:
    """Give the file that is there, and its log, another name, which is the answer."""
    if not path.exists():
        return None
    kept = path.with_name(f"{path.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    log = _log_of(path)
    if not (log.exists() and log.stat().st_size):
        os.link(path, kept)  # so there is a database under its name at every moment
    else:
        # First the database: a log without one is refused by whoever starts in between. The other way
        # round, a start would find an older state.
        os.rename(path, kept)
        os.rename(log, _log_of(kept))
    Path(f"{path}-shm").unlink(missing_ok=True)
    log.unlink(missing_ok=True)
    return kept


def _log_of(path: Path) -> Path:
    return Path(f"{path}-wal")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

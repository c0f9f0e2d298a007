"""The database file as an operator handles it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from flow_manager.ports.database import Copied, Shrunk, Upgraded
from flow_manager.ports.retention import Prune, Pruned, Retention
from flow_manager.stores.sqlite.candidates import FIRST, Candidates
from flow_manager.stores.sqlite.copying import copy_database
from flow_manager.stores.sqlite.file import named_errors, newest_version, open_reader, open_writer
from flow_manager.stores.sqlite.file_lock import FileLock
from flow_manager.stores.sqlite.ledger import SqliteLedger
from flow_manager.stores.sqlite.pruning import MOST_LOOKED_AT, cutoff_of, used_bytes
from flow_manager.stores.sqlite.reader import STATEMENTS


class SqliteDatabase:
    """Implements `ports.database.Database`."""

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()

    def back_up(self, target: Path, *, force: bool = False) -> Copied:
        return copy_database(self._path, target, replace=force)

    def restore(self, source: Path, *, force: bool = False) -> Copied:
        return copy_database(source, self._path, replace=force, keep=True)

    def upgrade(self) -> Upgraded:
        before = self._version()
        with self._owned():
            return Upgraded(before, newest_version())

    def prune(self, now: datetime, retention: Retention) -> Shrunk:
        self._version()
        executions, before, after = 0, self._path.stat().st_size, FIRST
        with self._owned() as ledger:
            while True:
                pruned: Pruned = ledger.write([Prune(now, retention, after)])[0]
                executions, after = executions + pruned.executions, pruned.after
                if pruned.is_done:
                    break
        return Shrunk(executions, before, self._path.stat().st_size, pruned.is_over)

    def would_prune(self, now: datetime, retention: Retention) -> Shrunk:
        connection = open_reader(self._path)
        try:
            with named_errors(self._path), connection:
                used = used_bytes(connection)
                executions, place = 0, FIRST
                looked_at = MOST_LOOKED_AT if retention.keep is not None else 0
                while looked_at == MOST_LOOKED_AT:
                    chosen = Candidates(connection, STATEMENTS, cutoff_of(now, retention))
                    looked_at = 0
                    for candidate in chosen.after(place, MOST_LOOKED_AT):
                        place, looked_at = candidate.key, looked_at + 1
                        executions += candidate.status is not None
        finally:
            connection.close(True)
        size = self._path.stat().st_size
        return Shrunk(
            executions, size, size, retention.most_bytes is not None and used > retention.most_bytes
        )

    def _version(self) -> int:
        """Of the schema. Raises `StoreError` if there is no database."""
        connection = open_reader(self._path)
        try:
            version: int = connection.pragma("user_version")
            return version
        finally:
            connection.close(True)

    @contextmanager
    def _owned(self) -> Iterator[SqliteLedger]:
        """The file for itself: verified, brought up to date, and left tidy."""
        lock = FileLock(self._path)
        try:
            ledger = SqliteLedger(open_writer(self._path, "full", STATEMENTS), STATEMENTS)
            try:
                with named_errors(self._path):
                    yield ledger
            finally:
                ledger.close()
        finally:
            lock.release()

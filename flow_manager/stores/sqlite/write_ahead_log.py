"""The write-ahead log: how long it has grown, and when it is copied into the database.

SQLite's own checkpoints are off, so that they run on the writer's thread between two batches,
and after a commit has been answered for, never inside one.
"""

from __future__ import annotations

import logging
import time
from typing import Final

import apsw

log = logging.getLogger(__name__)

PASSIVE_CHECKPOINT: Final = 4_096
"""Pages in the log (16 MiB) from which it is copied into the database as far as readers allow."""
TRUNCATING_CHECKPOINT: Final = 16_384
"""Pages in the log (64 MiB) from which readers are waited for and the log is cut."""
TRY_AGAIN: Final = 5.0
"""Seconds after which a log that could not be copied is tried again, if it has not grown by then."""
ALARMING: Final = 65_536
"""Pages in the log (256 MiB) from which somebody should look who keeps it from being cut."""


class WriteAheadLog:
    """The log of the one write connection; called by the thread that writes."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection
        self._pages = 0
        self._next_at = PASSIVE_CHECKPOINT
        self._again_at = float("inf")
        connection.set_wal_hook(self._committed)

    def _committed(self, _connection: apsw.Connection, _database: str, pages: int) -> int:
        self._pages = pages
        return apsw.SQLITE_OK

    def keep_short(self) -> None:
        """After a commit: copy the log when it has grown by another 16 MiB. When a reader, or a
        full disk, is in the way, that much more is written, or some seconds pass, before the next try."""
        if self._pages < self._next_at and not self.is_overdue:
            return
        if self._copy():
            self._next_at, self._again_at = PASSIVE_CHECKPOINT, float("inf")
            return
        self._next_at = self._pages + PASSIVE_CHECKPOINT
        self._again_at = time.monotonic() + TRY_AGAIN
        if self._pages >= ALARMING:
            size = self._pages * 4 // 1024
            log.warning("the write-ahead log has grown to %d MiB: a long read keeps it from being cut", size)

    @property
    def is_overdue(self) -> bool:
        """Whether a log that could not be copied should be tried again. May be asked by any thread."""
        return time.monotonic() >= self._again_at

    def _copy(self) -> bool:
        """Whether all of the log was copied. Only a log that is long is worth waiting for readers; one that
        kept it from being cut before is not waited for again, but looked at."""
        is_long = self._pages >= TRUNCATING_CHECKPOINT
        if self.is_overdue and not self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE):
            return False
        return self._checkpoint(
            apsw.SQLITE_CHECKPOINT_TRUNCATE if is_long else apsw.SQLITE_CHECKPOINT_PASSIVE
        )

    def make_room(self) -> None:
        """On a full disk: what the log holds may fit into the database where it stands. If the database
        would have to grow, nothing can be done here."""
        if self._pages and self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE):
            self._pages = 0

    def cut(self) -> None:
        """Copy everything and empty the log. Raises `apsw.BusyError` or `apsw.FullError`."""
        self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def _checkpoint(self, mode: int) -> bool:
        """Whether all of the log was copied. A failing device is not excused: it ends the process."""
        try:
            pages, copied = self._db.wal_checkpoint(mode=mode)
        except (apsw.BusyError, apsw.FullError) as error:
            log.warning("the write-ahead log could not be copied yet (%s); trying again later", error)
            return False
        return pages == copied

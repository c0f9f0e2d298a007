"""Pruning in the store: one step of it, within a transaction of the journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import apsw

from flow_manager.ports.retention import KEYS_KEPT, Prune, Pruned, Retention
from flow_manager.stores.sqlite.candidates import FIRST, Candidate, Candidates
from flow_manager.stores.sqlite.rows import to_micros

MOST_ROWS: Final = 500
"""Rows that a step removes; measured: 7 ms, with four rows of history for each execution."""
MOST_BYTES: Final = 4 << 20
"""Bytes of history that a step removes, but for the last row: each page of a long text is visited."""
MOST_LOOKED_AT: Final = 500
"""Executions that a step looks at."""
MOST_PAGES: Final = 256
"""Pages that a step gives back to the disk: 1 MiB."""
SPARE_PAGES: Final = 256
SPARE_SHARE: Final = 16
"""One page of so many stays in the file although it is free: what is written next finds its place there."""
MOST_SCHEDULES: Final = 1_000

_MICROSECONDS: Final = 1_000_000
_IN_PARTS: Final = ("drop_families", "drop_children", "drop_some_mail", "drop_outbox")
"""Statements that remove rows of one execution, as many as they are told to. The counts of children go
before the children, so that no count is ever wrong."""


class Pruning:
    """The write connection as it is used for pruning. An execution that is gone may leave rows behind,
    if they are too many for one step, or a key that is too young: `remains` says so until they are gone."""

    def __init__(self, connection: apsw.Connection, sql: Mapping[str, str]) -> None:
        self._db = connection
        self._sql = sql

    def prune(self, order: Prune) -> Pruned:
        step = _Step(self._db, self._sql, to_micros(order.now))
        step.finish_remains()
        most = order.retention.most_bytes
        is_over = most is not None and used_bytes(self._db) > most
        after, is_at_end = self._walk(step, order, is_over)
        if order.retention.keep is not None:
            step.drop_fires(cutoff_of(order.now, order.retention))
        definitions = step.settle()
        pages = 0 if step.rows else self._give_back()
        is_done = is_at_end and not step.rows and not pages
        return Pruned(step.executions, step.rows, pages, definitions, after, is_done, is_over)

    def _walk(self, step: _Step, order: Prune, is_over: bool) -> tuple[bytes, bool]:
        """Remove what may go; where to go on, and whether the end was reached."""
        if order.retention.keep is None and not is_over:
            return FIRST, True
        cutoff = to_micros(order.now) if is_over else cutoff_of(order.now, order.retention)
        place, looked_at = order.after, 0
        for candidate in Candidates(self._db, self._sql, cutoff).after(place, MOST_LOOKED_AT):
            if step.is_spent:
                return place, False
            place, looked_at = candidate.key, looked_at + 1
            if candidate.status is not None:
                step.remove(candidate, candidate.status)
        is_at_end = looked_at < MOST_LOOKED_AT
        return (FIRST, True) if is_at_end else (place, False)

    def _give_back(self) -> int:
        """Free pages at the end of the file go back to the disk, but for some that will be needed."""
        free: int = self._db.pragma("freelist_count")
        spare = max(SPARE_PAGES, self._db.pragma("page_count") // SPARE_SHARE)
        pages = min(MOST_PAGES, free - spare)
        if pages <= 0:
            return 0
        self._db.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
        return free - int(self._db.pragma("freelist_count"))


class _Step:
    """What one step removes, and how much it still may."""

    def __init__(self, connection: apsw.Connection, sql: Mapping[str, str], now: int) -> None:
        self._db = connection
        self._sql = sql
        self._now = now
        self.rows = 0
        self.executions = 0
        self._bytes = 0
        self._tallies: Counter[str] = Counter()
        self._digests: set[bytes] = set()

    @property
    def is_spent(self) -> bool:
        return self.rows >= MOST_ROWS or self._bytes >= MOST_BYTES

    def finish_remains(self) -> None:
        """Go on with what earlier steps have left."""
        remains: list[Any] = self._db.execute(self._sql["due_remains"], (self._now, MOST_ROWS)).fetchall()
        for (key,) in remains:
            if self.is_spent:
                return
            self._clear(key, was_noted=True)

    def remove(self, candidate: Candidate, status: str) -> None:
        """An execution, and what belongs to it."""
        self._run("drop_execution", candidate.key)
        self._run("drop_labels", candidate.key)
        self._run("drop_slots", candidate.key)
        self.executions += 1
        self._tallies[status] += 1
        self._digests.add(candidate.digest)
        self._clear(candidate.key, was_noted=False)

    def drop_fires(self, before: int) -> None:
        """What became of nominal times that long ago, if there is room for it. Their schedules have gone
        on since, and look back no further than their cursors."""
        if self.is_spent:
            return
        for (schedule,) in self._db.execute(self._sql["schedules_with_fires"], (MOST_SCHEDULES,)).fetchall():
            left = MOST_ROWS - self.rows
            if left <= 0:
                return
            self._run("drop_fires", schedule, before, left)

    def settle(self) -> list[str]:
        """Count what is gone, and let go of flows that nothing uses any more; their digests."""
        gone = [(status, -number) for status, number in self._tallies.items()]
        if gone:
            self._db.executemany(self._sql["count_ended"], gone)
        dropped = [digest for digest in sorted(self._digests) if self._run("drop_unused_definition", digest)]
        return [digest.hex() for digest in dropped]

    def _clear(self, key: bytes, was_noted: bool) -> None:
        due_at = self._rest_of(key)
        if due_at is not None:
            self._db.execute(self._sql["note_remains"], (key, due_at))
        elif was_noted:
            self._db.execute(self._sql["drop_remains"], (key,))

    def _rest_of(self, key: bytes) -> int | None:
        """Remove what is left of an execution; when to go on with it, or None if nothing is left."""
        for name in _IN_PARTS:
            if not self._part(name, key):
                return 0
        if not self._history(key):
            return 0
        youngest: int | None = self._db.execute(self._sql["youngest_key"], (key,)).get
        if youngest is None:
            return None
        may_go_at = youngest + int(KEYS_KEPT.total_seconds()) * _MICROSECONDS
        if may_go_at > self._now:
            return may_go_at
        return None if self._part("drop_keys", key) else 0

    def _part(self, name: str, key: bytes) -> bool:
        """Remove as many rows as may be; whether that is known to be all."""
        left = max(0, MOST_ROWS - self.rows)
        return self._run(name, key, left) < left

    def _history(self, key: bytes) -> bool:
        left = max(0, MOST_ROWS - self.rows)
        rows: list[Any] = self._db.execute(self._sql["sizes_of_history"], (key, left)).fetchall()
        last = 0
        for seq, size in rows:
            last = seq
            self._bytes += size
            if self._bytes >= MOST_BYTES:
                break
        removed = self._run("drop_history", key, last)
        return removed == len(rows) < left

    def _run(self, name: str, *bindings: Any) -> int:
        """How many rows a statement has changed."""
        self._db.execute(self._sql[name], bindings)
        changed: int = self._db.changes()
        self.rows += changed
        return changed


def cutoff_of(now: datetime, retention: Retention) -> int:
    """What ended up to this time, in microseconds since 1970, is old enough to go."""
    assert retention.keep is not None
    return to_micros(now) - int(retention.keep.total_seconds() * _MICROSECONDS)


def used_bytes(connection: apsw.Connection) -> int:
    """What the rows take; free pages of the file do not count."""
    pages: int = connection.pragma("page_count") - connection.pragma("freelist_count")
    return pages * int(connection.pragma("page_size"))

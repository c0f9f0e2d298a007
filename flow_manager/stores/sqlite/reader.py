"""Reading: a few read-only connections, lent out one at a time."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

from flow_manager.core.events import Event, decode_event
from flow_manager.core.states import STATUS_OF, ExecutionStatus, Wake, WakeReason
from flow_manager.core.view import View
from flow_manager.errors import ExecutionUnknown, StoreDamaged
from flow_manager.ports.backend import Summary, Violation
from flow_manager.ports.store import Agenda, Claim
from flow_manager.stores.sqlite.file import newest_version, open_reader
from flow_manager.stores.sqlite.rows import from_key, from_micros, to_key, to_micros
from flow_manager.stores.statements import load_statements

CONNECTIONS: Final = 4
MOST_VIOLATIONS: Final = 100
"""Violations that are listed of each kind."""
DUE_COUNTED: Final = 100_000
"""How far overdue executions are counted."""

STATEMENTS: Final = load_statements("flow_manager.stores.sqlite")

_VIOLATIONS: Final = {
    "open_without_wake": ("wake.missing", "it has not ended, and nothing will ever move it on"),
    "ended_with_wake": ("wake.leftover", "it has ended or does not exist, and yet something waits to move it on"),
    "history_with_gaps": ("history.gap", "its events are not numbered 1, 2, 3 ... up to the last one"),
}


class SqliteReader:
    """The reading side of the store. Opens its connections when first needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connections: queue.LifoQueue[apsw.Connection | None] = queue.LifoQueue()
        for _ in range(CONNECTIONS):
            self._connections.put(None)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[apsw.Connection]:
        lent = self._connections.get()
        try:
            lent = lent or open_reader(self._path)
            yield lent
        finally:
            self._connections.put(lent)

    def _rows(self, name: str, *bindings: Any) -> list[tuple[Any, ...]]:
        with self._connection() as connection:
            return connection.execute(STATEMENTS[name], bindings).fetchall()

    def describe(self, execution_id: str) -> View:
        with self._connection() as connection, connection:  # one snapshot for all three
            key, found = self._find(connection, execution_id)
            rows = connection.execute(STATEMENTS["events_of"], (key,)).fetchall()
        status, reason, due_at, detail = found
        wake = None if reason is None else Wake(WakeReason(reason), from_micros(due_at), detail)
        try:
            view = View.fold(execution_id, (decode_event(event) for (event,) in rows))
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, IndexError, AttributeError):
            view = View(execution_id)
        if status is not None:
            view.status = ExecutionStatus(status)
            return view
        return view if wake is None else view.waiting_for(wake)

    def history(self, execution_id: str) -> Sequence[Event]:
        with self._connection() as connection, connection:
            key, _ = self._find(connection, execution_id)
            rows = connection.execute(STATEMENTS["events_of"], (key,)).fetchall()
        try:
            return [decode_event(event) for (event,) in rows]
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StoreDamaged(f"the stored history of {execution_id} cannot be read: {error}") from error

    def _find(self, connection: apsw.Connection, execution_id: str) -> tuple[bytes, tuple[Any, ...]]:
        try:
            key = to_key(execution_id)
        except ValueError:
            key = b""
        found = connection.execute(STATEMENTS["execution_by_id"], (key,)).fetchone()
        if found is None:
            raise ExecutionUnknown(f"no execution has the id {execution_id[:64]!r}")
        return key, found

    def executions(self, *, limit: int = 50, status: ExecutionStatus | None = None) -> Sequence[Summary]:
        if status is None:
            rows = self._rows("newest_executions", limit)
        elif status in STATUS_OF.values():
            reasons = [reason.value for reason, open_status in STATUS_OF.items() if open_status is status]
            rows = self._rows("newest_open_executions", msgspec.json.encode(reasons).decode(), limit)
        else:
            rows = self._rows("newest_ended_executions", status.value, limit)
        return [_summary(*row) for row in rows]

    def violations(self) -> Sequence[Violation]:
        found = []
        for name, (code, detail) in _VIOLATIONS.items():
            for (key,) in self._rows(name, MOST_VIOLATIONS):
                found.append(Violation(from_key(key), code, detail))
        return found

    def claims(self) -> Sequence[Claim]:
        return [Claim(from_key(key), key, epoch) for key, epoch in self._rows("live_claims")]

    def open_executions(self) -> int:
        return int(self._rows("count_open")[0][0])

    def agenda(self, now: datetime) -> Agenda:
        with self._connection() as connection:
            (due,) = connection.execute(STATEMENTS["agenda_due"], (to_micros(now), DUE_COUNTED)).fetchone() or (0,)
            (next_at,) = connection.execute(STATEMENTS["agenda_next"]).fetchone() or (None,)
        return Agenda(due, None if next_at is None else from_micros(next_at))

    def describe_store(self) -> Mapping[str, Any]:
        size = self._path.stat().st_size if self._path.exists() else 0
        return {"kind": "sqlite", "path": str(self._path), "schema": newest_version(), "bytes": size}

    def close(self) -> None:
        for _ in range(CONNECTIONS):
            connection = self._connections.get()
            if connection is not None:
                connection.close()


def _summary(
    key: bytes, flow_id: str, state: str, started_at: int, ended_at: int | None, has_ended: int
) -> Summary:
    status = ExecutionStatus(state) if has_ended else STATUS_OF[WakeReason(state)]
    ended = None if ended_at is None else from_micros(ended_at)
    return Summary(from_key(key), flow_id, status, from_micros(started_at), ended)

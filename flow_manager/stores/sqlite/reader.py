"""Reading: a few read-only connections, lent out one at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from flow_manager.core.events import Event, ExecutionEnded, decode_event
from flow_manager.core.states import ENDED, STATUS_OF, ExecutionStatus, Wake, WakeReason
from flow_manager.core.view import View
from flow_manager.errors import ExecutionUnknown, StoreDamaged
from flow_manager.ports.backend import ChildSummary, Summary, Violation
from flow_manager.ports.live import News
from flow_manager.ports.search import Filter, Found
from flow_manager.ports.store import Claim
from flow_manager.stores.sqlite.connections import ReadConnections
from flow_manager.stores.sqlite.doctor import CHECKS, MOST_VIOLATIONS
from flow_manager.stores.sqlite.file import newest_version
from flow_manager.stores.sqlite.rows import (
    end_checksum,
    events_of_rows,
    from_key,
    from_micros,
    start_checksum,
    to_key,
    to_some_key,
)
from flow_manager.stores.sqlite.schedules import SqliteScheduleReader
from flow_manager.stores.sqlite.search import Search, count_by_status
from flow_manager.stores.sqlite.shelf import SqliteShelfReader
from flow_manager.stores.statements import load_statements

Answer = TypeVar("Answer")

CONNECTIONS: Final = 4
MOST_CHILDREN_LISTED: Final = 1_000
MOST_STEPS_OF_NEWS: Final = 50
"""Steps of an execution whose events are read at once,"""
MOST_BYTES_OF_NEWS: Final = 256 << 10
"""and after how many bytes no further step is: whoever is slow to take them has them in memory meanwhile."""
DUE_COUNTED: Final = 100_000
"""How far overdue executions are counted."""

STATEMENTS: Final = load_statements("flow_manager.stores.sqlite")

_UNREADABLE: Final = (msgspec.MsgspecError, ValueError, LookupError, AttributeError, TypeError)
"""What decoding and folding a history raise if it is not one."""

_OPEN_STATUS: Final = {reason.value: status for reason, status in STATUS_OF.items()} | {
    "compensating": ExecutionStatus.COMPENSATING
}


_REASON_OF: Final = {reason.value: reason for reason in WakeReason}


class SqliteReader(SqliteShelfReader):
    """The reading side of the store. Opens its connections when first needed.

    Each call may raise `StoreDamaged`, `StoreReadOnly`, `StoreNewer` or `StoreError`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connections = ReadConnections(path, CONNECTIONS)
        self.schedules = SqliteScheduleReader(self)

    def rows(self, name: str, *bindings: str | int | bytes | None) -> list[tuple[Any, ...]]:
        """The rows of a statement, as they are stored."""
        return self._each(lambda *row: row, name, *bindings)

    def _each(
        self, convert: Callable[..., Answer], name: str, *bindings: str | int | bytes | None
    ) -> list[Answer]:
        """What `convert` makes of each row."""
        with self._connections.lent() as connection, _damage(f"{self._path} holds values that cannot be"):
            return [convert(*row) for row in connection.execute(STATEMENTS[name], bindings)]

    def _stored(self, execution_id: str) -> tuple[tuple[Any, ...], list[bytes]]:
        """The row and the events of an execution, of one snapshot. Raises `ExecutionUnknown`."""
        key = to_some_key(execution_id)
        damage = _damage(f"what {self._path} holds of {execution_id[:64]!r} cannot be read")
        with self._connections.lent() as connection, connection, damage:
            found = connection.execute(STATEMENTS["execution_by_id"], (key,)).fetchone()
            rows: Iterator[Any] = connection.execute(STATEMENTS["events_of"], (key,))
            events = events_of_rows(key, rows)
        if found is None:
            raise ExecutionUnknown(f"no execution has the id {execution_id[:64]!r}")
        return found, events

    def describe(self, execution_id: str) -> View:
        """What cannot be read, or contradicts itself, needs repair."""
        (has_ended, reason, due_at, last_seq, detail, lives), events = self._stored(execution_id)
        try:
            view = View.fold(execution_id, map(decode_event, events))
            wake = None
            if reason is not None:
                wake = Wake(WakeReason(reason), from_micros(due_at), detail.decode(errors="replace"))
        except _UNREADABLE:
            return View(execution_id, status=ExecutionStatus.NEEDS_REPAIR)
        if wake is None and has_ended and view.is_ended:
            return view
        can_be_open = not view.is_ended or lives > 1  # opened again, and nothing has come of it yet
        if wake is None or has_ended or not can_be_open or view.last_seq != last_seq:
            view.status = ExecutionStatus.NEEDS_REPAIR
            return view
        return view.waiting_for(wake)

    def history(self, execution_id: str) -> Sequence[Event]:
        (has_ended, _, _, last_seq, _, _), stored = self._stored(execution_id)
        with _damage(f"the history of {execution_id} stored in {self._path} cannot be read"):
            events = [decode_event(event) for event in stored]
            if last_seq not in (None, len(events)):
                raise ValueError(f"{last_seq} events were recorded and {len(events)} found")
            if has_ended and not isinstance(events[-1], ExecutionEnded):
                raise ValueError("it has ended, and its end is missing")
        return events

    def executions(self, *, limit: int = 50, status: ExecutionStatus | None = None) -> Sequence[Summary]:
        found, before = list[Summary](), None
        while len(found) < limit:
            more = self.find(Filter(status=status), before, limit - len(found))
            found += more.executions
            before = more.last
            if before is None:
                break
        return found

    def find(self, wanted: Filter, before: str | None, limit: int) -> Found:
        key = None if before is None else to_key(before)
        damage = _damage(f"{self._path} holds values that cannot be")
        with self._connections.lent() as connection, connection, damage:
            rows, last = Search(connection, STATEMENTS).find(wanted, key, limit)
            executions = [_summary(*row) for row in rows]
        return Found(executions, None if last is None else from_key(last))

    def counts(self) -> Mapping[ExecutionStatus, int]:
        counts: dict[ExecutionStatus, int] = {}
        with self._connections.lent() as connection, connection, _damage(f"{self._path} is damaged"):
            counts |= count_by_status(connection, STATEMENTS)
        return counts

    def news(self, execution_id: str, after: int) -> News:
        key = to_some_key(execution_id)
        damage = _damage(f"the history of {execution_id[:64]} stored in {self._path} cannot be read")
        with self._connections.lent() as connection, connection, damage:
            found: Any = connection.execute(STATEMENTS["execution_by_id"], (key,)).fetchone()
            bounds = (key, after + 1, MOST_STEPS_OF_NEWS + 1)
            rows, is_all = _first_of(connection.execute(STATEMENTS["events_after"], bounds))
            if found is None:
                raise ExecutionUnknown(f"no execution has the id {execution_id[:64]!r}")
            first = rows[0][0] if rows else 1
            stored = events_of_rows(key, rows, first)
            events = [decode_event(event) for event in stored][after + 1 - first :]
        return News(events, bool(found[0]) and is_all)

    def violations(self, *, quick: bool = False) -> Sequence[Violation]:
        found: list[Violation] = []
        for check in CHECKS:
            if check.is_quick or not quick:
                guilty = self._each(from_key, check.statement, *check.bindings, MOST_VIOLATIONS)
                found += [Violation(execution_id, check.code, check.detail) for execution_id in guilty]
        return found

    def definition(self, execution_id: str) -> tuple[str, bytes]:
        found = self._each(lambda digest, text: (digest, text), "definition_of", to_some_key(execution_id))
        if not found:
            raise ExecutionUnknown(f"no execution has the id {execution_id[:64]!r}")
        digest, text = found[0]
        if sha256(text).digest() != digest:
            raise StoreDamaged(f"the flow of {execution_id} stored in {self._path} is damaged")
        return digest.hex(), bytes(text)

    def children(self, execution_id: str) -> Sequence[ChildSummary]:
        children = self._each(_child, "children_of", to_some_key(execution_id), MOST_CHILDREN_LISTED)
        if not children and not self._each(bytes, "digest_of", to_some_key(execution_id)):
            raise ExecutionUnknown(f"no execution has the id {execution_id[:64]!r}")
        return children

    def claims(self) -> Sequence[Claim]:
        return self._each(lambda key, epoch: Claim(from_key(key), key, epoch), "live_claims")

    def open_executions(self) -> int:
        return self._each(int, "count_open")[0]

    def key(self) -> bytes:
        found = self._each(bytes.fromhex, "get_property", "key")
        if not found:
            raise StoreDamaged(f"{self._path} has lost its key")
        return found[0]

    def describe_store(self) -> Mapping[str, Any]:
        size = self._path.stat().st_size if self._path.exists() else 0
        return {"kind": "sqlite", "path": str(self._path), "schema": newest_version(), "bytes": size}

    def close(self) -> None:
        self._connections.close()


def _child(run: int, attempt: int, index: int, child: bytes, status: bytes | None) -> ChildSummary:
    return ChildSummary(
        run, attempt, index, from_key(child), None if status is None else status.decode(errors="replace")
    )


@contextlib.contextmanager
def _damage(what: str) -> Iterator[None]:
    """Values that no store wrote, of whatever kind: a damaged file may hold anything."""
    try:
        yield
    except _UNREADABLE as error:
        raise StoreDamaged(f"{what}: {error}") from error


def _summary(*row: Any) -> Summary:
    """`state` is the final status, or the wake reason of an open execution; damage makes it neither."""
    key, digest, flow_id, state, started_at, ended_at, checksum, error, reason, labels = row
    name, flow = _text(state), _text(flow_id)
    found, status = start_checksum(key, digest, flow, started_at), _OPEN_STATUS.get(name)
    if ended_at is not None:
        found += end_checksum(key, name, ended_at)
        status = ExecutionStatus(name) if name in ENDED else None
    if status is None or found != checksum:
        status = ExecutionStatus.NEEDS_REPAIR
    ended = None if ended_at is None else from_micros(ended_at)
    return Summary(
        from_key(key),
        flow,
        status,
        from_micros(started_at),
        ended,
        _labels(labels),
        None if error is None else _text(error),
        _REASON_OF.get(_text(reason)),
    )


def _first_of(found: Iterable[Any]) -> tuple[list[Any], bool]:
    """As many rows of events as are read at once, and whether these are all."""
    rows: list[Any] = []
    size = 0
    for row in found:
        if len(rows) == MOST_STEPS_OF_NEWS or size >= MOST_BYTES_OF_NEWS:
            return rows, False
        rows.append(row)
        size += len(row[2])
    return rows, True


def _labels(text: bytes) -> Mapping[str, str]:
    """Damaged ones are left out: they must not stop the reading of the others."""
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except _UNREADABLE:
        return {}


def _text(text: bytes | None) -> str:
    return (text or b"").decode(errors="replace")

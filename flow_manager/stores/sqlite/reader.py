"""Reading: a few read-only connections, lent out one at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from flow_manager.core.events import Event, ExecutionEnded, decode_event
from flow_manager.core.states import ENDED, MOVING, STATUS_OF, ExecutionStatus, Wake, WakeReason
from flow_manager.core.view import View
from flow_manager.errors import ExecutionUnknown, StoreDamaged
from flow_manager.ports.backend import ChildSummary, Summary, Violation
from flow_manager.ports.store import Claim
from flow_manager.stores.sqlite.connections import ReadConnections
from flow_manager.stores.sqlite.file import newest_version
from flow_manager.stores.sqlite.rows import (
    end_checksum,
    events_of_rows,
    from_key,
    from_micros,
    start_checksum,
    to_some_key,
)
from flow_manager.stores.sqlite.shelf import SqliteShelfReader
from flow_manager.stores.statements import load_statements

Answer = TypeVar("Answer")

CONNECTIONS: Final = 4
MOST_VIOLATIONS: Final = 100
"""Violations that are listed of each kind."""
MOST_CHILDREN_LISTED: Final = 1_000
DUE_COUNTED: Final = 100_000
"""How far overdue executions are counted."""

STATEMENTS: Final = load_statements("flow_manager.stores.sqlite")

_REASONS: Final = msgspec.json.encode(list(WakeReason)).decode()
_ENDS: Final = msgspec.json.encode(sorted(ENDED)).decode()

_VIOLATIONS: Final[Sequence[tuple[str, tuple[str, ...], str, str]]] = (
    ("open_without_wake", (), "wake.missing", "it has not ended, and nothing will ever move it on"),
    (
        "ended_with_wake",
        (),
        "wake.leftover",
        "it has ended or does not exist, and yet something waits to move it on",
    ),
    ("unknown_reason", (_REASONS,), "wake.unknown", "it waits for something that does not exist"),
    ("unknown_status", (_ENDS,), "status.unknown", "it has ended in a way that does not exist"),
    ("history_with_gaps", (), "history.gap", "its events are not numbered 1, 2, 3 ..."),
    ("history_with_another_end", (), "history.end", "its last event is not the one that was recorded last"),
    ("execution_without_history", (), "history.missing", "it has no events"),
    ("history_without_execution", (), "history.leftover", "there are events of it, but it does not exist"),
    ("waits_for_no_child", (), "children.none", "it waits for the end of children, and none is open"),
    (
        "child_whose_end_was_not_told",
        (),
        "children.untold",
        "a child of it has ended, and it was not told",
    ),
    ("family_miscounted", (), "children.count", "its children were not counted as they are"),
    ("slot_leaked", (), "slot.leaked", "it has ended or does not exist, and yet it holds a slot"),
    ("slot_not_given", (), "slot.waiting", "it waits for a slot, and one is free"),
    ("mail_for_nobody", (), "mail.leftover", "something was sent to it that nobody will take up"),
)
"""Statement, what it is given, and how what it finds is called."""

_UNREADABLE: Final = (msgspec.MsgspecError, ValueError, LookupError, AttributeError, TypeError)
"""What decoding and folding a history raise if it is not one."""

_OPEN_STATUS: Final = {reason.value: status for reason, status in STATUS_OF.items()} | {
    "compensating": ExecutionStatus.COMPENSATING
}


class SqliteReader(SqliteShelfReader):
    """The reading side of the store. Opens its connections when first needed.

    Each call may raise `StoreDamaged`, `StoreReadOnly`, `StoreNewer` or `StoreError`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connections = ReadConnections(path, CONNECTIONS)

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
        (has_ended, reason, due_at, last_seq, detail), events = self._stored(execution_id)
        try:
            view = View.fold(execution_id, map(decode_event, events))
            wake = None
            if reason is not None:
                wake = Wake(WakeReason(reason), from_micros(due_at), detail.decode(errors="replace"))
        except _UNREADABLE:
            return View(execution_id, status=ExecutionStatus.NEEDS_REPAIR)
        if wake is None and has_ended and view.is_ended:
            return view
        can_be_open = not view.is_ended or view.status is ExecutionStatus.COMPLETED  # and opened again
        if wake is None or has_ended or not can_be_open or view.last_seq != last_seq:
            view.status = ExecutionStatus.NEEDS_REPAIR
            return view
        return view.waiting_for(wake)

    def history(self, execution_id: str) -> Sequence[Event]:
        (has_ended, _, _, last_seq, _), stored = self._stored(execution_id)
        with _damage(f"the history of {execution_id} stored in {self._path} cannot be read"):
            events = [decode_event(event) for event in stored]
            if last_seq not in (None, len(events)):
                raise ValueError(f"{last_seq} events were recorded and {len(events)} found")
            if has_ended and not isinstance(events[-1], ExecutionEnded):
                raise ValueError("it has ended, and its end is missing")
        return events

    def executions(self, *, limit: int = 50, status: ExecutionStatus | None = None) -> Sequence[Summary]:
        if status is None:
            return self._each(_summary, "newest_executions", limit)
        if status is ExecutionStatus.COMPLETED:
            return self._each(_summary, "newest_completed_executions", limit)
        if status in ENDED:
            return self._each(_summary, "newest_otherwise_ended_executions", status.value, limit)
        is_ending = status is ExecutionStatus.COMPENSATING
        wanted = MOVING if is_ending else {status}
        reasons = [reason.value for reason, each in STATUS_OF.items() if each in wanted]
        names = msgspec.json.encode(reasons).decode()
        return self._each(_summary, "newest_open_executions", names, is_ending, limit)

    def violations(self) -> Sequence[Violation]:
        found: list[Violation] = []
        for name, bindings, code, detail in _VIOLATIONS:
            guilty = self._each(from_key, name, *bindings, MOST_VIOLATIONS)
            found += [Violation(execution_id, code, detail) for execution_id in guilty]
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
    key, digest, flow_id, state, started_at, ended_at, checksum = row
    name, flow = (state or b"").decode(errors="replace"), (flow_id or b"").decode(errors="replace")
    found, status = start_checksum(key, digest, flow, started_at), _OPEN_STATUS.get(name)
    if ended_at is not None:
        found += end_checksum(key, name, ended_at)
        status = ExecutionStatus(name) if name in ENDED else None
    if status is None or found != checksum:
        status = ExecutionStatus.NEEDS_REPAIR
    ended = None if ended_at is None else from_micros(ended_at)
    return Summary(from_key(key), flow, status, from_micros(started_at), ended)

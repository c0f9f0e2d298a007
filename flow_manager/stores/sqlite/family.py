"""Parents and children in the store. Called by the ledger only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import apsw
import msgspec

from flow_manager.core.children import ChildEnd, Children, ParentLink, ToChildren
from flow_manager.core.events import Event, ExecutionEnded
from flow_manager.core.results import TaskError
from flow_manager.core.states import ExecutionStatus
from flow_manager.ports.store import NewExecution, NewMail
from flow_manager.stores.sqlite.mailbox import Mailbox
from flow_manager.stores.sqlite.rows import from_key, to_key, to_micros

Rows = list[tuple[Any, ...]]

MOST_ENDS: Final = 1 << 20
"""Bytes of JSON of the ends of children beyond which their outputs are not read."""


class _End(msgspec.Struct, omit_defaults=True):
    output: Any = None
    error: TaskError | None = None


class _EndWithoutOutput(msgspec.Struct):
    error: TaskError | None = None


class _Completed(NamedTuple):
    """A child that completed, and what is needed to open it again."""

    place: int
    child: bytes
    status: str
    ended_at: int
    bytes: int
    last_seq: int


class Family:
    def __init__(self, connection: apsw.Connection, sql: Mapping[str, str], mailbox: Mailbox) -> None:
        self._db = connection
        self._sql = sql
        self._mailbox = mailbox

    def add(self, children: Sequence[NewExecution]) -> None:
        """Note whose children these new executions are."""
        rows = [(*_place(child.parent), to_key(child.execution_id)) for child in children if child.parent]
        self._db.executemany(self._sql["count_start"], [row[:3] for row in rows])
        self._db.executemany(self._sql["add_child"], rows)

    def ended(self, parent: ParentLink, last: Event) -> None:
        """Tell the parent how a child ended."""
        if not isinstance(last, ExecutionEnded):
            raise ValueError("the last event of an execution that ends is its end")
        told = msgspec.json.encode(_End(last.output, last.error)).decode()
        place = _place(parent)
        is_good = last.status is ExecutionStatus.COMPLETED
        self._db.execute(self._sql["end_child"], (last.status.value, told, *place))
        self._db.execute(self._sql["count_end"], (1, is_good, len(told.encode()), *place[:3]))
        self._db.execute(self._sql["wake_parent"], (to_micros(last.at), place[0]))

    def look(self, execution_id: str, run: int, attempt: int, with_ends: bool) -> Children:
        attempt_of = (to_key(execution_id), run, attempt)
        counted = self._db.execute(self._sql["count_children"], attempt_of).fetchone()
        started, ended, completed, size = counted or (0, 0, 0, 0)
        ends = tuple(self._ends(attempt_of)) if with_ends else None
        return Children(started, started - ended, ended - completed, size, ends)

    def _ends(self, attempt_of: tuple[bytes, int, int]) -> Iterator[ChildEnd]:
        room = MOST_ENDS
        for place, child, status, ended in self._db.execute(self._sql["ends_of_children"], attempt_of):
            room -= len(ended)
            yield _end(place, child, status, ended, _End if room >= 0 else _EndWithoutOutput)

    def tell(self, parent: bytes, word: ToChildren, at: datetime) -> list[str]:
        """Send a word to children; the answer names those who got one."""
        attempt_of = (parent, word.run, word.attempt)
        if word.kind == "compensate":
            completed = [_Completed(*row) for row in self._all("completed_children", attempt_of)]
            return [self._reopen(attempt_of, each, at) for each in completed]
        told = []
        for (child,) in self._all("open_children", attempt_of):
            execution_id = from_key(child)
            if self._mailbox.send(NewMail(execution_id, at, "cancel", "its parent is to end")):
                told.append(execution_id)
        return told

    def _reopen(self, attempt_of: tuple[bytes, int, int], completed: _Completed, at: datetime) -> str:
        child = completed.child
        self._db.execute(self._sql["reopen_child"], (*attempt_of, completed.place))
        self._db.execute(self._sql["count_end"], (-1, -1, -completed.bytes, *attempt_of))
        self._mailbox.reopen(child, completed.status, completed.ended_at, completed.last_seq, at)
        self._mailbox.send(NewMail(from_key(child), at, "compensate"))
        return from_key(child)

    def _all(self, name: str, bindings: tuple[Any, ...]) -> Rows:
        return self._db.execute(self._sql[name], bindings).fetchall()


def _place(link: ParentLink | None) -> tuple[bytes, int, int, int]:
    assert link is not None
    return to_key(link.execution_id), link.run, link.attempt, link.index


def _end(
    place: int, child: bytes, status: bytes, ended: bytes, kind: type[_End | _EndWithoutOutput]
) -> ChildEnd:
    end = msgspec.json.decode(ended, type=kind)
    output = end.output if isinstance(end, _End) else None
    return ChildEnd(place, from_key(child), ExecutionStatus(status.decode()), output, end.error)

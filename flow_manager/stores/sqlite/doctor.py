"""The doctor: what must never be in the store, how it is found, and how it is mended.

The history is the truth: what contradicts it is brought in line with it. What the history itself has lost
cannot be mended; an open execution of that kind is set aside for an operator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import apsw
import msgspec

from flow_manager.core.children import ParentLink
from flow_manager.core.events import Event, ExecutionEnded, decode_event
from flow_manager.core.results import TaskError
from flow_manager.core.states import ENDED, ExecutionStatus, WakeReason
from flow_manager.stores.sqlite.family import Family
from flow_manager.stores.sqlite.gate import Gate
from flow_manager.stores.sqlite.mailbox import LIFE, Mailbox
from flow_manager.stores.sqlite.rows import (
    UNREADABLE,
    end_checksum,
    from_key,
    start_checksum,
    tail_of_rows,
    to_micros,
    to_some_key,
)

MOST_VIOLATIONS: Final = 100
"""Violations that are listed of each kind."""

_REASONS: Final = msgspec.json.encode(list(WakeReason)).decode()
_ENDS: Final = msgspec.json.encode(sorted(ENDED)).decode()
_GONE: Final = TaskError("execution.gone", "what is stored of the child cannot be read", retryable=False)


class Check(NamedTuple):
    """A statement that finds the guilty, what it is given, and how what it finds is called. A quick one looks
    at open executions only."""

    statement: str
    code: str
    detail: str
    is_quick: bool
    bindings: tuple[str, ...] = ()


CHECKS: Final = (
    Check("open_without_wake", "wake.missing", "it has not ended, and nothing will ever move it on", False),
    Check(
        "ended_with_wake",
        "wake.leftover",
        "it has ended or does not exist, and yet something waits to move it on",
        True,
    ),
    Check("unknown_reason", "wake.unknown", "it waits for something that does not exist", True, (_REASONS,)),
    Check("unknown_status", "status.unknown", "it has ended in a way that does not exist", False, (_ENDS,)),
    Check("history_with_gaps", "history.gap", "its events are not numbered 1, 2, 3 ...", False),
    Check(
        "history_with_another_end",
        "history.end",
        "its last event is not the one that was recorded last",
        True,
    ),
    Check("execution_without_history", "history.missing", "it has no events", False),
    Check(
        "history_without_execution",
        "history.leftover",
        "there are events of it, but it does not exist",
        False,
    ),
    Check("waits_for_no_child", "children.none", "it waits for the end of children, and none is open", True),
    Check(
        "child_whose_end_was_not_told",
        "children.untold",
        "a child of it has ended, and it was not told",
        True,
    ),
    Check("family_miscounted", "children.count", "its children were not counted as they are", True),
    Check("slot_leaked", "slot.leaked", "it has ended or does not exist, and yet it holds a slot", True),
    Check("slot_not_given", "slot.waiting", "it waits for a slot, and one is free", True),
    Check(
        "parked_deliveries",
        "outbox.parked",
        "somebody was to be told of it, and a webhook was given up",
        False,
    ),
    Check(
        "mail_for_nobody",
        "mail.leftover",
        "something was sent to it that nobody will take up",
        True,
    ),
)


class Repair:
    """Mends what was found, inside a transaction of the journal. Mending what is not broken changes
    nothing that matters: the execution is looked at once more."""

    def __init__(self, connection: apsw.Connection, sql: Mapping[str, str], now: datetime) -> None:
        self._db = connection
        self._sql = sql
        self._now = now

    def mend(self, execution_id: str, code: str) -> bool:
        """Whether it could be mended."""
        key = to_some_key(execution_id)
        return bool(key) and _MENDING[code](self, key)

    def _run(self, name: str, *bindings: Any) -> Any:
        return self._db.execute(self._sql[name], bindings)

    def last_event(self, key: bytes) -> tuple[int, Event | None]:
        """The last event and its number; None if it cannot be read."""
        row = self._run("last_events", key).fetchone()
        if row is None:
            return 0, None
        text = tail_of_rows(key, row)
        try:
            return row[1], None if text is UNREADABLE else decode_event(text)
        except msgspec.MsgspecError:
            return row[1], None

    def wake(self, key: bytes) -> bool:
        """It has not ended: it is due."""
        last_seq, last = self.last_event(key)
        lives = self._run("next_life", key).get
        if last is None or lives is None:
            return False
        self._run("put_wake", key, "due", to_micros(self._now), (lives - 1) * LIFE, last_seq, "")
        return True

    def leftover(self, key: bytes) -> bool:
        """If its history has its end, nothing is to move it on; otherwise it has not ended."""
        _, last = self.last_event(key)
        if isinstance(last, ExecutionEnded) or self._run("digest_of", key).get is None:
            self._run("drop_wake", key)
            self._run("drop_mail", key)
            return True
        return last is not None and self._put(key, None) and self.wake(key)

    def status(self, key: bytes) -> bool:
        """As its history says."""
        _, last = self.last_event(key)
        if last is None:
            return False
        is_over = isinstance(last, ExecutionEnded)
        return self._put(key, last if isinstance(last, ExecutionEnded) else None) and (
            is_over or self.wake(key)
        )

    def _put(self, key: bytes, last: ExecutionEnded | None) -> bool:
        digest, flow_id, started_at = self._run("start_of_execution", key).fetchone() or (b"", "", 0)
        checksum = start_checksum(key, digest, flow_id, started_at)
        if last is None:
            self._run("put_status", None, None, checksum, None, key)
            return True
        ended_at, error = to_micros(last.at), None if last.error is None else last.error.code
        checksum += end_checksum(key, last.status.value, ended_at)
        self._run("put_status", last.status.value, ended_at, checksum, error, key)
        return True

    def due(self, key: bytes) -> bool:
        """It decides anew what it waits for."""
        self._run("make_due", to_micros(self._now), key)
        return True

    def set_aside(self, key: bytes) -> bool:
        """Part of its history is lost, and nothing can bring that back: an operator is to see it."""
        lives = self._run("next_life", key).get
        last_seq, _ = self.last_event(key)
        if lives is not None and self._run("newest_mail", key).get is not None:
            detail = "part of its history is missing"
            now = to_micros(self._now)
            self._run("put_wake", key, WakeReason.REPAIR.value, now, (lives - 1) * LIFE, last_seq, detail)
        return False

    def drop_history(self, key: bytes) -> bool:
        self._run("drop_orphaned_history", key)
        return True

    def recount(self, key: bytes) -> bool:
        self._run("recount_families", key)
        return self.due(key)

    def tell(self, key: bytes) -> bool:
        """The parent hears of its children's ends, late."""
        mailbox = Mailbox(self._db, self._sql, Gate(self._db, self._sql))
        family = Family(self._db, self._sql, mailbox)
        untold: list[tuple[int, int, int, bytes]] = self._run("untold_children", key).fetchall()
        for run, attempt, place, child in untold:
            _, last = self.last_event(child)
            if not isinstance(last, ExecutionEnded):
                if self._run("digest_of", child).get is not None and self.wake(child):
                    continue
                last = ExecutionEnded(self._now, ExecutionStatus.FAILED, _GONE)
            family.ended(ParentLink(from_key(key), run, attempt, place, 1), last)
        return self.due(key)

    def slot(self, key: bytes) -> bool:
        """A slot that is free is given to whoever waits for it."""
        found = self._run("wake_detail", key).fetchone()
        waits_for = found[1] if found is not None and found[0] == WakeReason.SLOT.value else ""
        gate = Gate(self._db, self._sql)
        if found is None:
            gate.serve(key, "", self._now)
        else:
            gate.serve(b"", waits_for, self._now)
        return True

    def tell_again(self, key: bytes) -> bool:
        """Whoever could not be told is tried again, from the beginning."""
        self._run("unpark_deliveries", to_micros(self._now), key)
        return True

    def drop_mail(self, key: bytes) -> bool:
        self._run("drop_mail", key)
        return True


_MENDING: Final[Mapping[str, Callable[[Repair, bytes], bool]]] = {
    "wake.missing": Repair.wake,
    "wake.leftover": Repair.leftover,
    "wake.unknown": Repair.due,
    "status.unknown": Repair.status,
    "history.gap": Repair.set_aside,
    "history.end": Repair.wake,
    "history.missing": Repair.set_aside,
    "history.leftover": Repair.drop_history,
    "children.none": Repair.due,
    "children.untold": Repair.tell,
    "children.count": Repair.recount,
    "mail.leftover": Repair.drop_mail,
    "slot.leaked": Repair.slot,
    "slot.waiting": Repair.slot,
    "outbox.parked": Repair.tell_again,
}

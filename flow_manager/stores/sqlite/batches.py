"""Batches as rows: starts and steps are written as rows of the view `steps`; see `steps.sql`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import apsw
import msgspec

from flow_manager.core.events import Event, ExecutionEnded, ExecutionStarted
from flow_manager.core.states import ExecutionStatus, WakeReason
from flow_manager.core.webhooks import Delivery
from flow_manager.errors import StaleClaim
from flow_manager.ports.store import NewExecution, Step
from flow_manager.stores.sqlite.rows import (
    end_checksum,
    history_row,
    start_checksum,
    to_key,
    to_micros,
    to_text,
)

Row = tuple[Any, ...]
Rows = list[Row]

MOST_ROWS: Final = 256
"""Rows that are written by one statement, a power of two; more take several, in one transaction."""

_STALE: Final = "stale claim"
"""What the fences of `steps.sql` say."""
_COLUMNS: Final = 19
_NOTHING: Final[Row] = (None,) * _COLUMNS
"""A row of no kind, of which nothing becomes."""


class StepWriter:
    """Writes rows of the view `steps`, which it makes. There is a statement for each power of two, and a
    batch is filled up to the next with rows of nothing: so few are prepared, and a batch is one."""

    def __init__(self, connection: apsw.Connection, sql: Mapping[str, str]) -> None:
        self._db = connection
        self._insert, _, places = sql["write_steps"].partition(" VALUES ")
        self._places = places
        self._statements: dict[int, str] = {1: sql["write_steps"]}
        connection.execute(sql["prepare_steps"])

    def write(self, rows: Sequence[Row]) -> None:
        """Raises `StaleClaim`; of the rows of a statement, none is written then."""
        for part in _parts(rows):
            size = 1 << (len(part) - 1).bit_length()
            filling = itertools.repeat(_NOTHING, size - len(part))
            places = tuple(itertools.chain.from_iterable(itertools.chain(part, filling)))
            try:
                self._db.execute(self._statement(size), places)
            except apsw.ConstraintError as error:
                if str(error) != _STALE:
                    raise
                raise StaleClaim("this claim is no longer the current one; nothing was written") from error

    def _statement(self, size: int) -> str:
        if size not in self._statements:
            rows = ", ".join(itertools.repeat(self._places, size))
            self._statements[size] = f"{self._insert} SELECT * FROM (VALUES {rows})"
        return self._statements[size]


def _parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    return (rows[start : start + MOST_ROWS] for start in range(0, len(rows), MOST_ROWS))


def is_only_a_row(command: object) -> bool:
    """Whether a command is a row of `steps`, and nothing else is to be written for it."""
    if type(command) is Step:
        if command.taken or command.outbox or command.children or command.to_children:
            return False
        return command.wake is not None or not (command.mail or command.parent)
    if type(command) is NewExecution:
        if command.terms or command.children or command.outbox:
            return False
        return command.wake is not None or not command.parent
    return False


def start_row(new: NewExecution) -> Row:
    """What a new execution is."""
    key, wake = to_key(new.execution_id), new.wake
    digest, started_at = bytes.fromhex(new.digest), to_micros(new.started_at)
    checksum = start_checksum(key, digest, new.flow_id, started_at)
    reason, due_at, detail = None, None, None
    status, ended_at, error = None, None, None
    if wake is None:
        last = new.events[-1]
        status, ended_at, error = new.status.value, to_micros(last.at), _error_of(last)
        checksum += end_checksum(key, status, ended_at)
    else:
        reason, due_at, detail = wake.reason.value, to_micros(wake.due_at), to_text(wake.detail)
    _, _, last_seq, events, events_checksum = history_row(key, 1, new.events)
    labels = _labels_of(new.events[0])
    # As in `steps.sql`: the kind, its claim and knowledge, its wake, its end, what else is known of it.
    return (
        *("start", key, 1, 0, 0),
        *(reason, due_at, last_seq, detail, 0),
        *(status, ended_at, error, checksum),
        *(digest, started_at, labels, events, events_checksum),
    )


def step_row(step: Step) -> Row:
    """What a step changes and adds."""
    claim, wake, seen = step.claim, step.wake, step.last_seq
    key = claim.key
    last_seq, events, events_checksum = seen, None, None
    if step.events:
        _, _, last_seq, events, events_checksum = history_row(key, seen + 1, step.events)
    if wake is None:
        last = step.events[-1]
        status, ended_at = step.status.value, to_micros(last.at)
        return (
            *("end", key, claim.epoch, seen, step.mail),
            *(None, None, last_seq, None, 0),
            *(status, ended_at, _error_of(last), end_checksum(key, status, ended_at)),
            *(None, None, None, events, events_checksum),
        )
    kind = "move" if wake.reason is WakeReason.CLAIM else "park"
    is_ending = step.status is ExecutionStatus.COMPENSATING
    return (
        *(kind, key, claim.epoch, seen, step.mail),
        *(wake.reason.value, to_micros(wake.due_at), last_seq, to_text(wake.detail), is_ending),
        *(None, None, None, None),
        *(None, to_micros(step.at), None, events, events_checksum),
    )


def outbox_of_start(new: NewExecution) -> Rows:
    return _outbox_rows(to_key(new.execution_id), new.outbox, new.events[-1].at) if new.outbox else []


def outbox_of_step(step: Step) -> Rows:
    return _outbox_rows(step.claim.key, step.outbox, step.at) if step.outbox else []


def _outbox_rows(key: bytes, deliveries: Sequence[Delivery], at: datetime) -> Rows:
    """They are due at once."""
    due_at = to_micros(at)
    return [
        (key, each.destination, each.seq, each.delivery_id, each.payload, each.secret, due_at)
        for each in deliveries
    ]


def _labels_of(first: Event) -> str | None:
    if not isinstance(first, ExecutionStarted) or not first.labels:
        return None
    return msgspec.json.encode(
        {to_text(name): to_text(value) for name, value in first.labels.items()}
    ).decode()


def _error_of(last: Event) -> str | None:
    """The code of the error that an execution ended with."""
    return last.error.code if isinstance(last, ExecutionEnded) and last.error is not None else None

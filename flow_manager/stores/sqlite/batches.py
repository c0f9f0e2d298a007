"""Batches as rows: what starts and steps change, by statement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from flow_manager.core.events import Event, ExecutionEnded, ExecutionStarted
from flow_manager.core.states import ExecutionStatus, WakeReason
from flow_manager.core.webhooks import Delivery
from flow_manager.ports.store import Claim, NewExecution, Step
from flow_manager.stores.sqlite.rows import (
    end_checksum,
    history_row,
    start_checksum,
    to_key,
    to_micros,
    to_text,
)

Rows = list[tuple[Any, ...]]


class StartRows:
    """What new executions add, and the claims on them."""

    def __init__(self, starts: Sequence[NewExecution]) -> None:
        self.claims: dict[str, Claim] = {}
        self.executions: Rows = []
        self.wakes: Rows = []
        self.history: Rows = []
        self.labels: Rows = []
        self.outbox: Rows = []
        self._tally: Counter[str] = Counter()
        for new in starts:
            self._add(new)
        self.tallies: Rows = list(self._tally.items())

    def _add(self, new: NewExecution) -> None:
        key, wake = to_key(new.execution_id), new.wake
        self.claims[new.execution_id] = Claim(new.execution_id, key, 1)
        digest, started_at = bytes.fromhex(new.digest), to_micros(new.started_at)
        checksum = start_checksum(key, digest, new.flow_id, started_at)
        status, ended_at, error = None, None, None
        if wake is None:
            last = new.events[-1]
            status, ended_at, error = new.status.value, to_micros(last.at), _error_of(last)
            self._tally[status] += 1
            checksum += end_checksum(key, status, ended_at)
        else:
            due_at, last_seq = to_micros(wake.due_at), len(new.events)
            self.wakes.append((key, wake.reason.value, due_at, 1, last_seq, to_text(wake.detail), 0))
        self.executions.append((key, digest, status, started_at, ended_at, checksum, error))
        first = new.events[0]
        if isinstance(first, ExecutionStarted) and first.labels:
            self.labels += [(key, to_text(name), to_text(value)) for name, value in first.labels.items()]
        self.history.append(history_row(key, 1, new.events))
        if new.outbox:
            self.outbox += _outbox_rows(key, new.outbox, new.events[-1].at)


class StepRows:
    """What the steps of a batch change, by statement."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.moved: Rows = []
        self.parked: Rows = []
        self.ended: Rows = []
        self.finals: Rows = []
        self._tally: Counter[str] = Counter()
        self.history: Rows = []
        self.taken: list[tuple[bytes, int]] = []
        self.outbox: Rows = []
        for step in steps:
            self._add(step)
        self.tallies: Rows = list(self._tally.items())

    def _add(self, step: Step) -> None:
        claim, wake, last_seq = step.claim, step.wake, step.last_seq
        key, epoch = claim.key, claim.epoch
        if wake is None:
            self.ended.append((key, epoch, last_seq, step.mail))
            last = step.events[-1]
            status, ended_at = step.status.value, to_micros(last.at)
            self._tally[status] += 1
            self.finals.append((status, ended_at, end_checksum(key, status, ended_at), _error_of(last), key))
        else:
            reason, detail = wake.reason.value, to_text(wake.detail)
            now_last, due_at = last_seq + len(step.events), to_micros(wake.due_at)
            ending = step.status is ExecutionStatus.COMPENSATING
            if wake.reason is WakeReason.CLAIM:
                self.moved.append((reason, due_at, now_last, detail, ending, key, epoch, last_seq, step.mail))
            else:
                now = to_micros(step.at)
                fence = (key, epoch, last_seq)
                self.parked.append((step.mail, reason, now, due_at, now_last, detail, ending, *fence))
        if step.events:
            self.history.append(history_row(key, last_seq + 1, step.events))
        self.taken += [(key, number) for number in step.taken]
        if step.outbox:
            self.outbox += _outbox_rows(key, step.outbox, step.at)


def _outbox_rows(key: bytes, deliveries: Sequence[Delivery], at: datetime) -> Rows:
    """They are due at once."""
    due_at = to_micros(at)
    return [
        (key, each.destination, each.seq, each.delivery_id, each.payload, each.secret, due_at)
        for each in deliveries
    ]


def _error_of(last: Event) -> str | None:
    """The code of the error that an execution ended with."""
    return last.error.code if isinstance(last, ExecutionEnded) and last.error is not None else None

"""The write connection as the journal uses it: a batch of commands in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import apsw

from flow_manager.core.events import Event, encode_event
from flow_manager.core.states import Wake
from flow_manager.errors import StaleClaim, StoreError, StoreFull
from flow_manager.ports.store import Claim, Claimed, NewExecution, Step
from flow_manager.stores.sqlite.rows import from_key, to_key, to_micros

log = logging.getLogger(__name__)

PASSIVE_CHECKPOINT: Final = 4_096
"""Pages in the log (16 MiB) from which it is copied into the database as far as readers allow."""
TRUNCATING_CHECKPOINT: Final = 16_384
"""Pages in the log (64 MiB) from which readers are waited for and the log is cut."""

MOST_KNOWN_DEFINITIONS: Final = 10_000


@dataclass(frozen=True, slots=True)
class ClaimDue:
    """Claim up to `limit` executions that are due at `now`."""

    now: datetime
    limit: int


@dataclass(frozen=True, slots=True)
class SetAside:
    """Park an execution as it is."""

    claim: Claim
    wake: Wake


Command = NewExecution | Step | ClaimDue | SetAside

Rows = list[tuple[Any, ...]]


class SqliteLedger:
    """Writes batches. All rows of one kind go through one statement, prepared once."""

    def __init__(self, connection: apsw.Connection, sql: Mapping[str, str]) -> None:
        self._db = connection
        self._sql = sql
        self._known: set[str] = set()
        self._new_digests: set[str] = set()
        self._log_pages = 0
        self._waiting_for_lock = False
        connection.set_wal_hook(self._note_log_size)

    def write(self, batch: Sequence[Command]) -> list[Any]:
        self._new_digests = set()
        self._begin()
        try:
            answers = self._apply(batch)
            self._db.execute("COMMIT")
        except apsw.FullError as error:
            self._roll_back()
            raise StoreFull("no space left for the database; free some, and work goes on by itself") from error
        except StoreError:
            self._roll_back()
            raise
        except (apsw.ConstraintError, apsw.TooBigError, apsw.MismatchError) as error:
            self._roll_back()
            raise StaleClaim(f"the rows of a step were refused: {error}") from error
        except (OverflowError, UnicodeEncodeError, TypeError) as error:
            self._roll_back()
            raise StoreError(f"a value cannot be stored: {error}") from error
        self._remember_definitions()
        if self._log_pages >= PASSIVE_CHECKPOINT:
            self._checkpoint()
        return answers

    def _remember_definitions(self) -> None:
        """Only after the commit: a definition that was rolled back must be written again."""
        if len(self._known) > MOST_KNOWN_DEFINITIONS:
            self._known.clear()
        self._known |= self._new_digests

    def idle(self) -> None:
        """Nothing to do: the log is copied when it has grown, not whenever there is time, so that
        a quiet service leaves the disk alone."""

    def close(self) -> None:
        """Leave one tidy file behind."""
        self._db.execute(self._sql["set_property"], ("clean_stop", "1"))
        self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        self._db.close()

    def _begin(self) -> None:
        """Take the write lock. Somebody else's tool may hold it: waiting is all there is to do,
        and the journal's callers watch their own deadlines."""
        while True:
            try:
                self._db.execute("BEGIN IMMEDIATE")
            except apsw.BusyError:
                if not self._waiting_for_lock:
                    log.warning("another process holds the database's write lock; waiting for it")
                self._waiting_for_lock = True
            else:
                self._waiting_for_lock = False
                return

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _apply(self, batch: Sequence[Command]) -> list[Any]:
        starts = [command for command in batch if type(command) is NewExecution]
        steps = [command for command in batch if type(command) is Step]
        aside = [command for command in batch if type(command) is SetAside]
        keys = {new.execution_id: to_key(new.execution_id) for new in starts}
        self._start(starts, keys)
        self._advance(steps)
        self._set_aside(aside)
        answers: list[Any] = []
        for command in batch:
            if isinstance(command, NewExecution):
                answers.append(Claim(command.execution_id, keys[command.execution_id], 1))
            elif isinstance(command, ClaimDue):
                answers.append(self._claim(command))
            else:
                answers.append(None)
        return answers

    def _start(self, starts: Sequence[NewExecution], keys: Mapping[str, bytes]) -> None:
        if not starts:
            return
        unknown = {new.digest: new for new in starts if new.digest not in self._known}
        self._all("add_definition", [(new.digest, new.flow_id, new.definition) for new in unknown.values()])
        executions: Rows = []
        wakes: Rows = []
        events: Rows = []
        for new in starts:
            key, ended = keys[new.execution_id], new.wake is None
            ended_at = to_micros(new.events[-1].at) if ended else None
            status = new.status.value if ended else None
            executions.append((key, new.flow_id, new.digest, status, to_micros(new.started_at), ended_at))
            if new.wake is not None:
                wake = new.wake
                wakes.append((key, wake.reason.value, to_micros(wake.due_at), 1, len(new.events), wake.detail))
            _number(events, key, 0, new.events)
        self._all("add_execution", executions)
        self._all("add_wake", wakes)
        self._all("add_event", events)
        self._new_digests = set(unknown)

    def _advance(self, steps: Sequence[Step]) -> None:
        if not steps:
            return
        moved: Rows = []
        ended: Rows = []
        finals: Rows = []
        events: Rows = []
        for step in steps:
            claim, wake = step.claim, step.wake
            fence = (claim.key, claim.epoch, step.last_seq)
            if wake is None:
                ended.append(fence)
                finals.append((step.status.value, to_micros(step.events[-1].at), claim.key))
            else:
                last_seq = step.last_seq + len(step.events)
                moved.append((wake.reason.value, to_micros(wake.due_at), last_seq, wake.detail, *fence))
            _number(events, claim.key, step.last_seq, step.events)
        self._all_fenced("move_wake", moved)
        self._all_fenced("end_wake", ended)
        self._all("end_execution", finals)
        self._all("add_event", events)

    def _set_aside(self, commands: Sequence[SetAside]) -> None:
        rows: Rows = []
        for claim, wake in ((command.claim, command.wake) for command in commands):
            rows.append((wake.reason.value, to_micros(wake.due_at), wake.detail, claim.key, claim.epoch))
        self._all_fenced("set_aside", rows)

    def _claim(self, command: ClaimDue) -> list[Claimed]:
        now = to_micros(command.now)
        due = list(self._db.execute(self._sql["due_wakes"], (now, command.limit)))
        self._all("claim_wake", [(now, key) for key, _, _ in due])
        return [self._claimed(key, epoch + 1, last_seq) for key, epoch, last_seq in due]

    def _claimed(self, key: bytes, epoch: int, last_seq: int) -> Claimed:
        found = self._db.execute(self._sql["definition_of"], (key,)).fetchone()
        digest, definition = found if found else ("", b"")
        history = [event for (event,) in self._db.execute(self._sql["events_of"], (key,))]
        return Claimed(Claim(from_key(key), key, epoch), last_seq, definition, digest, history)

    def _all(self, name: str, rows: Rows) -> None:
        if rows:
            self._db.executemany(self._sql[name], rows)

    def _all_fenced(self, name: str, rows: Rows) -> None:
        before = self._db.total_changes()
        self._all(name, rows)
        if self._db.total_changes() - before != len(rows):
            raise StaleClaim("this claim is no longer the current one; nothing was written")

    def _note_log_size(self, connection: apsw.Connection, database: str, pages: int) -> int:
        self._log_pages = pages
        return apsw.SQLITE_OK

    def _checkpoint(self) -> None:
        truncate = self._log_pages >= TRUNCATING_CHECKPOINT
        mode = apsw.SQLITE_CHECKPOINT_TRUNCATE if truncate else apsw.SQLITE_CHECKPOINT_PASSIVE
        try:
            self._db.wal_checkpoint(mode=mode)
        except (apsw.BusyError, apsw.FullError) as error:
            log.warning("the write-ahead log could not be copied yet (%s); trying again later", error)


def _number(rows: Rows, key: bytes, last_seq: int, events: Iterable[Event]) -> None:
    for seq, event in enumerate(events, last_seq + 1):
        rows.append((key, seq, encode_event(event)))

"""The write connection as the journal uses it: a batch of commands in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

import apsw

from flow_manager.core.states import Wake
from flow_manager.errors import StaleClaim, StoreError, StoreFull, StoreLocked
from flow_manager.ports.store import Claim, Claimed, NewExecution, Step
from flow_manager.stores.sqlite.rows import (
    end_checksum,
    events_of_rows,
    from_key,
    history_row,
    start_checksum,
    to_key,
    to_micros,
    to_text,
)
from flow_manager.stores.sqlite.write_ahead_log import WriteAheadLog

log = logging.getLogger(__name__)

MOST_KNOWN_DEFINITIONS: Final = 10_000

_REFUSED_ROWS: Final = (apsw.ConstraintError, apsw.MismatchError, apsw.TooBigError)
"""SQLite's words for rows that cannot stand where they should; the transaction goes on without them."""


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
        self._log = WriteAheadLog(connection)
        self._waits_for_lock = False

    def write(self, batch: Sequence[Command]) -> list[Any]:
        try:
            self._begin()
            answers = self._apply(batch)
            self._db.execute("COMMIT")
        except apsw.Error as error:
            self._roll_back()
            raise self._fault_of(error) from error
        except StoreError:
            self._roll_back()
            raise
        except Exception as error:  # the command's own fault, found before anything was committed
            self._roll_back()
            raise StoreError(f"this cannot be stored: {type(error).__name__}: {error}") from error
        self._remember_definitions(batch)
        self._log.keep_short()
        return answers

    def _begin(self) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except apsw.BusyError:
            if not self._waits_for_lock:
                log.warning("another process holds the database's write lock; waiting for it")
            self._waits_for_lock = True
            raise
        self._waits_for_lock = False

    def _roll_back(self) -> None:
        """Some faults have ended the transaction by themselves, and it is SQLite that knows."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _fault_of(self, error: apsw.Error) -> Exception:
        """What an error of SQLite means for the batch, of which nothing is left. Errors that are not
        known to leave nothing behind stay what they are: they end the process."""
        if isinstance(error, apsw.BusyError):
            return StoreLocked("another process holds the write lock of the database; nothing was written")
        if isinstance(error, apsw.FullError):
            self._log.make_room()
            return StoreFull("no space left for the database; free some, and work goes on by itself")
        if isinstance(error, _REFUSED_ROWS):
            return StoreError(f"the rows of this do not fit to what is stored: {error}")
        return error

    def _remember_definitions(self, batch: Sequence[Command]) -> None:
        """Only after the commit: a definition that was taken back must be written again."""
        if len(self._known) > MOST_KNOWN_DEFINITIONS:
            self._known.clear()
        self._known.update(command.digest for command in batch if type(command) is NewExecution)

    def close(self) -> None:
        """Leave one tidy file behind; if that is not possible now, the next start will see to it."""
        try:
            self._db.execute(self._sql["set_property"], ("clean_stop", "1"))
            self._log.cut()
        except (apsw.BusyError, apsw.FullError) as error:
            log.warning("the database could not be tidied up (%s); the next start verifies it", error)
        self._db.close()

    def _apply(self, batch: Sequence[Command]) -> list[Any]:
        starts = [command for command in batch if type(command) is NewExecution]
        steps = [command for command in batch if type(command) is Step]
        aside = [command for command in batch if type(command) is SetAside]
        claims = self._start(starts) if starts else {}
        if steps:
            self._advance(steps)
        self._set_aside(aside)
        answers: list[Any] = []
        for command in batch:
            if isinstance(command, NewExecution):
                answers.append(claims[command.execution_id])
            elif isinstance(command, ClaimDue):
                answers.append(self._claim(command))
            else:
                answers.append(None)
        return answers

    def _start(self, starts: Sequence[NewExecution]) -> dict[str, Claim]:
        claims: dict[str, Claim] = {}
        executions: Rows = []
        wakes: Rows = []
        history: Rows = []
        for new in starts:
            key, wake = to_key(new.execution_id), new.wake
            claims[new.execution_id] = Claim(new.execution_id, key, 1)
            digest, started_at = bytes.fromhex(new.digest), to_micros(new.started_at)
            checksum = start_checksum(key, digest, new.flow_id, started_at)
            status, ended_at = None, None
            if wake is None:
                status, ended_at = new.status.value, to_micros(new.events[-1].at)
                checksum += end_checksum(key, status, ended_at)
            else:
                due_at, last_seq = to_micros(wake.due_at), len(new.events)
                wakes.append((key, wake.reason.value, due_at, 1, last_seq, to_text(wake.detail)))
            executions.append((key, digest, status, started_at, ended_at, checksum))
            history.append(history_row(key, 1, new.events))
        self._add_definitions(starts)
        self._all("add_execution", executions)
        self._all("add_wake", wakes)
        self._all("add_events", history)
        return claims

    def _add_definitions(self, starts: Iterable[NewExecution]) -> None:
        unknown = {new.digest: new for new in starts if new.digest not in self._known}
        rows: Rows = [(bytes.fromhex(digest), new.flow_id, new.definition) for digest, new in unknown.items()]
        self._all("add_definition", rows)

    def _advance(self, steps: Sequence[Step]) -> None:
        moved: Rows = []
        ended: Rows = []
        finals: Rows = []
        history: Rows = []
        for step in steps:
            claim, wake, last_seq = step.claim, step.wake, step.last_seq
            key, epoch = claim.key, claim.epoch
            if wake is None:
                ended.append((key, epoch, last_seq))
                status, ended_at = step.status.value, to_micros(step.events[-1].at)
                finals.append((status, ended_at, end_checksum(key, status, ended_at), key))
            else:
                now_last, due_at = last_seq + len(step.events), to_micros(wake.due_at)
                moved.append(
                    (wake.reason.value, due_at, now_last, to_text(wake.detail), key, epoch, last_seq)
                )
            if step.events:
                history.append(history_row(key, last_seq + 1, step.events))
        self._all_fenced("move_wake", moved)
        self._all_fenced("end_wake", ended)
        self._all("end_execution", finals)
        self._all("add_events", history)

    def _set_aside(self, commands: Sequence[SetAside]) -> None:
        rows: Rows = []
        for claim, wake in ((command.claim, command.wake) for command in commands):
            due_at, detail = to_micros(wake.due_at), to_text(wake.detail)
            rows.append((wake.reason.value, due_at, detail, claim.key, claim.epoch))
        self._all_fenced("set_aside", rows)

    def _claim(self, command: ClaimDue) -> list[Claimed]:
        now = to_micros(command.now)
        due: Rows = self._db.execute(self._sql["due_wakes"], (now, command.limit)).fetchall()
        self._all("claim_wake", [(now, key) for key, _, _ in due])
        definitions: dict[bytes, bytes] = {}
        return [self._claimed(key, epoch + 1, last_seq, definitions) for key, epoch, last_seq in due]

    def _claimed(self, key: bytes, epoch: int, last_seq: int, definitions: dict[bytes, bytes]) -> Claimed:
        found = self._db.execute(self._sql["digest_of"], (key,)).fetchone()
        digest: bytes = b"" if found is None else found[0]
        if digest not in definitions:
            definitions[digest] = self._definition(digest)
        history = events_of_rows(key, self._db.execute(self._sql["events_of"], (key,)))
        return Claimed(Claim(from_key(key), key, epoch), last_seq, definitions[digest], digest.hex(), history)

    def _definition(self, digest: bytes) -> bytes:
        """The text of a flow; empty, which no parser accepts, if it is damaged or missing."""
        found = self._db.execute(self._sql["definition"], (digest,)).fetchone()
        text: bytes = b"" if found is None else found[0]
        return text if sha256(text).digest() == digest else b""

    def _all(self, name: str, rows: Rows) -> None:
        if rows:
            self._db.executemany(self._sql[name], rows)

    def _all_fenced(self, name: str, rows: Rows) -> None:
        if not rows:
            return
        before = self._db.total_changes()
        self._db.executemany(self._sql[name], rows)
        if self._db.total_changes() - before != len(rows):
            raise StaleClaim("this claim is no longer the current one; nothing was written")

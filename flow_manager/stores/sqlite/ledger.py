"""The write connection as the journal uses it: a batch of commands in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import apsw

from flow_manager.errors import (
    FlowManagerError,
    MailUnread,
    StaleClaim,
    StoreError,
    StoreFull,
    StoreLocked,
)
from flow_manager.ports.retention import Prune, Pruned
from flow_manager.ports.store import Claim, NewExecution, NewMail, Step
from flow_manager.stores.sqlite.batches import (
    MOST_ROWS,
    Row,
    Rows,
    StepWriter,
    is_only_a_row,
    outbox_of_start,
    outbox_of_step,
    start_row,
    step_row,
)
from flow_manager.stores.sqlite.claims import Claims
from flow_manager.stores.sqlite.commands import (
    ClaimDue,
    Command,
    Doing,
    LookAtChildren,
    ReadAgain,
    SetAside,
    StartAll,
    Work,
)
from flow_manager.stores.sqlite.family import Family
from flow_manager.stores.sqlite.gate import Gate
from flow_manager.stores.sqlite.known_definitions import KnownDefinitions
from flow_manager.stores.sqlite.mailbox import Mailbox
from flow_manager.stores.sqlite.pruning import Pruning
from flow_manager.stores.sqlite.rows import to_micros, to_text
from flow_manager.stores.sqlite.write_ahead_log import WriteAheadLog

log = logging.getLogger(__name__)


_REFUSED_ROWS: Final = (apsw.ConstraintError, apsw.MismatchError, apsw.TooBigError)
"""SQLite's words for rows that cannot stand where they should; the transaction goes on without them."""


class SqliteLedger:
    """Writes batches. Starts and steps are one statement; without anything else, it is the transaction."""

    def __init__(self, connection: apsw.Connection, sql: Mapping[str, str]) -> None:
        self._db = connection
        self._sql = sql
        self._steps = StepWriter(connection, sql)
        self._definitions = KnownDefinitions()
        self._log = WriteAheadLog(connection)
        self._gate = Gate(connection, sql)
        self._mailbox = Mailbox(connection, sql, self._gate)
        self._family = Family(connection, sql, self._mailbox)
        self._doing = Doing(connection, sql, self._begin_all, self._mailbox.send)
        self._pruning = Pruning(connection, sql)
        self._claims = Claims(connection, sql, self._mailbox)
        self._waits_for_lock = False

    def write(self, batch: Sequence[Command]) -> list[Any]:
        try:
            are_rows = len(batch) <= MOST_ROWS and all(map(self._is_only_a_row, batch))
            answers = self._apply_rows(batch) if are_rows else self._apply_all(batch)
        except apsw.Error as error:
            self._roll_back()
            raise self._fault_of(error) from error
        except StoreError:
            self._roll_back()
            raise
        except Exception as error:  # the command's own fault, found before anything was committed
            self._roll_back()
            raise StoreError(f"this cannot be stored: {type(error).__name__}: {error}") from error
        self._waits_for_lock = False
        self._definitions.committed()
        self._log.keep_short()
        return answers

    def _roll_back(self) -> None:
        """Some faults have ended the transaction by themselves, and it is SQLite that knows."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _fault_of(self, error: apsw.Error) -> Exception:
        """What an error of SQLite means for the batch, of which nothing is left. Errors that are not
        known to leave nothing behind stay what they are: they end the process."""
        if isinstance(error, apsw.BusyError):
            if not self._waits_for_lock:
                log.warning("another process holds the database's write lock; waiting for it")
            self._waits_for_lock = True
            return StoreLocked("another process holds the write lock of the database; nothing was written")
        if isinstance(error, apsw.FullError):
            self._log.make_room()
            return StoreFull("no space left for the database; free some, and work goes on by itself")
        if isinstance(error, _REFUSED_ROWS):
            return StoreError(f"the rows of this do not fit to what is stored: {error}")
        return error

    @property
    def is_untidy(self) -> bool:
        """Whether any write, of nothing even, would do the file good. May be asked by any thread."""
        return self._log.is_overdue

    def close(self) -> None:
        """Leave one tidy file behind; if that is not possible now, the next start will see to it."""
        try:
            self._db.execute(self._sql["set_property"], ("clean_stop", "1"))
            self._log.cut()
        except (apsw.BusyError, apsw.FullError) as error:
            log.warning("the database could not be tidied up (%s); the next start verifies it", error)
        self._db.close()

    def _is_only_a_row(self, command: Command) -> bool:
        """The same of this store as it is: its flow may have to be written, and an end may free a slot."""
        if not is_only_a_row(command):
            return False
        if isinstance(command, NewExecution):
            return self._definitions.has(command.digest)
        return not (isinstance(command, Step) and command.wake is None and self._gate.has_slots)

    def _apply_rows(self, batch: Sequence[Command]) -> list[Any]:
        """Outside of a transaction, a statement is one."""
        self._definitions.begin()
        rows: Rows = []
        answers: list[Any] = []
        for command in batch:
            if isinstance(command, NewExecution):
                rows.append(start_row(command))
                answers.append(_claim_of(command, rows[-1]))
            elif isinstance(command, Step):
                rows.append(step_row(command))
                answers.append(())
        self._write_steps(rows, batch)
        return answers

    def _apply_all(self, batch: Sequence[Command]) -> list[Any]:
        self._db.execute("BEGIN IMMEDIATE")
        self._definitions.begin()
        starts = [command for command in batch if type(command) is NewExecution]
        steps = [command for command in batch if type(command) is Step]
        aside = [command for command in batch if type(command) is SetAside]
        claims = self._begin_all(starts) if starts else {}
        if steps:
            self._advance(steps)
        self._set_aside(aside)
        answers = [self._answer(command, claims) for command in batch]
        self._db.execute("COMMIT")
        return answers

    def _answer(self, command: Command, claims: Mapping[str, Claim | FlowManagerError]) -> Any:
        """The answer to a command; those of which there are few are carried out here, one by one."""
        match command:
            case Step():
                return self._tell_children(command) if command.to_children else ()
            case NewExecution():
                return claims[command.execution_id]
            case ClaimDue():
                return self._claims.due(command)
            case NewMail() | ReadAgain():
                return self._answer_or_refuse(command)
            case StartAll():
                begun = self._begin_all(command.news)
                return [begun[new.execution_id] for new in command.news]
            case Work():
                return self._work(command)
            case Prune():
                return self._prune(command)
            case LookAtChildren():
                return self._family.look(
                    command.execution_id, command.run, command.attempt, command.with_ends
                )
        return None

    def _answer_or_refuse(self, command: NewMail | ReadAgain) -> Any:
        """These are refused before they change anything, so that a refusal costs the others nothing."""
        try:
            if isinstance(command, ReadAgain):
                return self._claims.again(command.claim)
            self._mailbox.send(command)
        except FlowManagerError as refusal:
            return refusal
        return None

    def _work(self, command: Work) -> Any:
        self._db.execute("SAVEPOINT work")
        try:
            answer = command.write(self._doing)
        except FlowManagerError as refusal:
            self._db.execute("ROLLBACK TO work; RELEASE work")
            return refusal
        self._db.execute("RELEASE work")
        return answer

    def _prune(self, command: Prune) -> Pruned:
        """Flows that go are written again when they are started again."""
        pruned = self._pruning.prune(command)
        self._definitions.drop(pruned.definitions)
        return pruned

    def _tell_children(self, step: Step) -> list[str]:
        at = step.events[-1].at if step.events else step.at
        return [each for word in step.to_children for each in self._family.tell(step.claim.key, word, at)]

    def _begin_all(self, starts: Sequence[NewExecution]) -> Mapping[str, Claim | FlowManagerError]:
        """The claim on each, or why it was not started. Those under terms pass the gate, one by one."""
        if all(new.terms is None for new in starts):
            return self._start(starts)
        admitted, refused = self._gate.admit_all(starts)
        claims = self._start(admitted)
        self._gate.rank(admitted)
        return claims | refused

    def _start(self, starts: Sequence[NewExecution]) -> dict[str, Claim]:
        self._add_definitions(starts)
        rows = [start_row(new) for new in starts]
        self._steps.write(rows)
        self._all("add_delivery", [row for new in starts for row in outbox_of_start(new)])
        self._begin_children(starts)
        for new in starts:
            if new.wake is None and new.parent is not None:
                self._family.ended(new.parent, new.events[-1])
        return {new.execution_id: _claim_of(new, row) for new, row in zip(starts, rows, strict=True)}

    def _begin_children(self, parents: Sequence[NewExecution] | Sequence[Step]) -> None:
        children = [child for parent in parents if parent.children for child in parent.children]
        if children:
            self._start(children)
            self._family.add(children)

    def _add_definitions(self, starts: Iterable[NewExecution]) -> None:
        unknown = self._definitions.unknown(starts)
        rows: Rows = [(bytes.fromhex(digest), new.flow_id, new.definition) for digest, new in unknown.items()]
        self._all("add_definition", rows)

    def _advance(self, steps: Sequence[Step]) -> None:
        self._write_steps([step_row(step) for step in steps], steps)
        self._mailbox.taken([(step.claim.key, number) for step in steps for number in step.taken])
        self._all("add_delivery", [row for step in steps for row in outbox_of_step(step)])
        self._gate.ended([(step.claim.key,) for step in steps if step.wake is None], steps[-1].at)
        self._begin_children(steps)
        for step in steps:
            if step.wake is None:
                if step.mail:
                    self._mailbox.empty([step.claim.key])
                if step.parent is not None:
                    self._family.ended(step.parent, step.events[-1])

    def _write_steps(self, rows: Rows, batch: Sequence[Command]) -> None:
        """A batch that fails is written again one by one; then it can be told what one was refused for."""
        try:
            self._steps.write(rows)
        except StaleClaim:
            if len(batch) == 1 and isinstance(batch[0], Step):
                self._must_know_all_mail(batch[0])
            raise

    def _must_know_all_mail(self, step: Step) -> None:
        claim = step.claim
        if self._db.execute(self._sql["claim_with_mail"], (claim.key, claim.epoch, step.last_seq)).fetchone():
            raise MailUnread("something was sent to the execution; nothing was written")

    def _set_aside(self, commands: Sequence[SetAside]) -> None:
        rows: Rows = []
        for claim, wake in ((command.claim, command.wake) for command in commands):
            due_at, detail = to_micros(wake.due_at), to_text(wake.detail)
            rows.append((wake.reason.value, due_at, detail, claim.key, claim.epoch))
        self._all_fenced("set_aside", rows)

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


def _claim_of(new: NewExecution, row: Row) -> Claim:
    _, key, epoch, *_ = row
    return Claim(new.execution_id, key, epoch)

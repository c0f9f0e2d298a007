"""The embedded store: one SQLite file, owned by one process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

from flow_manager.core.children import Children
from flow_manager.core.states import Wake
from flow_manager.errors import FlowManagerError, StoreError
from flow_manager.ports.backend import Violation
from flow_manager.ports.figures import StoreFigures
from flow_manager.ports.retention import Prune, Pruned
from flow_manager.ports.store import Agenda, Claim, Claimed, NewExecution, NewMail, Step
from flow_manager.ports.webhooks import Outbox
from flow_manager.stores.journal import Journal
from flow_manager.stores.sqlite.claims import PRIORITIES
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
from flow_manager.stores.sqlite.connections import ReadConnection
from flow_manager.stores.sqlite.doctor import Repair
from flow_manager.stores.sqlite.file import Durability, named_errors, open_writer
from flow_manager.stores.sqlite.file_lock import FileLock
from flow_manager.stores.sqlite.ledger import SqliteLedger
from flow_manager.stores.sqlite.outbox import SqliteOutbox, free_deliveries
from flow_manager.stores.sqlite.reader import DUE_COUNTED, STATEMENTS, SqliteReader
from flow_manager.stores.sqlite.rows import from_micros, to_micros
from flow_manager.stores.sqlite.schedules import SqliteSchedules
from flow_manager.stores.sqlite.shelf import SqliteShelf

Answer = TypeVar("Answer")

TIDY: Final = 2.0
"""Seconds between two looks whether the write-ahead log is to be cut although nobody writes."""


class SqliteStore(SqliteReader, SqliteShelf):
    """Implements `ports.store.Store`.

    Making one takes the lock, verifies the file after an unclean end, and migrates. `open` then
    makes whatever an earlier process had claimed due again, and starts the journal.

    Raises `StoreLocked`, `StoreDamaged`, `StoreNewer`, `StoreReadOnly`, `StoreFull`, `StoreError`.
    """

    def __init__(self, path: Path, durability: Durability = "full") -> None:
        path = path.resolve()
        super().__init__(path)
        self.schedules: SqliteSchedules = SqliteSchedules(self, self)
        self._lock = FileLock(path)
        try:
            self._writer = open_writer(path, durability, STATEMENTS)
        except BaseException:
            self._lock.release()
            raise
        self._agenda = ReadConnection(path)
        self._deliveries = SqliteOutbox(path, self.work)
        self.outbox: Outbox = self._deliveries
        self._journal: Journal[Command] | None = None
        self._tidying: asyncio.Task[None] | None = None

    async def open(self, now: datetime, die: Callable[[BaseException], None]) -> None:
        with named_errors(self._path):
            self._writer.execute(STATEMENTS["free_claims"], (to_micros(now),))
            free_deliveries(self._writer, now)
        ledger, loop = SqliteLedger(self._writer, STATEMENTS), asyncio.get_running_loop()
        self._journal = Journal(ledger, loop, die)
        self._tidying = loop.create_task(self._tidy(ledger))

    async def _tidy(self, ledger: SqliteLedger) -> None:
        """When a read has kept the write-ahead log from being cut, and nobody writes afterwards."""
        while True:
            await asyncio.sleep(TIDY)
            if ledger.is_untidy:
                with contextlib.suppress(StoreError):
                    await self.work(_nothing)

    def start(self, new: NewExecution) -> Awaitable[Claim]:
        return self._opened.submit(new, urgent=False, is_small=not new.children)

    def start_all(self, news: Sequence[NewExecution]) -> Awaitable[Sequence[Claim | FlowManagerError]]:
        return self._opened.submit(StartAll(news), urgent=False)

    def commit(self, step: Step) -> Awaitable[Sequence[str]]:
        is_small = not step.children and not step.to_children
        return self._opened.submit(step, urgent=True, is_small=is_small)

    def send(self, mail: NewMail) -> Awaitable[None]:
        return self._opened.submit(mail, urgent=False)

    def read_again(self, claim: Claim) -> Awaitable[Claimed]:
        return self._opened.submit(ReadAgain(claim), urgent=True)

    def look_at_children(
        self, execution_id: str, run: int, attempt: int, with_ends: bool = False
    ) -> Awaitable[Children]:
        return self._opened.submit(LookAtChildren(execution_id, run, attempt, with_ends), urgent=True)

    def set_aside(self, claim: Claim, wake: Wake) -> Awaitable[None]:
        return self._opened.submit(SetAside(claim, wake), urgent=True)

    def claim_due(self, now: datetime, limit: int) -> Awaitable[Sequence[Claimed]]:
        return self._opened.submit(ClaimDue(now, limit), urgent=True)

    def prune(self, order: Prune) -> Awaitable[Pruned]:
        return self._opened.submit(order, urgent=False)

    def agenda(self, now: datetime) -> Agenda:
        """On a connection of its own: the loop that asks must not wait for somebody's long list."""
        with self._agenda.lent() as connection:
            due = connection.execute(STATEMENTS["agenda_due"], (to_micros(now), DUE_COUNTED)).get
            times = [connection.execute(STATEMENTS["agenda_next"], (each,)).get for each in PRIORITIES]
        next_at = min((each for each in times if each is not None), default=None)
        return Agenda(due, None if next_at is None else from_micros(next_at))

    def work(self, write: Callable[[Doing], Answer]) -> Awaitable[Answer]:
        """Have a function write in a transaction of the journal; see `commands.Work`."""
        return self._opened.submit(Work(write), urgent=False)

    def mend(self, violation: Violation, now: datetime) -> Awaitable[bool]:
        def mend(doing: Doing) -> bool:
            return Repair(doing.connection, doing.sql, now).mend(violation.execution_id, violation.code)

        return self.work(mend)

    async def stop(self) -> None:
        if self._tidying is not None:
            self._tidying.cancel()
        await asyncio.get_running_loop().run_in_executor(None, self.close)
        if self._journal is None:
            self._writer.close()
        else:
            await self._journal.stop()
        self._lock.release()

    def close(self) -> None:
        """End the reading; `stop` does it, and ends the writing too."""
        super().close()
        self._agenda.close()
        self._deliveries.close()

    def figures(self) -> StoreFigures:
        journal = self._journal
        if journal is None:
            return StoreFigures()
        return StoreFigures(journal.backlog, journal.sizes, journal.seconds)

    @property
    def commands_per_transaction(self) -> float:
        """How many commands have shared a sync, on average."""
        return self._opened.written / max(1, self._opened.transactions)

    @property
    def _opened(self) -> Journal[Command]:
        if self._journal is None:
            raise RuntimeError("the store is written to before it was opened")
        return self._journal


def _nothing(_doing: Doing) -> None:
    """Writes nothing; what follows every transaction follows it."""

"""The embedded store: one SQLite file, owned by one process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path


from flow_manager.core.states import Wake
from flow_manager.errors import StoreReadOnly
from flow_manager.ports.store import Claim, Claimed, NewExecution, Step
from flow_manager.stores.journal import Journal
from flow_manager.stores.sqlite.file import Durability, FileLock, open_writer, verify
from flow_manager.stores.sqlite.ledger import ClaimDue, Command, SetAside, SqliteLedger
from flow_manager.stores.sqlite.reader import STATEMENTS, SqliteReader
from flow_manager.stores.sqlite.rows import to_micros

log = logging.getLogger(__name__)


class SqliteStore(SqliteReader):
    """Implements `ports.store.Store`.

    Opening takes the lock, verifies the file after an unclean end, migrates, and makes whatever
    an earlier process had claimed due again. `bind` then starts the journal on the engine's loop.

    Raises `StoreLocked`, `StoreDamaged`, `StoreNewer`, `StoreReadOnly`, `StoreError`.
    """

    def __init__(self, path: Path, durability: Durability = "full") -> None:
        path = path.resolve()
        super().__init__(path)
        self._lock = FileLock(path)
        try:
            self._writer = open_writer(path, durability)
            self._recover(path)
        except BaseException:
            self._lock.release()
            raise
        self._journal: Journal[Command] | None = None

    def _recover(self, path: Path) -> None:
        clean = self._writer.execute(STATEMENTS["get_property"], ("clean_stop",)).fetchone()
        if clean == ("0",):
            log.info("the last process did not stop cleanly; verifying %s", path)
            verify(self._writer, path)
        self._writer.execute(STATEMENTS["set_property"], ("clean_stop", "0"))

    def bind(
        self, loop: asyncio.AbstractEventLoop, now: datetime, die: Callable[[BaseException], None]
    ) -> None:
        """Free the claims of earlier processes and start the writer, answering on `loop`. `die` is
        called, from the writer's thread, with the fault after which the process must not go on."""
        self._writer.execute(STATEMENTS["free_claims"], (to_micros(now),))
        self._journal = Journal(SqliteLedger(self._writer, STATEMENTS), loop, die)

    def start(self, new: NewExecution) -> Awaitable[Claim]:
        return self._bound.submit(new, urgent=False)

    def commit(self, step: Step) -> Awaitable[None]:
        return self._bound.submit(step, urgent=True)

    def set_aside(self, claim: Claim, wake: Wake) -> Awaitable[None]:
        return self._bound.submit(SetAside(claim, wake), urgent=True)

    def claim_due(self, now: datetime, limit: int) -> Awaitable[Sequence[Claimed]]:
        return self._bound.submit(ClaimDue(now, limit), urgent=True)

    async def stop(self) -> None:
        await self._bound.stop()
        self.close()
        self._lock.release()

    @property
    def _bound(self) -> Journal[Command]:
        if self._journal is None:
            raise StoreReadOnly("the store was opened without a writer")
        return self._journal



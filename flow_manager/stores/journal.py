"""The journal: one writer thread with the only write connection, committing in groups.

Whatever has queued up while the last transaction was being synced is written in the next one:
one sync for all of them. Nobody hears of success before the sync has returned. One bad item
does not spoil a batch: the batch is taken back and its items are written one by one.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from flow_manager.errors import StoreError, StoreFull

MOST_PER_BATCH: Final = 256
"""Commands per transaction: beyond this a sync is shared by enough of them (measured: no gain past 128)."""

Command = TypeVar("Command")


class Ledger(Protocol[Command]):
    """The connection as the journal sees it. Only the writer thread calls it."""

    def write(self, batch: Sequence[Command]) -> list[Any]:
        """Apply a batch in one transaction and sync it; the answers in the same order. Raises a
        `StoreError` if nothing was written: `StoreFull`, or the fault of an item (which is then
        found by writing one by one). Anything else that it raises ends the process: what became
        of the batch is then not known."""

    def idle(self) -> None:
        """Called when nothing is queued."""

    def close(self) -> None: ...


class _Queued(Generic[Command]):
    __slots__ = ("answer", "command", "future")

    def __init__(self, command: Command, future: asyncio.Future[Any]) -> None:
        self.command = command
        self.future = future
        self.answer: Any = None


class Journal(Generic[Command]):
    """Commands go in from one asyncio loop; their futures settle there after the sync."""

    def __init__(
        self,
        ledger: Ledger[Command],
        loop: asyncio.AbstractEventLoop,
        die: Callable[[BaseException], None],
    ) -> None:
        self._ledger = ledger
        self._loop = loop
        self._die = die
        self._urgent: deque[_Queued[Command]] = deque()
        self._queue: deque[_Queued[Command]] = deque()
        self._wake = threading.Semaphore(0)
        self._asleep = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="flow-manager-journal", daemon=True)
        self._thread.start()

    def submit(self, command: Command, *, urgent: bool) -> asyncio.Future[Any]:
        """Queue a command. Urgent ones (the engine's own steps) go first, so that a storm of new
        work cannot starve what is under way. Call from the loop only."""
        queued = _Queued(command, self._loop.create_future())
        (self._urgent if urgent else self._queue).append(queued)
        if self._asleep:
            self._asleep = False
            self._wake.release()
        return queued.future

    @property
    def backlog(self) -> int:
        """How many commands are queued."""
        return len(self._urgent) + len(self._queue)

    async def stop(self) -> None:
        """Write what is queued, then end the thread and close the ledger."""
        self._stopping = True
        self._wake.release()
        await self._loop.run_in_executor(None, self._thread.join)

    def _run(self) -> None:
        try:
            while self._turn():
                pass
            self._ledger.close()
        except BaseException as error:  # the edge of the loop: without its writer the process must not go on
            self._die(error)

    def _turn(self) -> bool:
        batch = self._take()
        if batch:
            self._write(batch)
            self._loop.call_soon_threadsafe(_settle, batch)
            return True
        if self._stopping:
            return False
        self._ledger.idle()
        self._asleep = True
        if not (self._urgent or self._queue or self._stopping):
            self._wake.acquire()
        self._asleep = False
        return True

    def _take(self) -> list[_Queued[Command]]:
        batch: list[_Queued[Command]] = []
        for lane in (self._urgent, self._queue):
            while lane and len(batch) < MOST_PER_BATCH:
                batch.append(lane.popleft())
        return batch

    def _write(self, batch: list[_Queued[Command]]) -> None:
        try:
            answers = self._ledger.write([queued.command for queued in batch])
        except StoreError as error:
            if len(batch) == 1 or isinstance(error, StoreFull):
                for queued in batch:
                    queued.answer = error
            else:
                for queued in batch:
                    self._write([queued])
            return
        for queued, answer in zip(batch, answers, strict=True):
            queued.answer = answer


def _settle(batch: list[_Queued[Any]]) -> None:
    for queued in batch:
        future = queued.future
        if future.done():
            continue
        if isinstance(queued.answer, BaseException):
            future.set_exception(queued.answer)
        else:
            future.set_result(queued.answer)

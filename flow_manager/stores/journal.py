"""The journal: one writer thread with the only write connection, committing in groups.

Whatever has queued up while the last transaction was being synced is written in the next one:
one sync for all of them. Nobody hears of success before the sync has returned. One bad item
does not spoil a batch: the batch is taken back and its items are written one by one.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from flow_manager.errors import (
    FlowManagerError,
    OutcomeUnknown,
    ShuttingDown,
    StoreError,
    StoreFull,
    StoreLocked,
)
from flow_manager.ports.figures import SECONDS, SIZES, Distribution

MOST_PER_BATCH: Final = 256
"""Commands per transaction: beyond this a sync is shared by enough of them (measured: no gain past 128)."""
SLOW_WRITE: Final = 0.005
"""Seconds of a write on the loop's thread that are too long for it."""
PAUSE: Final = 50
"""For so many times as long nothing is written there then."""
LOCK_PAUSE: Final = 5.0
"""Seconds for which nothing is written there after somebody else's lock was met."""
STOP_PATIENCE: Final = 5.0
"""Seconds for which a stopping journal goes on waiting for somebody else's lock."""

Command = TypeVar("Command")
Written = TypeVar("Written", contravariant=True)


class Ledger(Protocol[Written]):
    """The connection as the journal sees it. Only the writer thread calls it."""

    def write(self, batch: Sequence[Written]) -> list[Any]:
        """Apply a batch in one transaction and sync it; the answers in the same order.

        Raises a `StoreError` if nothing was written: `StoreLocked` (somebody else is writing, and
        was waited for a moment), `StoreFull`, or the fault of an item, which is then found by
        writing one by one. Anything else that it raises ends the process: what became of the
        batch is then not known."""

    def close(self) -> None:
        """Tidy up. Whatever it raises ends the process."""


class _Queued(Generic[Command]):
    __slots__ = ("answer", "command", "future", "is_written_here")

    def __init__(self, command: Command, future: asyncio.Future[Any]) -> None:
        self.command = command
        self.future = future
        self.answer: Any = None
        self.is_written_here = True
        """Whether, if it is written on the loop's thread, it was."""


class Journal(Generic[Command]):
    """Commands go in from one asyncio loop; their futures settle there after the sync.

    `die` is called on the writer's thread with the fault after which the process must not go on.
    Should it return, whatever was under way is answered with `OutcomeUnknown`, and nothing more
    is accepted.
    """

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
        self._batch: list[_Queued[Command]] = []
        self.written = 0
        """How many commands have been written,"""
        self.transactions = 0
        """and in how many transactions."""
        self.sizes = Distribution(SIZES)
        """How many commands transactions had,"""
        self.seconds = Distribution(SECONDS)
        """and how long they took, the sync included."""
        self._wake = _Signal()
        self._asleep = False
        self._last_size = 0
        self._has_written_here = False
        self._here_from = 0.0
        self._refusal: FlowManagerError | None = None
        self._wait_until = float("inf")
        self._thread = threading.Thread(target=self._run, name="flow-manager-journal", daemon=True)
        self._thread.start()

    def submit(self, command: Command, *, urgent: bool, is_small: bool = False) -> asyncio.Future[Any]:
        """Queue a command. Urgent ones (the engine's own steps) go first, so that a storm of new
        work cannot starve what is under way. Small ones may be written on the loop's own thread if they
        come alone. Call from the loop only."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._refusal is not None:
            future.set_exception(_another(self._refusal))
            return future
        queued = _Queued(command, future)
        if is_small and self._is_lonely() and self._write_here(queued):
            return future
        (self._urgent if urgent else self._queue).append(queued)
        if self._asleep:
            self._asleep = False
            self._wake.set()
        return future

    def _is_lonely(self) -> bool:
        """Whether a command comes alone: the writer sleeps, had one command last time, and this is the
        first one in this turn of the loop. Then there is nobody to share a sync with, and two changes of
        threads would take longer than the sync."""
        return (
            self._asleep
            and not self._urgent
            and not self._queue
            and self._last_size == 1
            and not self._has_written_here
            and time.monotonic() >= self._here_from
        )

    def _write_here(self, queued: _Queued[Command]) -> bool:
        """Write a lonely command on the loop's own thread, while the writer sleeps; False if it has to be
        queued after all. Others on the loop wait for one sync at most: after a slow one, or somebody
        else's lock, the writer has its work back for a while."""
        began = time.monotonic()
        self._has_written_here = True
        self._loop.call_soon(self._tell_here, queued)
        try:
            queued.answer = self._ledger.write([queued.command])[0]
        except StoreLocked:
            self._here_from = time.monotonic() + LOCK_PAUSE
            queued.is_written_here = False
            return False
        except StoreError as error:
            queued.answer = error
        except BaseException as error:  # as on the writer's thread
            queued.is_written_here = False
            self._fail(error, [queued])
            return True
        now = time.monotonic()
        if now - began > SLOW_WRITE:
            self._here_from = now + PAUSE * (now - began)
        self._count(1, now - began)
        return True

    def _tell_here(self, queued: _Queued[Command]) -> None:
        """In the next turn of the loop."""
        self._has_written_here = False
        if queued.is_written_here:
            _settle([queued])

    @property
    def backlog(self) -> int:
        """How many commands are queued."""
        return len(self._urgent) + len(self._queue)

    async def stop(self) -> None:
        """Accept nothing more, write what is queued, then end the thread and close the ledger."""
        if self._refusal is None:
            self._refusal = ShuttingDown("the store has been closed; nothing was written")
        self._wait_until = time.monotonic() + STOP_PATIENCE
        self._wake.set()
        await self._loop.run_in_executor(None, self._thread.join)

    def _run(self) -> None:
        try:
            while self._turn():
                pass
            self._ledger.close()
        except BaseException as error:  # the edge of the loop: without its writer the process must not go on
            self._fail(error, self._batch)

    def _fail(self, error: BaseException, batch: list[_Queued[Command]]) -> None:
        self._refusal = StoreError(f"the store has failed and must be opened again: {error}")
        try:
            self._die(error)
        finally:
            self._loop.call_soon_threadsafe(self._give_up, error, batch)

    def _turn(self) -> bool:
        self._batch = batch = self._take()
        if batch:
            began = time.monotonic()
            self._write(batch)
            self._last_size = len(batch)
            self._count(len(batch), time.monotonic() - began)
            self._loop.call_soon_threadsafe(_settle, batch)
            return True
        if self._refusal is not None:
            return False
        self._asleep = True
        if not (self._urgent or self._queue or self._refusal):
            self._wake.wait()
        self._asleep = False
        return True

    def _count(self, commands: int, seconds: float) -> None:
        self.written += commands
        self.transactions += 1
        self.sizes.add(commands)
        self.seconds.add(seconds)

    def _take(self) -> list[_Queued[Command]]:
        batch: list[_Queued[Command]] = []
        for lane in (self._urgent, self._queue):
            while lane and len(batch) < MOST_PER_BATCH:
                batch.append(lane.popleft())
        return batch

    def _write(self, batch: list[_Queued[Command]]) -> None:
        try:
            answers = self._write_unlocked(batch)
        except StoreError as error:
            if len(batch) == 1 or isinstance(error, StoreFull | StoreLocked):
                _answer_all(batch, error)
            else:
                for queued in batch:
                    self._write([queued])
            return
        for queued, answer in zip(batch, answers, strict=True):
            queued.answer = answer

    def _write_unlocked(self, batch: list[_Queued[Command]]) -> list[Any]:
        """Wait for somebody else's lock as long as it takes: callers watch their own deadlines, and
        only a journal that is stopping gives up."""
        commands = [queued.command for queued in batch]
        while True:
            try:
                return self._ledger.write(commands)
            except StoreLocked:
                if time.monotonic() >= self._wait_until:
                    raise

    def _give_up(self, error: BaseException, batch: list[_Queued[Command]]) -> None:
        """`die` has let the process live: leave nobody waiting."""
        _answer_all(batch, OutcomeUnknown(f"whether this was written is not known: {error}"))
        rest = [*self._urgent, *self._queue]
        _answer_all(rest, self._refusal)
        _settle([*batch, *rest])


class _Signal:
    """A flag for one thread to wait for: a bare lock, since a semaphore of the standard library costs
    ten times as much, and this is crossed for every transaction."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Call from one thread only."""
        if self._lock.locked():
            self._lock.release()

    def wait(self) -> None:
        """Until it is set, which is then undone."""
        self._lock.acquire()


def _answer_all(batch: Sequence[_Queued[Any]], error: BaseException | None) -> None:
    for queued in batch:
        queued.answer = error


def _settle(batch: Sequence[_Queued[Any]]) -> None:
    for queued in batch:
        future = queued.future
        if future.done():
            continue
        if isinstance(queued.answer, FlowManagerError):
            future.set_exception(_another(queued.answer))
        else:
            future.set_result(queued.answer)


def _another(error: FlowManagerError) -> FlowManagerError:
    """An exception of the same kind for each who waits: a traceback belongs to one of them."""
    another = type(error)(*error.args)
    another.__cause__ = error.__cause__
    return another

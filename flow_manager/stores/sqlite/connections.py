"""Read connections, lent out one at a time and for a bounded time."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import apsw

from flow_manager.errors import ShuttingDown
from flow_manager.stores.sqlite.file import named_errors, open_reader

LONGEST_READ: Final = 30.0
"""Seconds after which a read is given up: as long as it lasts, the write-ahead log cannot be cut."""
_STEPS_BETWEEN_LOOKS: Final = 100_000
"""Instructions of SQLite's machine between two looks at the clock: a few milliseconds."""


class ReadConnection:
    """One read-only connection. Opens when first needed, and anew after an error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lending = threading.Lock()
        self._connection: apsw.Connection | None = None
        self._closed = False
        self._until = float("inf")

    @contextlib.contextmanager
    def lent(self) -> Iterator[apsw.Connection]:
        """Raises `StoreDamaged`, `StoreNewer`, `StoreReadOnly` or `StoreError` for whatever goes
        wrong inside, and `ShuttingDown` after `close`."""
        with self._lending, named_errors(self._path):
            if self._closed:
                raise ShuttingDown("the store has been closed")
            if self._connection is None:
                self._connection = open_reader(self._path)
                self._connection.set_progress_handler(self._is_late, _STEPS_BETWEEN_LOOKS)
            self._until = time.monotonic() + LONGEST_READ
            try:
                yield self._connection
            except apsw.Error:
                self._drop()
                raise

    def _is_late(self) -> bool:
        return time.monotonic() > self._until

    def close(self) -> None:
        with self._lending:
            self._closed = True
            self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close(True)
            self._connection = None


class ReadConnections:
    """A few of them, for as many threads as there are."""

    def __init__(self, path: Path, size: int) -> None:
        self._all = [ReadConnection(path) for _ in range(size)]
        self._free: queue.LifoQueue[ReadConnection] = queue.LifoQueue()
        for connection in self._all:
            self._free.put(connection)

    @contextlib.contextmanager
    def lent(self) -> Iterator[apsw.Connection]:
        """Waits for a free one; raises what `ReadConnection.lent` raises."""
        chosen = self._free.get()
        try:
            with chosen.lent() as connection:
                yield connection
        finally:
            self._free.put(chosen)

    def close(self) -> None:
        """Waits for the reads that are under way."""
        for connection in self._all:
            connection.close()

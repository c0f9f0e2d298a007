"""A number that is read now and then, for those who must not wait for it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Final

from flow_manager.errors import ShuttingDown, StoreError

AGE: Final = 1.0
"""Seconds for which a number is good enough."""
PATIENCE: Final = 0.05
"""Seconds that a new one is waited for before the last one is told."""


class Refreshed:
    """A number that is read anew when it is asked for and old. Whoever asks gets an answer soon,
    the last one if the store takes its time."""

    def __init__(self, read: Callable[[], int], readers: Executor) -> None:
        self._read = read
        self._readers = readers
        self._value = 0
        self._read_at = float("-inf")
        self._reading: Future[int] | None = None

    def value(self) -> int:
        if self._reading is None and time.monotonic() - self._read_at > AGE:
            with contextlib.suppress(RuntimeError):  # the service has stopped
                self._reading = self._readers.submit(self._read)
        reading = self._reading
        if reading is not None:
            with contextlib.suppress(TimeoutError, StoreError, ShuttingDown):
                self._value = reading.result(PATIENCE)
            if reading.done():
                self._reading, self._read_at = None, time.monotonic()
        return self._value

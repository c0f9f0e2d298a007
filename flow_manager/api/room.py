"""Room: how many requests may be in work at once."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from typing import Final, Self

from flow_manager.errors import Overloaded

KEPT_FREE: Final = 8
"""Handler threads that no request with a body gets."""
LONG_READS: Final = 4
"""Those of them that may read what grows with the store at once. The others are left, so that neither
requests with a body nor long reads keep health and status from an answer."""

TAKEN: Final = "all threads for requests of this kind are taken; try again soon"


class Room:
    """Room for so many requests at once. Entering raises `Overloaded` if none is left."""

    def __init__(self, places: int) -> None:
        # A queue of tokens: a semaphore of `threading` is written in Python and takes ten times as long.
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(places):
            self._free.put(None)

    @classmethod
    def for_bodies(cls, handler_threads: int) -> Self:
        """For requests with a body."""
        return cls(max(1, handler_threads - KEPT_FREE))

    @classmethod
    def for_long_reads(cls, handler_threads: int) -> Self:
        """For lists, histories and the doctor. Also of three threads, the fewest there are, one is left."""
        return cls(min(LONG_READS, handler_threads - 2))

    @property
    def is_full(self) -> bool:
        """Whether no place is left at the moment."""
        return self._free.empty()

    def take(self) -> bool:
        """Take a place if there is one."""
        try:
            self._free.get_nowait()
        except Empty:
            return False
        return True

    def give_back(self) -> None:
        self._free.put(None)

    def __enter__(self) -> None:
        if not self.take():
            raise Overloaded(TAKEN)

    def __exit__(self, *_: object) -> None:
        self.give_back()

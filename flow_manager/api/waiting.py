"""Waiting for results: how long a request waits, and how many do at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Final, NamedTuple

from flow_manager.api.preferences import Preferences
from flow_manager.api.room import Room

NO_WAIT: Final = timedelta(0)


class Patience(NamedTuple):
    """How long a request waits, and whether that is how long it wanted to."""

    wait: timedelta
    is_as_wanted: bool


class WaitingRoom:
    """At most so many requests wait at once, those of all endpoints together. Beyond that a request is
    answered as if it had not wanted to wait. `limit` is for requests that do not say how long."""

    def __init__(self, places: int, limit: timedelta) -> None:
        self._room = Room(places)
        self._limit = limit

    @contextlib.contextmanager
    def patience(self, preferences: Preferences, *, may_wait: bool = True) -> Iterator[Patience]:
        """The place of whoever waits is held until the end of the block."""
        wanted = preferences.patience(self._limit)
        waits = wanted > NO_WAIT and may_wait and self._room.take()
        try:
            yield Patience(wanted if waits else NO_WAIT, waits or wanted == NO_WAIT)
        finally:
            if waits:
                self._room.give_back()

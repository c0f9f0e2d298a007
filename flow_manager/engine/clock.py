"""The engine's clock: it follows the wall clock, and never jumps with it.

It runs on monotonic time from where the wall clock stood when it was made. Once a second it looks at the
wall clock and runs a little faster or slower, by a tenth at most, until both agree. So a wall clock that
jumps neither stops what waits nor hurries it; times of day catch up slowly, or at the next start.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

log = logging.getLogger(__name__)

LOOK_EVERY: Final = 1.0
"""Seconds between two looks at the wall clock."""
MOST_SLEW: Final = 0.1
SLEW_TIME: Final = 10.0
"""Seconds over which a small difference is made good."""
JUMP: Final = 1.0
"""Seconds of difference that are worth a word in the log."""


def _wall() -> datetime:
    return datetime.now(UTC)


class _Course(NamedTuple):
    """Where the clock stood at a monotonic time, how fast it runs since, and when it looks again."""

    base: datetime
    since: float
    rate: float
    look_at: float

    def at(self, monotonic: float) -> datetime:
        return self.base + timedelta(0, (monotonic - self.since) * self.rate)  # by name takes twice as long


class SystemClock:
    """Implements `ports.clock.Clock`. May be asked from any thread."""

    def __init__(
        self, wall: Callable[[], datetime] = _wall, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall = wall
        self.monotonic = monotonic
        now = monotonic()
        self._course = _Course(wall(), now, 1.0, now + LOOK_EVERY)
        self._has_jumped = False
        self._lock = threading.Lock()

    def now(self) -> datetime:
        course, monotonic = self._course, self.monotonic()
        if monotonic < course.look_at:  # before that nobody has changed the course
            return course.at(monotonic)
        with self._lock:  # two corrections at once would each forget the other
            monotonic = self.monotonic()
            if monotonic >= self._course.look_at:
                self._course = self._corrected(self._course, monotonic)
            return self._course.at(monotonic)

    def _corrected(self, course: _Course, monotonic: float) -> _Course:
        now = course.at(monotonic)
        behind = (self._wall() - now).total_seconds()
        self._tell(behind)
        slew = max(-MOST_SLEW, min(MOST_SLEW, behind / SLEW_TIME))
        return _Course(now, monotonic, 1.0 + slew, monotonic + LOOK_EVERY)

    def _tell(self, behind: float) -> None:
        has_jumped = abs(behind) > JUMP
        if has_jumped and not self._has_jumped:
            log.warning("the wall clock has jumped by %+.1f s; waiting goes on as if it had not", behind)
        self._has_jumped = has_jumped

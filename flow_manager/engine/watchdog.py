"""The watchdog: names the code that keeps the engine's loop from turning."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from typing import Final

log = logging.getLogger(__name__)

BEAT: Final = 0.5
"""Seconds between two signs of life of the loop."""
LONGEST_SILENCE: Final = 1.0
"""Seconds without a sign of life after which the loop counts as blocked."""
FRAMES_SHOWN: Final = 3


class Watchdog:
    """A thread that looks whether the loop still turns. An `async def` task that computes or sleeps
    without `await` holds up every other execution; only a second thread can see and say so."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._beaten_at = time.monotonic()
        self._late = 0.0
        self._loop_thread = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="flow-manager-watchdog", daemon=True)

    def start(self) -> None:
        """Call on the loop's thread, before it turns."""
        self._loop_thread = threading.get_ident()
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def lag(self, now: float) -> float:
        """For how many seconds the loop has been late, at the last sign of life or since then."""
        return max(self._late, now - self._beaten_at - BEAT)

    def _beat(self) -> None:
        now = time.monotonic()
        self._late = max(0.0, now - self._beaten_at - BEAT)
        self._beaten_at = now
        if not self._stopping.is_set():
            self._loop.call_later(BEAT, self._beat)

    def _watch(self) -> None:
        reported = 0.0
        while not self._stopping.wait(BEAT):
            silence = self.look(time.monotonic())
            if silence and self._beaten_at != reported:
                reported = self._beaten_at
                log.warning("the engine's loop has been blocked for %.1f s, by %s", silence, self.culprit())

    def look(self, now: float) -> float:
        """For how many seconds the loop has been blocked; 0 if it turns."""
        silence = now - self._beaten_at
        return silence if silence > BEAT + LONGEST_SILENCE else 0.0

    def culprit(self) -> str:
        """The innermost calls of the loop's thread, the last one first."""
        frame = sys._current_frames().get(self._loop_thread)
        calls = traceback.extract_stack(frame)[-FRAMES_SHOWN:]
        return ", called by ".join(f"{call.name} ({call.filename}:{call.lineno})" for call in reversed(calls))

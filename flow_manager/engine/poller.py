"""The poller: claims what is due, as far as there are places. Polling is the truth; being nudged
only shortens the wait."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from flow_manager.engine.admission import Admission
from flow_manager.errors import FlowManagerError
from flow_manager.ports.clock import Clock
from flow_manager.ports.figures import SECONDS, Distribution
from flow_manager.ports.store import Claimed, Store

log = logging.getLogger(__name__)

MOST_CLAIMED_AT_ONCE: Final = 200
LONGEST_NAP: Final = 1.0
"""Seconds between two looks at the agenda, whatever was or was not announced."""


class Poller:
    """`running` counts the executions that are worked on; `resume` takes one up; `failed` is told why
    a look failed."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        admission: Admission,
        running: Callable[[], int],
        resume: Callable[[Claimed], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._admission = admission
        self._running = running
        self._resume = resume
        self._failed = failed
        self._nudged = asyncio.Event()
        self._stopping = False
        self.lateness = Distribution(SECONDS)
        """How long after their due time executions were claimed."""

    @property
    def waiting(self) -> int:
        """How many executions are due and have no place."""
        return self._admission.waiting

    def nudge(self) -> None:
        """Something may be due now."""
        self._nudged.set()

    def stop(self) -> None:
        """End the loop; claims that are on their way still arrive."""
        self._stopping = True
        self._nudged.set()

    async def run(self) -> None:
        """Look until stopped."""
        while not self._stopping:
            try:
                nap = await self.look()
            except FlowManagerError as error:  # the store says no; the next look may work
                log.warning("looking for due executions failed, trying again: %s", error)
                self._failed(error)
                nap = LONGEST_NAP
            except Exception:  # the edge of the loop: without it nothing that waits would go on
                log.exception("looking for due executions failed, trying again")
                nap = LONGEST_NAP
            if nap > 0 and not self._stopping:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._nudged.wait(), nap)
            self._nudged.clear()

    async def look(self) -> float:
        """Claim what is due; the answer is how long to wait before the next look, in seconds."""
        now = self._clock.now()
        agenda = self._store.agenda(now)
        self._admission.waiting = agenda.due
        free = self._admission.free_places(self._running())
        if agenda.due and free:
            for claimed in await self._store.claim_due(now, min(free, MOST_CLAIMED_AT_ONCE)):
                if claimed.due_at is not None:
                    self.lateness.add(max(0.0, (now - claimed.due_at).total_seconds()))
                self._resume(claimed)
            return 0.0
        if agenda.due or agenda.next_at is None:
            return LONGEST_NAP
        return min(LONGEST_NAP, max(0.0, (agenda.next_at - now).total_seconds()))

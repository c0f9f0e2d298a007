"""The poller: claims what is due, as far as there are places. Polling is the truth; being nudged
only shortens the wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from flow_manager.engine.admission import Admission
from flow_manager.engine.lookout import Lookout
from flow_manager.errors import FlowManagerError
from flow_manager.ports.clock import Clock
from flow_manager.ports.figures import SECONDS, Distribution
from flow_manager.ports.store import Claimed, Store

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
        failed: Callable[[FlowManagerError], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._admission = admission
        self._running = running
        self._resume = resume
        self._lookout = Lookout("looking for due executions", self.look, LONGEST_NAP, failed)
        self.lateness = Distribution(SECONDS)
        """How long after their due time executions were claimed."""

    @property
    def waiting(self) -> int:
        """How many executions are due and have no place."""
        return self._admission.waiting

    def nudge(self) -> None:
        """Something may be due now."""
        self._lookout.nudge()

    def stop(self) -> None:
        """End the loop; claims that are on their way still arrive."""
        self._lookout.stop()

    async def run(self) -> None:
        """Look until stopped."""
        await self._lookout.run()

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

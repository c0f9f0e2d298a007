"""The doctor's rounds: what must never be is looked for again and again, told, and mended.

There should be nothing to find. The quick round looks at what is open; the whole store is looked at when
somebody asks (`Backend.violations`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from flow_manager.engine.lookout import Lookout
from flow_manager.ports.backend import Violation
from flow_manager.ports.clock import Clock
from flow_manager.ports.store import Store

log = logging.getLogger(__name__)

EVERY: Final = 60.0
"""Seconds between two rounds."""


class Doctor:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self.tell: Callable[[Mapping[str, int]], None] = lambda _: None
        """Told after each round how many of each kind it has found."""

    async def run(self) -> None:
        """Look for ever."""
        await Lookout("looking for violations", self._round, EVERY).run(first_nap=EVERY)

    async def _round(self) -> float:
        await self.look()
        return EVERY

    async def look(self) -> Sequence[Violation]:
        """One quick round; the answer is what was mended."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(None, lambda: self._store.violations(quick=True))
        self.tell(Counter(violation.code for violation in found))
        mended: list[Violation] = []
        await self.mend_all(found, mended)
        return mended

    async def mend_all(self, found: Sequence[Violation], mended: list[Violation]) -> None:
        """Mend what can be; `mended` is filled with that."""
        for violation in found:
            is_mended = await self._store.mend(violation, self._clock.now())
            what = "and was mended" if is_mended else "and cannot be mended"
            log.error("execution %s: %s, %s", violation.execution_id, violation.detail, what)
            if is_mended:
                mended.append(violation)

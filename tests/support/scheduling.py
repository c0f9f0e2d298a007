"""A scheduler on a real store, with a clock that is moved by hand."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from flow_manager.core.schedule_document import read_schedule
from flow_manager.engine.flows import StoredFlows
from flow_manager.engine.scheduled_starts import ScheduledStarts
from flow_manager.engine.scheduler import Scheduler
from flow_manager.engine.zone_data import zone_data
from flow_manager.ports.scheduling import Fire, StoredSchedule
from flow_manager.stores.sqlite.store import SqliteStore
from tests.support.documents import document, task
from tests.support.engine import Engine, engine
from tests.support.fakes import FakeClock
from tests.support.published import publish

FLOW = document(task("a"), flow_id="nightly")


@dataclass
class Scheduling:
    """`engine` drives what was started; nothing runs by itself."""

    engine: Engine
    scheduler: Scheduler
    told_to_end: list[str]
    is_busy: bool = False

    @property
    def store(self) -> SqliteStore:
        return self.engine.store

    @property
    def clock(self) -> FakeClock:
        return self.engine.clock

    async def put(self, schedule_id: str = "one", **fields: Any) -> StoredSchedule:
        """Store a schedule of the flow `nightly`, from now on; by default for each minute."""
        fields = {"flow_id": "nightly", **({} if fields.keys() & {"cron", "at"} else {"every": 60}), **fields}
        written = read_schedule(fields, self.clock.now(), schedule_id)
        now = self.clock.now()
        new = StoredSchedule(
            schedule_id, 1, written.text, False, now, written.rule.after(now), zone_data(), now
        )
        await self.store.schedules.put(new, None)
        return new

    async def look(self) -> None:
        """Look until nothing is due any more."""
        while await self.scheduler.look() == 0.0:
            pass

    async def pass_by(self, seconds: float) -> None:
        """Time passes, and then somebody looks."""
        self.clock.advance(seconds)
        await self.look()

    def fires(self, schedule_id: str = "one") -> list[Fire]:
        return list(reversed(self.store.schedules.fires(schedule_id, 1_000)))

    def outcomes(self, schedule_id: str = "one") -> list[str]:
        """What became of its times, the oldest first."""
        return [each.outcome for each in self.fires(schedule_id)]

    def started(self, schedule_id: str = "one") -> list[datetime]:
        return [each.nominal for each in self.fires(schedule_id) if each.execution_id is not None]


@contextlib.asynccontextmanager
async def scheduling(path: Path, start: datetime | None = None) -> AsyncIterator[Scheduling]:
    clock = FakeClock()
    if start is not None:
        clock.advance((start - clock.now()) / timedelta(seconds=1))
    async with engine(path, clock=clock) as it:
        if it.store.schedules.flow("nightly", None) is None:
            publish(path, FLOW)
        starts = ScheduledStarts(it.store.schedules, StoredFlows(), 1 << 20)
        told: list[str] = []
        scheduler = Scheduler(it.store.schedules, clock, starts, lambda: made.is_busy, told.extend)
        made = Scheduling(it, scheduler, told)
        yield made

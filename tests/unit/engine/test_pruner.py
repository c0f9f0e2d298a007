from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flow_manager.engine.pruner import Pruner
from flow_manager.ports.retention import UNBOUNDED, Prune, Pruned, Retention
from tests.support.documents import document, task
from tests.support.engine import engine
from tests.support.fakes import FakeClock

A_DAY = Retention(timedelta(days=1))
DONE = Pruned(0, 0, 0, (), b"", True, False)
MORE = Pruned(3, 9, 0, (), b"place", False, False)


class PrunedStore:
    """Answers with what it was given, in order, and then that it is done."""

    def __init__(self, *answers: Pruned) -> None:
        self.answers = list(answers)
        self.orders: list[Prune] = []

    async def prune(self, order: Prune) -> Pruned:
        self.orders.append(order)
        return self.answers.pop(0) if self.answers else DONE


async def run_for(store: Any, seconds: float, retention: Retention = A_DAY) -> None:
    running = asyncio.create_task(Pruner(store, FakeClock(), retention).run())
    await asyncio.sleep(seconds)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


def test_step_follows_step_from_the_place_where_the_last_one_was() -> None:
    store = PrunedStore(MORE, MORE)

    asyncio.run(run_for(store, 0.3))

    assert [order.after for order in store.orders] == [b"", b"place", b"place"]
    assert {order.retention for order in store.orders} == {A_DAY}


def test_a_pause_is_nine_times_as_long_as_the_step_or_as_long_if_the_store_is_too_large() -> None:
    class SlowStore(PrunedStore):
        async def prune(self, order: Prune) -> Pruned:
            await asyncio.sleep(0.03)
            return await super().prune(order)

    store = SlowStore(*[MORE] * 100)
    pressed = SlowStore(*[msgspec.structs.replace(MORE, is_over=True)] * 100)

    asyncio.run(run_for(store, 0.5))
    asyncio.run(run_for(pressed, 0.5))

    assert len(store.orders) <= 2
    assert 2 < len(pressed.orders) <= 8


def test_without_a_bound_nobody_looks() -> None:
    store = PrunedStore()

    asyncio.run(run_for(store, 0.05, UNBOUNDED))

    assert store.orders == []


def test_a_store_that_cannot_be_made_smaller_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    store: Any = PrunedStore(Pruned(0, 0, 0, (), b"", True, True))

    asyncio.run(Pruner(store, FakeClock(), A_DAY).look())

    assert "larger than it may be" in caplog.text


def test_an_engine_prunes_what_has_ended_and_what_is_open_goes_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = FakeClock()
        clock.advance(3_000 * 86_400)  # ids are those of today, and count as old
        async with engine(tmp_path / "a.db", clock=clock) as running:
            ended = await running.started(document(task("a")))
            waiting = await running.started(document(task("wait", {"for": "30d"}), task("a")))
            clock.advance(2 * 86_400)

            pruned = await Pruner(running.store, clock, A_DAY).look()

            assert pruned.executions == 1
            assert [each.execution_id for each in running.store.executions()] == [waiting]
            assert ended != waiting
            clock.advance(30 * 86_400)
            await running.go_on()
            assert running.tasks(waiting) == ["task1:success", "task2:success"]

    asyncio.run(scenario())

"""What the engine counts as it goes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from flow_manager.engine.watchdog import BEAT, Watchdog
from flow_manager.ports.figures import SIZES, Distribution
from flow_manager.stores.sqlite.store import SqliteStore
from tests.support.documents import document, task
from tests.support.engine import engine


def test_a_value_that_is_a_bound_lies_below_it() -> None:
    distribution = Distribution((1.0, 2.0))
    for value in (0.0, 1.0, 1.1, 2.0, 2.1):
        distribution.add(value)

    assert distribution.counts == [2, 2, 1]
    assert distribution.sum == pytest.approx(6.2)


def test_distributions_are_added_up() -> None:
    one, other = Distribution((1.0,)), Distribution((1.0,))
    for value in (0.5, 3.0):
        other.add(value)

    assert (one.add_all(other), one.add_all(other)) == (2, 2)
    assert (one.counts, one.sum) == ([2, 2], 7.0)


def test_what_is_claimed_late_is_counted_as_late(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "x.db") as running:
            await running.started(document(task("wait", {"for": "1h"})))
            running.clock.advance(3600 + 7)
            await running.look()

            lateness = running.orchestrator.poller.lateness
            assert (sum(lateness.counts), lateness.sum) == (1, 7.0)

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_a_store_counts_its_transactions_from_the_time_that_it_was_opened(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "x.db") as running:
            before = sum(running.store.figures().seconds.counts)
            await asyncio.gather(*(running.execute(document(task("a"))) for _ in range(20)))

            figures = running.store.figures()
            assert figures.queued == 0
            assert sum(figures.sizes.counts) == sum(figures.seconds.counts) > before == 0
            assert figures.sizes.sum >= 40  # each was started and has ended
            assert figures.sizes.sum / sum(figures.sizes.counts) == running.store.commands_per_transaction

    asyncio.run(asyncio.wait_for(scenario(), 30))
    store = SqliteStore(tmp_path / "y.db")
    assert (store.figures().queued, store.figures().sizes.bounds) == (0, SIZES)
    asyncio.run(store.stop())


def test_the_loop_is_late_while_it_is_held_up_and_for_a_beat_after_that() -> None:
    loop = asyncio.new_event_loop()
    watchdog = Watchdog(loop)
    watchdog.start()
    try:
        began = time.monotonic()
        loop.run_until_complete(asyncio.sleep(0))
        assert watchdog.lag(began) < BEAT
        assert watchdog.lag(began + BEAT + 3) == pytest.approx(3, abs=0.5)

        loop.call_soon(time.sleep, BEAT + 0.4)
        loop.run_until_complete(asyncio.sleep(0.1))
        assert 0.2 < watchdog.lag(time.monotonic()) < 2
    finally:
        watchdog.stop()
        loop.close()

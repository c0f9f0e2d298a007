"""Starts under terms, by the orchestrator on a real store with a clock of the test's own."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flow_manager.core.parser import FlowParser
from flow_manager.core.states import ExecutionStatus, WakeReason
from flow_manager.engine.terms import asked_of
from flow_manager.errors import InvalidRequest
from flow_manager.ports.starting import StartOptions
from tests.support.documents import document, task
from tests.support.engine import Engine, engine
from tests.support.executions import NOW
from tests.support.fakes import FakeWaiter

ASKS = task("signal", {"name": "paid"})


def limited(limit: int = 1, **concurrency: Any) -> dict[str, Any]:
    return document(ASKS, task("a"), concurrency={"limit": limit, **concurrency})


async def started(
    it: Engine, written: dict[str, Any], input: dict[str, Any] | None = None, **options: Any
) -> str:
    flow, waiter, given = FlowParser().parse(written), FakeWaiter(), input or {}
    asked = asked_of(flow, given, StartOptions(**options), it.clock.now())
    it.orchestrator.start(flow, given, flow.labels, waiter, asked)
    await it.go_on()
    if waiter.error is not None:
        raise waiter.error
    return waiter.execution_id


def reason(it: Engine, execution_id: str) -> WakeReason | None:
    wake = it.view(execution_id).wake
    return None if wake is None else wake.reason


def test_the_end_of_one_lets_the_next_begin(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db") as it:
            first, second, third = [await started(it, limited()) for _ in range(3)]
            assert [reason(it, each) for each in (first, second, third)] == ["signal", "slot", "slot"]
            assert it.tasks(second) == []

            await it.send(first, "paid")
            await it.go_on()

            assert [reason(it, each) for each in (first, second, third)] == [None, "signal", "slot"]
            assert list(it.store.violations()) == []

    asyncio.run(scenario())


def test_whoever_waits_for_a_slot_ends_when_it_is_cancelled_and_takes_none(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db") as it:
            first, second, third = [await started(it, limited()) for _ in range(3)]

            await it.cancel(second)
            await it.go_on()
            assert it.view(second).status is ExecutionStatus.CANCELLED
            assert reason(it, third) is WakeReason.SLOT

            await it.cancel(first)
            await it.go_on()
            assert reason(it, third) is WakeReason.SIGNAL
            assert list(it.store.violations()) == []

    asyncio.run(scenario())


def test_the_key_is_made_of_the_input(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db") as it:
            by_shop = limited(key="shop ${input.shop}")

            first, second, other = [await started(it, by_shop, {"shop": shop}) for shop in (1, 1, 2)]

            assert [reason(it, each) for each in (first, second, other)] == ["signal", "slot", "signal"]
            with pytest.raises(InvalidRequest) as refusal:
                await started(it, by_shop)
            assert [(each.pointer, each.code) for each in refusal.value.problems] == [
                ("#/input", "bad-concurrency-key")
            ]

    asyncio.run(scenario())


def test_an_execution_that_is_started_for_later_begins_then(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db") as it:
            start_at = it.clock.now() + timedelta(hours=2)
            later = await started(it, document(task("a"), timeout="1h"), start_at=start_at)
            assert it.view(later).status is ExecutionStatus.WAITING
            assert it.worker.orders == []

            it.clock.advance(7199)
            await it.go_on()
            assert it.worker.orders == []

            it.clock.advance(1)
            await it.go_on()
            assert it.view(later).status is ExecutionStatus.COMPLETED

    asyncio.run(scenario())


def test_the_time_of_an_execution_runs_from_when_it_was_to_begin(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db") as it:
            start_at = it.clock.now() + timedelta(hours=2)
            later = await started(it, document(ASKS, timeout="1h"), start_at=start_at)

            it.clock.advance(7200)
            await it.go_on()
            assert it.view(later).status is ExecutionStatus.WAITING
            it.clock.advance(3600)
            await it.go_on()

            error = it.view(later).error
            assert error is not None
            assert error.code == "flow.timeout"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("written", "days", "code"), [(document(ASKS), 367, "out-of-range"), (limited(), 1, "conflict")]
)
def test_a_start_that_cannot_be_so_late_is_refused(
    tmp_path: Path, written: dict[str, Any], days: int, code: str
) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db") as it:
            with pytest.raises(InvalidRequest) as refusal:
                await started(it, written, start_at=it.clock.now() + timedelta(days=days))
            assert [(each.pointer, each.code) for each in refusal.value.problems] == [("#/start_at", code)]

    asyncio.run(scenario())


def test_expressions_know_the_version_of_a_published_flow(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path / "a.db") as it:
            written = document(task("transform"), output="${flow.version}")

            assert it.view(await started(it, written, version=3)).output == 3
            assert it.view(await started(it, written)).output == 0

    asyncio.run(scenario())


def test_the_rate_counts_for_published_flows_alone() -> None:
    flow = FlowParser().parse(document(task("a"), rate={"limit": 60, "per": "1m"}))
    published = asked_of(flow, {}, StartOptions(version=1), NOW)
    assert published.terms is not None
    assert published.terms.rate is not None
    assert (published.terms.rate.interval, published.terms.rate.burst) == (timedelta(seconds=1), 60)
    assert asked_of(flow, {}, StartOptions(), NOW).terms is None

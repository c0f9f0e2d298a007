"""What searching must do on every store. A store's own test file subclasses `SearchBehaviour`."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import pytest

from flow_manager.core.events import ExecutionEnded, ExecutionEnding, ExecutionStarted
from flow_manager.core.results import TaskError
from flow_manager.core.states import ENDED, ExecutionStatus, Wake, WakeReason
from flow_manager.errors import ExecutionUnknown
from flow_manager.ports.search import Filter, Summary
from flow_manager.ports.store import NewExecution, Step, Store
from tests.support.executions import NOW, claimed, due, new_execution, next_events, step

Answer = TypeVar("Answer")

FLOWS = ("order", "Order.v2", "billing")
CODES = ("task.failed", "task.timeout", "http.status", "tasks")
FIRST = datetime(2026, 3, 1, tzinfo=UTC)


def started_at(number: int) -> datetime:
    """Four executions begin in each minute."""
    return FIRST + timedelta(minutes=number // 4)


def id_at(number: int) -> str:
    """A UUIDv7 of its time; those of the same time go up."""
    milliseconds = int(started_at(number).timestamp() * 1000)
    return str(UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | number))


def numbered(number: int, chance: random.Random) -> tuple[NewExecution, Summary]:
    """An execution in one of all states, and how the list should tell it."""
    flow = chance.choice(FLOWS)
    labels = {
        name: chance.choice(("a", "Bee", "100% 'c'")) for name in ("team", "tier") if chance.random() < 0.7
    }
    reason = chance.choice([None, None, *WakeReason])
    status = chance.choice(sorted(ENDED)) if reason is None else ExecutionStatus.RUNNING
    error = None if reason or status is ExecutionStatus.COMPLETED else chance.choice(CODES)
    began = ExecutionStarted(NOW, flow, {}, labels)
    ended = ExecutionEnded(NOW, status, None if error is None else TaskError(error, "no"))
    new = new_execution(
        None if reason is None else Wake(reason, NOW),
        events=[began, ended] if reason is None else [began],
        status=status,
        definition=f'{{"id":"{flow}","number":{number % 3}}}',
        flow_id=flow,
    )
    new = msgspec.structs.replace(new, execution_id=id_at(number), started_at=started_at(number))
    told = status if reason is None else Wake(reason, NOW)
    return new, Summary(
        new.execution_id,
        flow,
        told if isinstance(told, ExecutionStatus) else _status_of(told),
        started_at(number),
        NOW if reason is None else None,
        labels,
        error,
        reason,
    )


def _status_of(wake: Wake) -> ExecutionStatus:
    names = {"quarantine": "quarantined", "repair": "needs_repair", "claim": "running", "pause": "paused"}
    return ExecutionStatus(names.get(wake.reason.value, "waiting"))


def is_wanted(each: Summary, wanted: Filter) -> bool:
    """The filter in other words, looking at one execution after another."""
    begins = UUID(each.execution_id).int >> 80
    text = (wanted.text or "").lower()
    texts = [each.flow_id, each.error or "", *each.labels.values()]
    is_id = len(text) >= 8 and each.execution_id.startswith(text)
    error = wanted.error
    return (
        wanted.flow_id in (None, each.flow_id)
        and wanted.status in (None, each.status)
        and wanted.reason in (None, each.reason)
        and all(each.labels.get(name) == value for name, value in wanted.labels)
        and (wanted.since is None or begins >= wanted.since.timestamp() * 1000)
        and (wanted.until is None or begins < wanted.until.timestamp() * 1000)
        and (
            error is None or (each.error or "").startswith(error)
            if (error or "").endswith(".")
            else error in (None, each.error)
        )
        and (not text or is_id or any(text in one.lower() for one in texts))
    )


class SearchBehaviour(ABC):
    @abstractmethod
    def make(self) -> Store:
        """The store of this test; again the same one after it was stopped."""

    def run(self, scenario: Callable[[Store], Awaitable[Answer]]) -> Answer:
        async def session() -> Answer:
            store = self.make()
            await store.open(NOW, lambda fault: pytest.fail(str(fault)))
            try:
                return await scenario(store)
            finally:
                await store.stop()

        return asyncio.run(session())

    async def fill(self, store: Store, count: int, seed: int = 1) -> list[Summary]:
        """The summaries, the newest first."""
        chance = random.Random(seed)
        made = [numbered(number, chance) for number in range(count)]
        for new, _ in chance.sample(made, count):
            await store.start(new)
        return [summary for _, summary in reversed(made)]

    @pytest.mark.parametrize("limit", [1, 7, 1000])
    def test_pages_hold_exactly_what_is_wanted_the_newest_first(self, limit: int) -> None:
        async def scenario(store: Store) -> None:
            everything = await self.fill(store, 120)
            chance = random.Random(limit)
            for wanted in filters(everything, chance):
                expected = [each for each in everything if is_wanted(each, wanted)]
                assert all_pages(store, wanted, limit) == expected, wanted

        self.run(scenario)

    def test_a_page_after_another_has_nothing_that_came_meanwhile(self) -> None:
        async def scenario(store: Store) -> None:
            everything = await self.fill(store, 10)
            first = store.find(Filter(), None, 4)
            await store.start(new_execution())

            rest = store.find(Filter(), first.last, 100)

            assert [*first.executions, *rest.executions] == everything

        self.run(scenario)

    def test_a_version_that_nobody_published_has_no_executions(self) -> None:
        async def scenario(store: Store) -> None:
            await self.fill(store, 10)
            assert store.find(Filter(flow_id="order", version=1), None, 10).executions == []

        self.run(scenario)

    def test_the_counts_are_those_of_the_list(self) -> None:
        async def scenario(store: Store) -> None:
            everything = await self.fill(store, 120)
            undoing = await store.start(new_execution())
            parked = await store.start(new_execution())
            for claim, wake in ((undoing, claimed()), (parked, due(60))):
                ending = step(claim, 2, [ExecutionEnding(NOW)], wake)
                await store.commit(msgspec.structs.replace(ending, status=ExecutionStatus.COMPENSATING))

            expected = Counter(each.status for each in everything) + Counter(
                {ExecutionStatus.COMPENSATING: 2}
            )
            assert store.counts() == {status: expected[status] for status in ExecutionStatus}
            assert Counter(each.status for each in all_pages(store, Filter(), 50)) == expected
            found = store.find(Filter(status=ExecutionStatus.COMPENSATING), None, 10)
            assert {each.execution_id for each in found.executions} == {
                undoing.execution_id,
                parked.execution_id,
            }

        self.run(scenario)

    def test_news_are_the_events_after_a_number(self) -> None:
        async def scenario(store: Store) -> None:
            claim = await store.start(new_execution())
            await store.commit(step(claim, 2))
            history = list(store.history(claim.execution_id))
            for after in range(8):
                news = store.news(claim.execution_id, after)
                assert (list(news.events), news.is_over) == (history[after:], False)

            end = Step(claim, 5, [ExecutionEnded(NOW)], None, ExecutionStatus.COMPLETED, NOW)
            await store.commit(end)

            told = [store.news(claim.execution_id, after) for after in (0, 5, 6)]
            assert [(len(each.events), each.is_over) for each in told] == [(6, True), (1, True), (0, True)]
            with pytest.raises(ExecutionUnknown):
                store.news(id_at(1), 0)

        self.run(scenario)

    @pytest.mark.parametrize(("steps", "size"), [(160, 1), (8, 200_000)], ids=["long", "large"])
    def test_news_of_an_execution_with_much_to_tell_come_in_parts(self, steps: int, size: int) -> None:
        async def scenario(store: Store) -> None:
            claim = await store.start(new_execution())
            for number in range(steps):
                await store.commit(step(claim, 2 + 3 * number, next_events(number + 1, "x" * size)))
            history = list(store.history(claim.execution_id))

            told, parts = list(store.news(claim.execution_id, 0).events), 1
            while len(told) < len(history):
                told += store.news(claim.execution_id, len(told)).events
                parts += 1

            assert (told, parts > 2) == (history, True)

        self.run(scenario)


def filters(everything: Sequence[Summary], chance: random.Random) -> list[Filter]:
    """Each part of a filter alone, and many of them together."""
    parts: dict[str, list[Any]] = {
        "flow_id": [*FLOWS, "nobody"],
        "status": list(ExecutionStatus),
        "labels": [(("team", "a"),), (("team", "100% 'c'"), ("tier", "Bee")), (("tier", "zzz"),)],
        "since": [started_at(0), started_at(50), started_at(500)],
        "until": [started_at(50), started_at(500)],
        "error": [*CODES, "task.", "http.", "nothing."],
        "reason": list(WakeReason),
        "text": [
            "ORDER",
            "bee",
            "%",
            "'",
            "fail",
            everything[3].execution_id[:13],
            everything[5].execution_id,
            "nowhere",
        ],
    }
    alone = [Filter(), *(Filter(**{name: value}) for name, values in parts.items() for value in values)]
    together = [
        Filter(
            **{
                name: chance.choice(parts[name])
                for name in chance.sample(sorted(parts), chance.randint(2, 4))
            }
        )
        for _ in range(60)
    ]
    return alone + together


def all_pages(store: Store, wanted: Filter, limit: int) -> list[Summary]:
    found, before = list[Summary](), None
    while True:
        page = store.find(wanted, before, limit)
        assert len(page.executions) <= limit
        found += page.executions
        before = page.last
        if before is None:
            return found

"""What the outbox of every store must do."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from flow_manager.core.states import ExecutionStatus
from flow_manager.core.webhooks import Delivery
from flow_manager.errors import StaleClaim
from flow_manager.ports.store import Store
from flow_manager.ports.webhooks import Backlog, ClaimedDelivery
from tests.support.executions import NOW, due, last_events, last_step, new_execution, next_events, step

HERE = "https://a.example/"
THERE = "https://b.example/"
UNTIL = NOW + timedelta(seconds=60)
EVERYWHERE = {HERE: 10, THERE: 10}

Scenario = Callable[[Store], Awaitable[None]]


def delivery(seq: int = 2, destination: str = HERE, secret: str | None = None) -> Delivery:
    return Delivery(f"id {destination} {seq}", destination, seq, f'{{"seq":{seq}}}', secret)


async def told(store: Store, *deliveries: Delivery) -> str:
    """The id of an execution that ended at once and has this to tell."""
    new = new_execution(events=last_events(), status=ExecutionStatus.COMPLETED)
    await store.start(msgspec.structs.replace(new, outbox=deliveries))
    return new.execution_id


async def claim(
    store: Store, after: float = 0.0, wanted: dict[str, int] = EVERYWHERE
) -> Sequence[ClaimedDelivery]:
    now = NOW + timedelta(seconds=after)
    return await store.outbox.claim(now, now + timedelta(seconds=60), wanted)


def seqs(claimed: Sequence[ClaimedDelivery]) -> list[tuple[str, int]]:
    return sorted((each.delivery.destination, each.delivery.seq) for each in claimed)


class OutboxBehaviour(ABC):
    @abstractmethod
    def make(self) -> Store:
        """The store of this test; again the same one after it was stopped."""

    def run(self, scenario: Scenario) -> None:
        """Open the store, play the scenario, and stop the store."""
        faults: list[BaseException] = []

        async def session() -> None:
            store = self.make()
            await store.open(NOW, faults.append)
            try:
                await scenario(store)
            finally:
                await store.stop()

        asyncio.run(asyncio.wait_for(session(), 30))
        assert faults == []

    def test_what_a_start_tells_is_due_at_once(self) -> None:
        async def scenario(store: Store) -> None:
            await told(store, delivery(secret="signing"), delivery(2, THERE))

            assert store.outbox.due(NOW, 10) == [HERE, THERE]
            [first, second] = sorted(await claim(store), key=lambda each: each.delivery.destination)
            assert (first.delivery, first.tries, first.until) == (delivery(secret="signing"), 0, UNTIL)
            assert second.delivery == delivery(2, THERE)

        self.run(scenario)

    def test_what_a_step_tells_is_there_with_it(self) -> None:
        async def scenario(store: Store) -> None:
            held = await store.start(new_execution())
            await store.commit(msgspec.structs.replace(step(held, 2), outbox=[delivery(5)]))
            await store.commit(msgspec.structs.replace(last_step(held, 5), outbox=[delivery(7, THERE)]))

            assert seqs(await claim(store)) == [(HERE, 5), (THERE, 7)]

        self.run(scenario)

    def test_a_step_that_is_refused_tells_nothing(self) -> None:
        async def scenario(store: Store) -> None:
            held = await store.start(new_execution())
            await store.commit(step(held, 2))

            with pytest.raises(StaleClaim):
                await store.commit(msgspec.structs.replace(step(held, 2), outbox=[delivery(5)]))

            assert store.outbox.due(NOW, 10) == []

        self.run(scenario)

    def test_a_claimed_one_is_nobody_elses_until_its_time_is_over(self) -> None:
        async def scenario(store: Store) -> None:
            await told(store, delivery())
            await claim(store)

            assert store.outbox.due(NOW + timedelta(seconds=59), 10) == []
            assert await claim(store, 59) == []
            assert store.outbox.due(NOW + timedelta(seconds=60), 10) == [HERE]
            assert seqs(await claim(store, 60)) == [(HERE, 2)]

        self.run(scenario)

    def test_one_that_has_arrived_is_forgotten(self) -> None:
        async def scenario(store: Store) -> None:
            await told(store, delivery(), delivery(2, THERE))
            for each in await claim(store):
                await store.outbox.delivered(each)

            assert await claim(store, 3600) == []
            assert store.outbox.backlog() == Backlog(0, 0)

        self.run(scenario)

    def test_one_that_failed_is_due_again_when_it_was_said(self) -> None:
        async def scenario(store: Store) -> None:
            await told(store, delivery())
            [first] = await claim(store)
            await store.outbox.failed(first, NOW + timedelta(seconds=5))

            assert await claim(store, 4.9) == []
            [again] = await claim(store, 5)
            assert (again.delivery, again.tries) == (first.delivery, 1)

        self.run(scenario)

    def test_one_that_was_given_back_is_due_with_as_many_tries_as_before(self) -> None:
        async def scenario(store: Store) -> None:
            await told(store, delivery())
            [first] = await claim(store)
            await store.outbox.give_back(first, NOW)

            [again] = await claim(store)
            assert again.tries == 0

        self.run(scenario)

    def test_a_parked_one_is_counted_and_not_sent(self) -> None:
        async def scenario(store: Store) -> None:
            execution_id = await told(store, delivery(), delivery(2, THERE))
            await store.outbox.park((await claim(store, wanted={HERE: 1}))[0])

            assert store.outbox.backlog() == Backlog(pending=1, parked=1)
            assert seqs(await claim(store, 3600)) == [(THERE, 2)]
            assert [(each.execution_id, each.code) for each in store.violations()] == [
                (execution_id, "outbox.parked")
            ]

        self.run(scenario)

    @pytest.mark.parametrize("verb", ["failed", "give_back", "park"])
    def test_whoever_has_lost_a_claim_changes_nothing(self, verb: str) -> None:
        async def scenario(store: Store) -> None:
            await told(store, delivery())
            [late] = await claim(store)
            [held] = await claim(store, 60)
            change: Any = getattr(store.outbox, verb)
            await (change(late) if verb == "park" else change(late, NOW))

            assert await claim(store, 61) == []
            assert store.outbox.backlog() == Backlog(pending=1, parked=0)
            await store.outbox.delivered(held)
            assert store.outbox.backlog() == Backlog(0, 0)

        self.run(scenario)

    def test_a_later_one_waits_for_the_earlier_of_its_execution_to_the_same_destination(self) -> None:
        async def scenario(store: Store) -> None:
            await told(store, delivery(2), delivery(5), delivery(5, THERE))
            await told(store, delivery(3))

            first = await claim(store)
            assert seqs(first) == [(HERE, 2), (HERE, 3), (THERE, 5)]
            [earlier] = [each for each in first if each.delivery.seq == 2]
            await store.outbox.failed(earlier, NOW + timedelta(seconds=30))
            assert await claim(store, 1) == []
            [earlier] = await claim(store, 31)
            await store.outbox.delivered(earlier)
            assert seqs(await claim(store, 31)) == [(HERE, 5)]

        self.run(scenario)

    def test_nothing_waits_for_one_that_was_given_up(self) -> None:
        async def scenario(store: Store) -> None:
            await told(store, delivery(2), delivery(5))
            await store.outbox.park((await claim(store))[0])

            assert seqs(await claim(store)) == [(HERE, 5)]

        self.run(scenario)

    def test_no_more_are_claimed_than_were_wanted_and_the_longest_overdue_first(self) -> None:
        async def scenario(store: Store) -> None:
            for _ in range(3):
                await told(store, delivery())
            late = await claim(store)
            for seconds, each in zip((3, 1, 2), late, strict=True):
                await store.outbox.failed(each, NOW + timedelta(seconds=seconds))

            found = await claim(store, 10, {HERE: 2, THERE: 5})
            assert [each.key for each in found] == [late[1].key, late[2].key]
            assert seqs(await claim(store, 10, {HERE: 2})) == [(HERE, 2)]

        self.run(scenario)

    def test_due_destinations_are_named_up_to_a_limit(self) -> None:
        async def scenario(store: Store) -> None:
            await told(store, *(delivery(2, f"https://{name}.example/") for name in "dbca"))
            [later] = await claim(store, wanted={"https://b.example/": 1})
            await store.outbox.failed(later, NOW + timedelta(hours=1))

            assert store.outbox.due(NOW, 2) == ["https://a.example/", "https://c.example/"]
            assert store.outbox.due(NOW - timedelta(seconds=1), 2) == []

        self.run(scenario)

    def test_a_parked_or_open_execution_tells_as_well(self) -> None:
        async def scenario(store: Store) -> None:
            new = new_execution(due(60))
            await store.start(msgspec.structs.replace(new, outbox=[delivery()]))
            held = await store.start(new_execution())
            parked = step(held, 2, next_events(), due(60))
            await store.commit(msgspec.structs.replace(parked, outbox=[delivery(5)]))

            assert seqs(await claim(store)) == [(HERE, 2), (HERE, 5)]

        self.run(scenario)

"""What every store must do. A store's own test file subclasses `StoreBehaviour` and says how to
open it, and how to damage what it has stored behind its back."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar
from uuid import uuid4

import msgspec
import pytest

from flow_manager.core.events import AttemptStarted, Event, decode_event
from flow_manager.core.states import ExecutionStatus, Wake, WakeReason
from flow_manager.errors import ExecutionUnknown, ShuttingDown, StaleClaim, StoreDamaged, StoreError
from flow_manager.ports.store import Claim, Claimed, Store
from tests.support.executions import (
    DEFINITION,
    NOW,
    claimed,
    due,
    last_events,
    last_step,
    new_execution,
    next_events,
    started,
    step,
)

Answer = TypeVar("Answer")

VIOLATIONS = (
    "wake.missing",
    "wake.leftover",
    "wake.unknown",
    "status.unknown",
    "history.gap",
    "history.end",
    "history.missing",
    "history.leftover",
)
DAMAGES = ("bad_utf8", "truncated", "unknown_type", "not_a_number", "another_number", "row_missing")


class StoreBehaviour(ABC):
    @abstractmethod
    def make(self) -> Store:
        """The store of this test; again the same one after it was stopped."""

    @abstractmethod
    def violate(self, code: str, execution_id: str) -> None:
        """Make the truth of this code false of an execution of the stopped store."""

    @abstractmethod
    def damage(self, how: str, execution_id: str) -> None:
        """Damage the last events of an execution of the stopped store."""

    @abstractmethod
    def damage_definition(self) -> None:
        """Damage the stored text of the only flow."""

    def run(self, scenario: Callable[[Store], Awaitable[Answer]]) -> Answer:
        """Open the store, play the scenario, and stop the store."""
        faults: list[BaseException] = []

        async def session() -> Answer:
            store = self.make()
            await store.open(NOW, faults.append)
            try:
                return await asyncio.wait_for(_awaited(scenario(store)), 30)
            finally:
                await store.stop()

        answer = asyncio.run(session())
        assert faults == []
        return answer

    # -- starting and going on

    def test_a_start_is_there_with_its_first_events(self) -> None:
        async def scenario(store: Store) -> None:
            new = new_execution()

            claim = await store.start(new)

            assert (claim.execution_id, claim.epoch) == (new.execution_id, 1)
            assert list(store.history(new.execution_id)) == list(new.events)
            assert store.describe(new.execution_id).status is ExecutionStatus.RUNNING
            assert store.open_executions() == 1
            assert list(store.claims()) == [claim]

        self.run(scenario)

    def test_an_execution_that_ends_with_its_start_waits_for_nothing(self) -> None:
        async def scenario(store: Store) -> None:
            events = [started(), AttemptStarted(NOW, "first"), *last_events()]
            new = new_execution(events=events, status=ExecutionStatus.COMPLETED)

            await store.start(new)

            assert store.describe(new.execution_id).is_ended
            assert store.open_executions() == 0
            assert list(store.violations()) == []

        self.run(scenario)

    def test_the_same_id_cannot_be_started_twice(self) -> None:
        async def scenario(store: Store) -> None:
            new = new_execution()
            await store.start(new)

            with pytest.raises(StoreError):
                await store.start(new)

            assert list(store.history(new.execution_id)) == list(new.events)

        self.run(scenario)

    def test_steps_add_their_events_one_after_another_until_the_end(self) -> None:
        async def scenario(store: Store) -> None:
            new = new_execution()
            claim = await store.start(new)

            await store.commit(step(claim, 2, next_events(1)))
            await store.commit(step(claim, 5, next_events(2)))
            await store.commit(last_step(claim, 8))

            events = [*new.events, *next_events(1), *next_events(2), *last_events()]
            assert list(store.history(new.execution_id)) == events
            view = store.describe(new.execution_id)
            assert (view.last_seq, view.status, view.ended_at) == (10, ExecutionStatus.COMPLETED, NOW)
            assert (store.open_executions(), list(store.claims())) == (0, [])
            assert list(store.violations()) == []

        self.run(scenario)

    def test_a_step_may_change_the_wake_alone(self) -> None:
        async def scenario(store: Store) -> None:
            new = new_execution()
            claim = await store.start(new)

            await store.commit(step(claim, 2, [], due(5)))

            assert list(store.history(new.execution_id)) == list(new.events)
            assert store.describe(new.execution_id).wake == due(5)
            assert list(store.violations()) == []

        self.run(scenario)

    @pytest.mark.parametrize(
        ("reason", "status"),
        [
            (WakeReason.DUE, ExecutionStatus.WAITING),
            (WakeReason.CODE, ExecutionStatus.WAITING),
            (WakeReason.QUARANTINE, ExecutionStatus.QUARANTINED),
            (WakeReason.REPAIR, ExecutionStatus.NEEDS_REPAIR),
        ],
    )
    def test_a_parked_execution_tells_what_it_waits_for(
        self, reason: WakeReason, status: ExecutionStatus
    ) -> None:
        async def scenario(store: Store) -> None:
            claim = await store.start(new_execution())
            wake = Wake(reason, NOW, "what is missing: \u00e9 \x00 end")

            await store.commit(step(claim, 2, wake=wake))

            view = store.describe(claim.execution_id)
            assert (view.status, view.wake) == (status, wake)

        self.run(scenario)

    def test_the_words_of_a_wake_may_be_anything(self) -> None:
        async def scenario(store: Store) -> None:
            claim = await store.start(new_execution())

            await store.set_aside(claim, Wake(WakeReason.REPAIR, NOW, "half a pair: \ud800"))

            wake = store.describe(claim.execution_id).wake
            assert wake is not None
            assert wake.detail.startswith("half a pair: ")

        self.run(scenario)

    # -- fencing

    @pytest.mark.parametrize(
        ("epoch", "last_seq"), [(0, 2), (2, 2), (1, 1), (1, 3), (1, 0)], ids=lambda number: str(number)
    )
    @pytest.mark.parametrize("ends", [False, True])
    def test_a_writer_whose_knowledge_is_old_changes_nothing(
        self, epoch: int, last_seq: int, ends: bool
    ) -> None:
        async def scenario(store: Store) -> None:
            new = new_execution()
            claim = await store.start(new)
            other = Claim(claim.execution_id, claim.key, epoch)

            with pytest.raises(StaleClaim):
                await store.commit(last_step(other, last_seq) if ends else step(other, last_seq))

            assert list(store.history(new.execution_id)) == list(new.events)
            assert list(store.claims()) == [claim]
            await store.commit(step(claim, 2))

        self.run(scenario)

    def test_a_parked_execution_belongs_to_nobody(self) -> None:
        async def scenario(store: Store) -> None:
            claim = await store.start(new_execution())
            await store.commit(step(claim, 2, wake=due(60)))

            for late in (store.commit(step(claim, 5)), store.set_aside(claim, due())):
                with pytest.raises(StaleClaim):
                    await late

            assert store.describe(claim.execution_id).wake == due(60)

        self.run(scenario)

    def test_an_ended_execution_stays_as_it_is(self) -> None:
        async def scenario(store: Store) -> None:
            claim = await store.start(new_execution())
            await store.commit(last_step(claim, 2))

            for late in (store.commit(step(claim, 4)), store.commit(last_step(claim, 4))):
                with pytest.raises(StaleClaim):
                    await late

            assert len(store.history(claim.execution_id)) == 4
            assert list(store.violations()) == []

        self.run(scenario)

    def test_a_claim_is_old_as_soon_as_another_holds_it(self) -> None:
        async def scenario(store: Store) -> None:
            old = await store.start(new_execution(due()))
            (new,) = await store.claim_due(NOW, 10)

            with pytest.raises(StaleClaim):
                await store.commit(step(old, 2))
            with pytest.raises(StaleClaim):
                await store.set_aside(old, due())

            await store.commit(step(new.claim, 2))

        self.run(scenario)

    def test_one_bad_command_does_not_spoil_those_beside_it(self) -> None:
        async def scenario(store: Store) -> None:
            claims = [await store.start(new_execution()) for _ in range(9)]
            claims[4] = Claim(claims[4].execution_id, claims[4].key, 7)
            unfit = step(claims[6], 2, [AttemptStarted(NOW, "half a pair: \ud800")])

            steps = [unfit if claim is claims[6] else step(claim, 2) for claim in claims]
            answers = await asyncio.gather(*map(store.commit, steps), return_exceptions=True)

            kinds = [type(answer) for answer in answers]
            assert kinds[4] is StaleClaim
            assert kinds[6] is StoreError
            assert [answer for answer in answers if not isinstance(answer, StoreError)] == [()] * 7
            lengths = [len(store.history(claim.execution_id)) for claim in claims]
            assert lengths == [5, 5, 5, 5, 2, 5, 2, 5, 5]

        self.run(scenario)

    # -- what is due

    def test_what_is_overdue_longest_is_claimed_first(self) -> None:
        async def scenario(store: Store) -> None:
            parked = {
                after: (await store.start(new_execution(due(after)))).execution_id
                for after in (-1, -3, 0, -2)
            }

            first = await store.claim_due(NOW, 3)
            rest = await store.claim_due(NOW, 3)

            assert [one.claim.execution_id for one in first] == [parked[-3], parked[-2], parked[-1]]
            assert [one.claim.execution_id for one in rest] == [parked[0]]

        self.run(scenario)

    def test_a_claimed_execution_comes_with_all_that_is_needed_to_go_on(self) -> None:
        async def scenario(store: Store) -> None:
            new = new_execution(due())
            await store.start(new)

            (first,) = await store.claim_due(NOW, 10)
            await store.commit(step(first.claim, 2, wake=due()))
            (second,) = await store.claim_due(NOW, 10)

            assert (first.claim.epoch, second.claim.epoch) == (2, 3)
            assert (second.digest, second.definition, second.last_seq) == (new.digest, DEFINITION.encode(), 5)
            assert list(map(decode_event, second.history)) == [*new.events, *next_events()]
            assert store.describe(new.execution_id).status is ExecutionStatus.RUNNING

        self.run(scenario)

    @pytest.mark.parametrize(
        "wake",
        [due(0.000001), claimed(NOW - timedelta(days=1)), Wake(WakeReason.CODE, NOW - timedelta(days=1))],
    )
    def test_what_is_not_due_is_not_claimed(self, wake: Wake) -> None:
        async def scenario(store: Store) -> None:
            await store.start(new_execution(wake))

            assert list(await store.claim_due(NOW, 10)) == []

        self.run(scenario)

    def test_the_agenda_counts_what_is_due_and_knows_the_next_time(self) -> None:
        async def scenario(store: Store) -> None:
            assert (store.agenda(NOW).due, store.agenda(NOW).next_at) == (0, None)
            for wake in (claimed(), due(60), due(30), due(-5)):
                await store.start(new_execution(wake))

            now, later = store.agenda(NOW), store.agenda(NOW + timedelta(seconds=30))
            await store.claim_due(NOW, 10)
            claimed_since = store.agenda(NOW)

            assert (now.due, now.next_at) == (1, due(-5).due_at)
            assert (later.due, claimed_since.due) == (2, 0)
            assert claimed_since.next_at == due(30).due_at

        self.run(scenario)

    def test_after_opening_again_whatever_was_claimed_is_due(self) -> None:
        async def before(store: Store) -> list[Claim]:
            wakes = (
                claimed(),
                Wake(WakeReason.CODE, NOW, "some.task"),
                due(60),
                Wake(WakeReason.QUARANTINE, NOW),
            )
            return [await store.start(new_execution(wake)) for wake in wakes]

        async def after(store: Store) -> list[Claimed]:
            return list(await store.claim_due(NOW, 10))

        held, code, _, _ = self.run(before)
        found = self.run(after)

        assert {one.claim.execution_id for one in found} == {held.execution_id, code.execution_id}
        assert {one.claim.epoch for one in found} == {2}

    # -- setting aside

    def test_what_is_set_aside_waits_for_an_operator_with_its_history_untouched(self) -> None:
        async def scenario(store: Store) -> None:
            new = new_execution()
            claim = await store.start(new)

            await store.set_aside(claim, Wake(WakeReason.REPAIR, NOW, "unreadable"))

            assert store.describe(new.execution_id).status is ExecutionStatus.NEEDS_REPAIR
            assert list(store.history(new.execution_id)) == list(new.events)
            with pytest.raises(StaleClaim):
                await store.commit(step(claim, 2))

        self.run(scenario)

    @pytest.mark.parametrize("how", DAMAGES)
    def test_a_damaged_history_stops_its_own_execution_and_no_other(self, how: str) -> None:
        async def before(store: Store) -> list[str]:
            claims = [await store.start(new_execution()) for _ in range(10)]
            for claim in claims:
                await store.commit(step(claim, 2, wake=due()))
            return [claim.execution_id for claim in claims]

        async def after(store: Store) -> None:
            assert len(store.executions()) == 10
            assert store.describe(damaged).status is ExecutionStatus.NEEDS_REPAIR
            taken = await store.claim_due(NOW, 10)
            assert sorted(one.claim.execution_id for one in taken) == sorted(ids)
            for one in taken:
                if one.claim.execution_id == damaged:
                    assert not _is_readable(one)
                    await store.set_aside(one.claim, Wake(WakeReason.REPAIR, NOW, "unreadable"))
                else:
                    assert _is_readable(one)
                    await store.commit(last_step(one.claim, 5))
            assert store.describe(damaged).status is ExecutionStatus.NEEDS_REPAIR
            assert (store.open_executions(), store.agenda(NOW).due) == (1, 0)

        ids = self.run(before)
        damaged = ids[3]
        self.damage(how, damaged)
        self.run(after)

    def test_a_damaged_history_cannot_be_read_and_says_so(self) -> None:
        async def before(store: Store) -> str:
            return (await store.start(new_execution(due()))).execution_id

        async def after(store: Store) -> None:
            with pytest.raises(StoreDamaged, match=execution_id):
                store.history(execution_id)

        execution_id = self.run(before)
        self.damage("another_number", execution_id)
        self.run(after)

    def test_a_damaged_definition_is_not_handed_out(self) -> None:
        async def before(store: Store) -> None:
            await store.start(new_execution(due()))

        async def after(store: Store) -> None:
            (taken,) = await store.claim_due(NOW, 10)
            assert taken.definition == b""

        self.run(before)
        self.damage_definition()
        self.run(after)

    # -- reading

    def test_the_list_has_the_newest_first_and_can_be_asked_for_one_status(self) -> None:
        async def scenario(store: Store) -> None:
            running = (await store.start(new_execution())).execution_id
            waiting = (await store.start(new_execution(due(60)))).execution_id
            repair = (await store.start(new_execution(Wake(WakeReason.REPAIR, NOW)))).execution_id
            ends = {}
            for status in (ExecutionStatus.COMPLETED, ExecutionStatus.FAILED):
                claim = await store.start(new_execution())
                await store.commit(last_step(claim, 2, status))
                ends[status] = claim.execution_id

            assert [one.execution_id for one in store.executions()] == [
                *reversed(ends.values()), repair, waiting, running,
            ]  # fmt: skip
            assert len(store.executions(limit=2)) == 2
            expected = {
                ExecutionStatus.RUNNING: running,
                ExecutionStatus.WAITING: waiting,
                ExecutionStatus.NEEDS_REPAIR: repair,
                **ends,
            }
            for status, execution_id in expected.items():
                (found,) = store.executions(status=status)
                assert (found.execution_id, found.status) == (execution_id, status)
                assert (found.flow_id, found.started_at) == ("stored", NOW)
                assert found.ended_at == (NOW if status in ends else None)
            assert list(store.executions(status=ExecutionStatus.QUARANTINED)) == []

        self.run(scenario)

    @pytest.mark.parametrize("execution_id", [str(uuid4()), "", "nonsense", "\x00", "\ud800", "x" * 10_000])
    def test_an_execution_that_is_not_there_is_unknown(self, execution_id: str) -> None:
        async def scenario(store: Store) -> None:
            with pytest.raises(ExecutionUnknown):
                store.describe(execution_id)
            with pytest.raises(ExecutionUnknown):
                store.history(execution_id)

        self.run(scenario)

    @pytest.mark.parametrize("code", VIOLATIONS)
    def test_each_kind_of_violation_is_found(self, code: str) -> None:
        async def before(store: Store) -> tuple[str, str]:
            ids = []
            for _ in range(3):
                claim = await store.start(new_execution())
                await store.commit(step(claim, 2, wake=due()))
                ids.append(claim.execution_id)
            ended = await store.start(new_execution())
            await store.commit(last_step(ended, 2))
            assert list(store.violations()) == []
            return ids[1], ended.execution_id

        async def after(store: Store) -> set[tuple[str, str]]:
            return {(violation.execution_id, violation.code) for violation in store.violations()}

        open_one, ended = self.run(before)
        guilty = ended if code == "status.unknown" else open_one
        self.violate(code, guilty)

        found = self.run(after)

        assert (guilty, code) in found
        assert {execution_id for execution_id, _ in found} == {guilty}

    # -- many at once, and the end

    def test_many_writers_at_once_all_get_their_answers(self) -> None:
        async def scenario(store: Store) -> None:
            async def write() -> str:
                claim = await store.start(new_execution())
                await store.commit(step(claim, 2))
                await store.commit(last_step(claim, 5))
                return claim.execution_id

            ids = await asyncio.gather(*(write() for _ in range(64)))

            assert {one.execution_id for one in store.executions(limit=100)} == set(ids)
            assert all(len(store.history(execution_id)) == 7 for execution_id in ids)
            assert list(store.violations()) == []

        self.run(scenario)

    def test_stopping_writes_what_is_queued_and_accepts_nothing_more(self) -> None:
        store, faults = self.make(), list[BaseException]()

        async def scenario() -> list[Claim]:
            await store.open(NOW, faults.append)
            queued = [asyncio.ensure_future(store.start(new_execution())) for _ in range(10)]
            await store.stop()
            with pytest.raises(ShuttingDown):
                await store.start(new_execution())
            with pytest.raises(ShuttingDown):
                store.open_executions()
            return await asyncio.gather(*queued)

        async def count(store: Store) -> int:
            return store.open_executions()

        claims = asyncio.run(scenario())

        assert self.run(count) == len(claims) == 10
        assert faults == []


async def _awaited(work: Awaitable[Answer]) -> Answer:
    return await work


def _is_readable(one: Claimed) -> bool:
    """As the engine sees it: every event is one, and there are as many as were recorded."""
    try:
        events: list[Event] = list(map(decode_event, one.history))
    except (msgspec.MsgspecError, ValueError):
        return False
    return len(events) == one.last_seq

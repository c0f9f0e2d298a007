"""What every store must do with starts under terms, and with published flows."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import msgspec
import pytest

from flow_manager.core.definition import Flow
from flow_manager.core.events import ExecutionPaused
from flow_manager.core.parser import FlowParser
from flow_manager.core.states import ExecutionStatus, Wake, WakeReason
from flow_manager.errors import (
    ConcurrencyFull,
    ExecutionPruned,
    ExpectationMissing,
    FlowChanged,
    FlowUnknown,
    KeyConflict,
    RateLimited,
    StartedBefore,
)
from flow_manager.ports.publishing import ANY_VERSION, NewVersion
from flow_manager.ports.retention import Prune, Retention
from flow_manager.ports.store import Claim, NewExecution, NewMail, Rate, Slot, Store, Terms
from tests.support.documents import document, task
from tests.support.executions import NOW, cancel, due, last_step, mail_to, new_execution, step

ONE = Slot("stored", 1)
SAME, OTHER = (sha256(text).digest() for text in (b"same", b"other"))


def under(wake: Any = None, later: float = 0.0, **terms: Any) -> NewExecution:
    """An execution under terms, asked for so many seconds after now."""
    new = new_execution(wake)
    return msgspec.structs.replace(new, terms=Terms(**terms), started_at=NOW + timedelta(seconds=later))


def slotted(limit: int = 1, key: str = "stored", **terms: Any) -> NewExecution:
    return under(due(), slot=Slot(key, limit), **terms)


async def ended(store: Store, slot: Slot = ONE) -> str:
    """The id of an execution that had a slot and has failed."""
    new = under(slot=slot)
    await store.commit(last_step(await store.start(new), 2, ExecutionStatus.FAILED))
    return new.execution_id


def opening(execution_id: str, slot: Slot = ONE) -> NewMail:
    """Opens an execution again that `ended` has made."""
    return msgspec.structs.replace(mail_to(execution_id, "retry"), seen=4, slot=slot)


def wakes(store: Store) -> list[WakeReason | None]:
    """What each execution waits for, the one first that was started last."""
    each = [store.describe(summary.execution_id).wake for summary in store.executions()]
    return [None if wake is None else wake.reason for wake in each]


def flow(name: str = "First") -> Flow:
    return FlowParser().parse(document(task("a"), flow_id="shop", name=name))


class StartBehaviour(ABC):
    @abstractmethod
    def make(self) -> Store:
        """The store of this test; again the same one after it was stopped."""

    @abstractmethod
    def violate(self, code: str, execution_id: str) -> None:
        """Make the truth of this code false of an execution of the stopped store."""

    def run(self, scenario: Callable[[Store], Awaitable[Any]]) -> Any:
        faults: list[BaseException] = []

        async def session() -> Any:
            store = self.make()
            await store.open(NOW, faults.append)
            try:
                return await scenario(store)
            finally:
                await store.stop()

        answer = asyncio.run(session())
        assert faults == []
        return answer

    # -- keys

    def test_one_key_starts_one_execution(self) -> None:
        async def scenario(store: Store) -> None:
            first = under(key="k", fingerprint=SAME)
            await store.start(first)

            with pytest.raises(StartedBefore) as again:
                await store.start(under(key="k", fingerprint=SAME))
            with pytest.raises(KeyConflict) as other:
                await store.start(under(key="k", fingerprint=OTHER))

            assert again.value.execution_id == other.value.execution_id == first.execution_id
            assert type(again.value) is StartedBefore
            assert store.open_executions() == 1

        self.run(scenario)

    def test_one_key_starts_one_execution_also_of_many_that_come_together(self) -> None:
        async def scenario(store: Store) -> None:
            news = [under(key="k", fingerprint=SAME) for _ in range(64)]

            answers = await asyncio.gather(*(store.start(new) for new in news), return_exceptions=True)

            begun = [each for each in answers if isinstance(each, Claim)]
            assert len(begun) == 1
            known = [each.execution_id for each in answers if isinstance(each, StartedBefore)]
            assert known == [begun[0].execution_id] * 63
            assert store.open_executions() == 1

        self.run(scenario)

    def test_a_key_is_known_after_the_end_of_its_execution_and_after_a_new_start(self) -> None:
        async def start(store: Store) -> None:
            await store.commit(last_step(await store.start(under(key="k", fingerprint=SAME)), 2))

        async def again(store: Store) -> None:
            with pytest.raises(StartedBefore):
                await store.start(under(key="k", fingerprint=SAME))

        self.run(start)
        self.run(again)

    def test_a_key_that_outlives_its_execution_says_so_and_starts_nothing(self) -> None:
        async def scenario(store: Store) -> None:
            now = datetime.now(UTC) + timedelta(seconds=1)
            first = msgspec.structs.replace(under(key="k", fingerprint=SAME), started_at=now)
            await store.commit(last_step(await store.start(first), 2))
            await store.prune(Prune(now, Retention(timedelta(0))))

            with pytest.raises(ExecutionPruned) as same:
                await store.start(under(key="k", fingerprint=SAME))
            with pytest.raises(KeyConflict, match="pruned"):
                await store.start(under(key="k", fingerprint=OTHER))
            (each,) = await store.start_all([under(key="k", fingerprint=SAME)])

            assert isinstance(each, ExecutionPruned)
            assert same.value.execution_id == each.execution_id == first.execution_id
            assert list(store.executions()) == []
            assert list(store.violations()) == []

        self.run(scenario)

    # -- rates

    def test_starts_beyond_the_rate_are_told_when_the_next_one_is_free(self) -> None:
        rate = Rate("stored", timedelta(seconds=10), 3)

        async def scenario(store: Store) -> None:
            for _ in range(3):
                await store.start(under(rate=rate))
            with pytest.raises(RateLimited) as refusal:
                await store.start(under(later=3.5, rate=rate))
            assert refusal.value.retry_after == 7

            await store.start(under(later=10, rate=rate))
            with pytest.raises(RateLimited):
                await store.start(under(later=19.999, rate=rate))
            await store.start(under(later=1000, rate=rate))
            assert store.open_executions() == 5

        self.run(scenario)

    def test_a_start_that_is_not_made_does_not_count(self) -> None:
        rate = Rate("stored", timedelta(seconds=10), 2)

        async def scenario(store: Store) -> None:
            await store.start(under(key="k", fingerprint=SAME, rate=rate))
            for _ in range(3):
                with pytest.raises(StartedBefore):
                    await store.start(under(key="k", fingerprint=SAME, rate=rate))
            await store.start(under(rate=rate))
            with pytest.raises(RateLimited):
                await store.start(under(rate=rate))

        self.run(scenario)

    # -- slots

    def test_the_longest_waiting_of_the_highest_priority_gets_the_slot(self) -> None:
        async def scenario(store: Store) -> None:
            first, low, normal, high, late = [slotted(priority=priority) for priority in (0, -1, 0, 1, 1)]
            for new in (first, low, normal, high, late):
                await store.start(new)
            order = []

            for _ in range(5):
                (claimed,) = await store.claim_due(NOW, 10)
                order.append(claimed.claim.execution_id)
                await store.commit(last_step(claimed.claim, 2))

            assert order == [new.execution_id for new in (first, high, late, normal, low)]
            assert list(store.violations()) == []

        self.run(scenario)

    def test_as_many_go_on_as_the_newest_start_says(self) -> None:
        async def scenario(store: Store) -> None:
            for limit in (1, 1, 1, 3):
                await store.start(slotted(limit))

            assert store.agenda(NOW).due == 3
            assert list(store.violations()) == []

            await store.start(slotted(1))
            (claimed,) = await store.claim_due(NOW, 1)
            await store.commit(last_step(claimed.claim, 2))
            assert store.agenda(NOW).due == 2

        self.run(scenario)

    def test_keys_do_not_know_of_each_other(self) -> None:
        async def scenario(store: Store) -> None:
            for key in ("a", "b", "a"):
                await store.start(slotted(key=key))

            assert store.agenda(NOW).due == 2

        self.run(scenario)

    def test_one_that_may_not_wait_is_refused_and_nothing_of_it_is_stored(self) -> None:
        async def scenario(store: Store) -> None:
            refusing = Slot("stored", 1, refuses=True)
            (claimed,) = [await store.start(under(due(), slot=refusing))]

            with pytest.raises(ConcurrencyFull):
                await store.start(under(due(), slot=refusing, key="k", fingerprint=SAME))
            assert store.open_executions() == 1

            (taken,) = await store.claim_due(NOW, 1)
            await store.commit(last_step(taken.claim, 2))
            await store.start(under(due(), slot=refusing, key="k", fingerprint=SAME))
            assert claimed.execution_id == taken.claim.execution_id

        self.run(scenario)

    def test_one_that_was_refused_leaves_its_definition_to_the_next(self) -> None:
        """Else the next one would be stored without it."""

        async def scenario(store: Store) -> None:
            full = Slot("stored", 1, refuses=True)
            await store.start(under(due(), slot=full))
            other = new_execution(due(), definition='{"id":"other"}', flow_id="other")
            with pytest.raises(ConcurrencyFull):
                await store.start(msgspec.structs.replace(other, terms=Terms(slot=full)))

            await store.start(other)

            assert store.definition(other.execution_id)[1] == b'{"id":"other"}'

        self.run(scenario)

    def test_one_that_waits_for_a_slot_can_be_cancelled(self) -> None:
        async def scenario(store: Store) -> None:
            first, second = slotted(), slotted()
            await store.start(first)
            await store.start(second)
            wake = store.describe(second.execution_id).wake
            assert wake is not None
            assert (wake.reason, wake.detail) == (WakeReason.SLOT, "stored")

            await store.send(cancel(second.execution_id))

            assert store.agenda(NOW).due == 2

        self.run(scenario)

    # -- slots of executions that are opened again

    def test_one_that_is_opened_again_takes_a_slot(self) -> None:
        async def scenario(store: Store) -> None:
            first = await ended(store)

            await store.send(opening(first))
            await store.start(slotted())

            assert wakes(store) == [WakeReason.SLOT, WakeReason.DUE]
            (claimed,) = await store.claim_due(NOW, 10)
            assert claimed.claim.execution_id == first
            await store.commit(last_step(claimed.claim, claimed.last_seq, mail=1))
            assert wakes(store) == [WakeReason.DUE, None]
            assert list(store.violations()) == []

        self.run(scenario)

    def test_one_that_is_opened_again_waits_for_its_slot_with_what_was_asked(self) -> None:
        async def scenario(store: Store) -> None:
            first = await ended(store)
            await store.start(slotted())

            await store.send(opening(first))

            wake = store.describe(first).wake
            assert wake is not None
            assert (wake.reason, wake.detail) == (WakeReason.SLOT, "stored")
            (holder,) = await store.claim_due(NOW, 10)
            assert list(store.violations()) == []
            await store.commit(last_step(holder.claim, 2))
            (claimed,) = await store.claim_due(NOW, 10)
            assert (claimed.claim.execution_id, [mail.kind for mail in claimed.mail]) == (first, ["retry"])
            assert list(store.violations()) == []

        self.run(scenario)

    def test_an_opening_does_not_change_the_limit_of_the_newest_start(self) -> None:
        async def scenario(store: Store) -> None:
            first = await ended(store, Slot("stored", 5))
            for new in (slotted(1), slotted(1)):
                await store.start(new)

            await store.send(opening(first, Slot("stored", 5)))

            assert wakes(store).count(WakeReason.DUE) == 1
            assert wakes(store).count(WakeReason.SLOT) == 2
            other = await ended(store, Slot("other", 5))
            await store.start(slotted(1, "other"))
            with pytest.raises(ConcurrencyFull):
                await store.send(opening(other, Slot("other", 5, refuses=True)))

        self.run(scenario)

    def test_one_that_may_not_wait_is_not_opened_and_stays_as_it_was(self) -> None:
        async def scenario(store: Store) -> None:
            first = await ended(store)
            await store.start(slotted())
            before = store.describe(first), store.counts()

            with pytest.raises(ConcurrencyFull):
                await store.send(opening(first, Slot("stored", 1, refuses=True)))

            assert (store.describe(first), store.counts()) == before
            assert list(store.violations()) == []
            (holder,) = await store.claim_due(NOW, 10)
            await store.commit(last_step(holder.claim, 2))
            await store.send(opening(first, Slot("stored", 1, refuses=True)))
            assert store.agenda(NOW).due == 1

        self.run(scenario)

    @pytest.mark.parametrize("refuses", [True, False])
    def test_of_an_opening_and_a_start_for_the_last_slot_one_has_it(self, refuses: bool) -> None:
        async def scenario(store: Store) -> None:
            for number in range(20):
                slot = Slot(f"key {number}", 1, refuses)
                first = await ended(store, slot)

                answers = await asyncio.gather(
                    store.send(opening(first, slot)),
                    store.start(under(due(), slot=slot)),
                    return_exceptions=True,
                )

                (claimed,) = await store.claim_due(NOW, 10)
                assert sum(isinstance(each, ConcurrencyFull) for each in answers) == refuses
                loser = None if refuses else WakeReason.SLOT
                assert set(wakes(store)[:2]) - {WakeReason.CLAIM} <= {loser}
                await store.commit(last_step(claimed.claim, claimed.last_seq, mail=1))
                for other in await store.claim_due(NOW, 10):
                    await store.commit(last_step(other.claim, other.last_seq, mail=1))
                assert store.open_executions() == 0
            assert list(store.violations()) == []

        self.run(scenario)

    def test_a_slot_of_one_that_was_opened_again_is_kept_over_a_new_start_and_comes_back(self) -> None:
        async def before(store: Store) -> str:
            first = await ended(store)
            await store.send(opening(first))
            await store.claim_due(NOW, 10)
            await store.start(slotted())
            return first

        async def after(store: Store) -> None:
            (claimed,) = await store.claim_due(NOW, 10)
            assert claimed.claim.execution_id == first
            assert wakes(store) == [WakeReason.SLOT, WakeReason.CLAIM]
            await store.commit(last_step(claimed.claim, claimed.last_seq, mail=1))
            assert wakes(store) == [WakeReason.DUE, None]
            assert list(store.violations()) == []

        first = self.run(before)
        self.run(after)

    def test_a_rerun_under_another_key_gives_the_first_slot_back(self) -> None:
        async def scenario(store: Store) -> None:
            first, second, other = slotted(), slotted(), slotted(key="other")
            for new in (first, second, other):
                await store.start(new)
            rerun = msgspec.structs.replace(opening(first.execution_id, Slot("other", 1)), kind="rerun")

            await store.send(msgspec.structs.replace(rerun, seen=2))

            assert wakes(store) == [WakeReason.DUE, WakeReason.DUE, WakeReason.SLOT]
            assert list(store.violations()) == []

        self.run(scenario)

    def test_one_that_is_paused_leaves_the_line_and_one_that_is_resumed_joins_it_again(self) -> None:
        async def scenario(store: Store) -> None:
            holder, paused, last = slotted(), slotted(), slotted()
            for new in (holder, paused, last):
                await store.start(new)
            (first,) = await store.claim_due(NOW, 10)

            await store.send(mail_to(paused.execution_id, "pause"))
            (claimed,) = await store.claim_due(NOW, 10)
            assert claimed.claim.execution_id == paused.execution_id
            held = [ExecutionPaused(NOW, number=1)]
            parked = step(claimed.claim, 2, held, Wake(WakeReason.PAUSE, NOW))
            await store.commit(msgspec.structs.replace(parked, mail=1, taken=[1]))
            await store.commit(last_step(first.claim, 2))
            assert wakes(store) == [WakeReason.DUE, WakeReason.PAUSE, None]

            resume = mail_to(paused.execution_id, "resume")
            await store.send(msgspec.structs.replace(resume, seen=3, slot=Slot("stored", 1)))
            assert wakes(store) == [WakeReason.DUE, WakeReason.SLOT, None]
            (second,) = await store.claim_due(NOW, 10)
            await store.commit(last_step(second.claim, 2))
            assert wakes(store) == [None, WakeReason.DUE, None]
            assert list(store.violations()) == []

        self.run(scenario)

    def test_one_that_needs_its_slot_to_be_undone_is_not_cancelled_before_it_has_it(self) -> None:
        async def scenario(store: Store) -> None:
            first = await ended(store)
            await store.start(slotted())
            await store.send(opening(first))

            undoing = msgspec.structs.replace(cancel(first), slot=Slot("stored", 1))
            await store.send(undoing)
            await store.send(mail_to(first, "pause"))

            assert wakes(store) == [WakeReason.DUE, WakeReason.SLOT]
            (holder,) = await store.claim_due(NOW, 10)
            await store.commit(last_step(holder.claim, 2))
            assert wakes(store) == [None, WakeReason.DUE]

        self.run(scenario)

    @pytest.mark.parametrize("code", ["slot.leaked", "slot.waiting"])
    def test_a_broken_promise_about_slots_is_found(self, code: str) -> None:
        news = [slotted(), slotted()]

        async def start(store: Store) -> None:
            for new in news:
                await store.start(new)
            assert list(store.violations()) == []

        async def look(store: Store) -> None:
            assert code in {each.code for each in store.violations()}

        self.run(start)
        self.violate(code, news[0].execution_id)
        self.run(look)

    # -- several

    def test_several_are_started_in_one_transaction_and_each_has_its_answer(self) -> None:
        async def scenario(store: Store) -> None:
            taken = under(key="taken", fingerprint=SAME)
            await store.start(taken)
            news = [
                under(due()),
                under(due(), key="k", fingerprint=SAME),
                under(due(), key="k", fingerprint=SAME),
                under(due(), key="taken", fingerprint=OTHER),
                new_execution(due()),
            ]

            answers = await store.start_all(news)

            assert [type(each) for each in answers] == [Claim, Claim, StartedBefore, KeyConflict, Claim]
            assert store.open_executions() == 4
            assert store.agenda(NOW).due == 3

        self.run(scenario)

    # -- priorities

    def test_of_what_is_due_the_highest_priority_is_taken_up_first(self) -> None:
        async def scenario(store: Store) -> None:
            news = [under(due(-1), priority=-1), under(due(), priority=0), under(due(), priority=1)]
            for new in news:
                await store.start(new)

            claimed = [(await store.claim_due(NOW, 1))[0].claim.execution_id for _ in news]

            assert claimed == [new.execution_id for new in reversed(news)]

        self.run(scenario)

    # -- published flows

    def test_the_same_document_is_no_new_version(self) -> None:
        async def scenario(store: Store) -> None:
            first = await store.publish(NewVersion(flow(), NOW, "ada"))
            again = await store.publish(NewVersion(flow(), NOW, "bob"))

            assert (first.is_new, again.is_new) == (True, False)
            assert first.version == again.version
            assert (first.version.version, first.version.by) == (1, "ada")

        self.run(scenario)

    def test_another_document_says_which_version_it_takes_the_place_of(self) -> None:
        async def scenario(store: Store) -> None:
            first = (await store.publish(NewVersion(flow(), NOW))).version

            with pytest.raises(ExpectationMissing):
                await store.publish(NewVersion(flow("Second"), NOW))
            with pytest.raises(FlowChanged):
                await store.publish(NewVersion(flow("Second"), NOW, expected="0-nothing"))
            second = (await store.publish(NewVersion(flow("Second"), NOW, expected=first.tag))).version
            with pytest.raises(FlowChanged):
                await store.publish(NewVersion(flow("Third"), NOW, expected=first.tag))
            third = (await store.publish(NewVersion(flow(), NOW, expected=ANY_VERSION))).version

            assert (second.version, third.version, third.digest) == (2, 3, first.digest)
            assert list(store.versions_of("shop", 10)) == [third, second, first]
            assert list(store.versions_of("shop", 1, before=3)) == [second]
            assert list(store.published(10)) == [third]
            assert store.document_of(second.digest) == flow("Second").document.encode()

        self.run(scenario)

    def test_a_first_publication_takes_the_place_of_none(self) -> None:
        async def scenario(store: Store) -> None:
            for expected in (ANY_VERSION, "1-0123456789abcdef"):
                with pytest.raises(FlowChanged):
                    await store.publish(NewVersion(flow(), NOW, expected=expected))

            assert list(store.published(10)) == []

        self.run(scenario)

    def test_of_two_that_change_the_same_version_one_wins(self) -> None:
        async def scenario(store: Store) -> None:
            tag = (await store.publish(NewVersion(flow(), NOW))).version.tag
            changes = [NewVersion(flow(f"Change {number}"), NOW, expected=tag) for number in range(8)]

            answers = await asyncio.gather(*map(store.publish, changes), return_exceptions=True)

            assert sum(isinstance(each, FlowChanged) for each in answers) == 7
            assert len(store.versions_of("shop", 10)) == 2

        self.run(scenario)

    def test_a_deleted_flow_keeps_its_versions_and_goes_on_with_the_next_number(self) -> None:
        async def scenario(store: Store) -> None:
            await store.publish(NewVersion(flow(), NOW))
            with pytest.raises(FlowChanged):
                await store.unpublish("shop", NOW, "0-nothing")
            await store.unpublish("shop", NOW)

            assert list(store.published(10)) == []
            assert [each.is_deleted for each in store.versions_of("shop", 10)] == [True]
            with pytest.raises(FlowUnknown):
                await store.unpublish("shop", NOW)
            revived = await store.publish(NewVersion(flow(), NOW))
            assert (revived.is_new, revived.version.version) == (True, 2)

        self.run(scenario)

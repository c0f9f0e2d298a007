"""What every store must do. A store's own test file subclasses `StoreBehaviour` and says how to
open it, and how to damage what it has stored behind its back."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

import msgspec
import pytest

from flow_manager.core.children import ChildEnd, Children, ToChildren
from flow_manager.core.events import AttemptStarted, Event, ExecutionEnding, decode_event
from flow_manager.core.mail import Mail, MailKind
from flow_manager.core.results import TaskError
from flow_manager.core.states import STATUS_OF, ExecutionStatus, Wake, WakeReason
from flow_manager.errors import (
    ApprovalOver,
    ExecutionOver,
    ExecutionUnknown,
    MailUnread,
    ShuttingDown,
    StaleClaim,
    StoreDamaged,
    StoreError,
    TooMuchMail,
)
from flow_manager.ports.store import Claim, Claimed, NewExecution, NewMail, Step, Store
from tests.support.executions import (
    DEFINITION,
    NOW,
    cancel,
    child_of,
    claimed,
    due,
    for_children,
    for_signal,
    last_events,
    last_step,
    mail_to,
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
    "mail.leftover",
)
LOST = ("history.gap", "history.missing")
"""Violations that nothing can mend: what the history has lost is gone."""
FAMILY_VIOLATIONS = ("children.none", "children.untold", "children.count")
DAMAGES = ("bad_utf8", "truncated", "unknown_type", "not_a_number", "another_number", "row_missing")
MOST_SIGNALS = 2_000
MOST_BYTES = 4 << 20
NOBODY = ["5f0c2f5e-6f0e-4b7a-9d0e-3f1b8c2a7d41", "", "nonsense", "\x00", "\ud800", "x" * 10_000]
LATER = NOW + timedelta(hours=1)


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

    @pytest.mark.parametrize(
        ("wake", "status"),
        [
            (claimed(), ExecutionStatus.COMPENSATING),
            (due(60), ExecutionStatus.COMPENSATING),
            (for_signal(), ExecutionStatus.COMPENSATING),
            (for_children(), ExecutionStatus.COMPENSATING),
            (Wake(WakeReason.CODE, NOW, "a.task"), ExecutionStatus.COMPENSATING),
            (Wake(WakeReason.QUARANTINE, NOW), ExecutionStatus.QUARANTINED),
            (Wake(WakeReason.REPAIR, NOW), ExecutionStatus.NEEDS_REPAIR),
        ],
    )
    def test_an_execution_that_undoes_what_it_did_is_listed_as_that(
        self, wake: Wake, status: ExecutionStatus
    ) -> None:
        async def scenario(store: Store) -> None:
            undoing, other = [await store.start(new_execution()) for _ in range(2)]
            ending = step(undoing, 2, [ExecutionEnding(NOW)], wake)
            await store.commit(msgspec.structs.replace(ending, status=ExecutionStatus.COMPENSATING))
            await store.commit(step(other, 2, wake=wake))

            listed = {one.execution_id: one.status for one in store.executions()}

            assert listed == {undoing.execution_id: status, other.execution_id: STATUS_OF[wake.reason]}
            assert {name: store.describe(name).status for name in listed} == listed
            for each in ExecutionStatus:
                found = {one.execution_id: one.status for one in store.executions(status=each)}
                assert found == {name: is_now for name, is_now in listed.items() if is_now is each}

        self.run(scenario)

    @pytest.mark.parametrize("execution_id", NOBODY)
    def test_an_execution_that_is_not_there_is_unknown(self, execution_id: str) -> None:
        async def scenario(store: Store) -> None:
            with pytest.raises(ExecutionUnknown):
                store.describe(execution_id)
            with pytest.raises(ExecutionUnknown):
                store.history(execution_id)

        self.run(scenario)

    @pytest.mark.parametrize("code", FAMILY_VIOLATIONS)
    def test_each_kind_of_violation_in_a_family_is_found(self, code: str) -> None:
        async def before(store: Store) -> str:
            parents = [await _family(store, for_children(), 2) for _ in range(2)]
            assert list(store.violations()) == []
            return parents[1][0]

        async def after(store: Store) -> set[tuple[str, str]]:
            return {(violation.execution_id, violation.code) for violation in store.violations()}

        guilty = self.run(before)
        self.violate(code, guilty)

        assert (guilty, code) in self.run(after)
        assert self.run(_mended) == set()

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
        guilty = ended if code in ("status.unknown", "mail.leftover") else open_one
        self.violate(code, guilty)

        found = self.run(after)

        assert (guilty, code) in found
        assert {execution_id for execution_id, _ in found} == {guilty}
        assert self.run(_mended) == (found if code in LOST else set())

    # -- mail

    @pytest.mark.parametrize("execution_id", NOBODY)
    def test_nothing_can_be_sent_to_an_execution_that_is_not_there(self, execution_id: str) -> None:
        async def scenario(store: Store) -> None:
            with pytest.raises(ExecutionUnknown):
                await store.send(mail_to(execution_id))

            assert list(store.violations()) == []

        self.run(scenario)

    @pytest.mark.parametrize("kind", ["signal", "cancel", "answer"])
    def test_nothing_can_be_sent_to_an_execution_that_has_ended(self, kind: MailKind) -> None:
        async def scenario(store: Store) -> None:
            claim = await store.start(new_execution())
            await store.commit(last_step(claim, 2))

            with pytest.raises(ExecutionOver):
                await store.send(mail_to(claim.execution_id, kind))

            assert store.describe(claim.execution_id).is_ended
            assert (store.open_executions(), list(store.violations())) == (0, [])

        self.run(scenario)

    @pytest.mark.parametrize(
        ("before", "kind", "name", "after"),
        [
            (for_signal("paid"), "signal", "paid", due()),
            (for_signal("paid", due(5).due_at), "signal", "paid", due()),
            (for_signal("paid", due(-5).due_at), "signal", "paid", due(-5)),
            (for_signal("paid"), "signal", "sent", for_signal("paid")),
            (for_signal("paid"), "signal", "", for_signal("paid")),
            (for_signal("paid"), "cancel", "", due()),
            (for_signal("approval/1/1"), "answer", "approval/1/1", due()),
            (due(60), "signal", "paid", due(60)),
            (due(60), "cancel", "paid", due()),
            (due(-60), "cancel", "", due(-60)),
            (for_children(), "signal", "first", for_children()),
            (for_children(), "cancel", "", due()),
            (Wake(WakeReason.CODE, NOW, "paid"), "signal", "paid", Wake(WakeReason.CODE, NOW, "paid")),
            (Wake(WakeReason.CODE, NOW, "paid"), "cancel", "", due()),
            (Wake(WakeReason.QUARANTINE, NOW), "signal", "paid", Wake(WakeReason.QUARANTINE, NOW)),
            (Wake(WakeReason.QUARANTINE, NOW), "cancel", "", due()),
            (Wake(WakeReason.REPAIR, NOW, "gone"), "signal", "paid", Wake(WakeReason.REPAIR, NOW, "gone")),
            (Wake(WakeReason.REPAIR, NOW, "gone"), "cancel", "", Wake(WakeReason.REPAIR, NOW, "gone")),
            (claimed(), "signal", "paid", claimed()),
            (claimed(), "cancel", "", claimed()),
        ],
    )
    def test_whoever_waits_for_what_is_sent_is_due_at_once_and_nobody_else(
        self, before: Wake, kind: MailKind, name: str, after: Wake
    ) -> None:
        async def scenario(store: Store) -> None:
            waiting = await store.start(new_execution(before))
            other = await store.start(new_execution(before))

            await store.send(mail_to(waiting.execution_id, kind, name))

            found = store.describe(waiting.execution_id).wake
            assert found is not None
            assert (found.reason, found.due_at) == (after.reason, after.due_at)
            assert store.describe(other.execution_id).wake == before
            assert _sound(store)

        self.run(scenario)

    def test_what_was_sent_comes_with_the_claim_in_its_order(self) -> None:
        async def scenario(store: Store) -> None:
            claim = await store.start(new_execution(for_signal("paid")))
            payloads: list[Any] = [None, 7, "\u00e9", [1.5, {"a": None}], {"deep": {"er": []}}, "", False]
            for number, payload in enumerate(payloads):
                await store.send(mail_to(claim.execution_id, "signal", "paid", payload, "shop", number))

            (taken,) = await store.claim_due(LATER, 10)

            assert list(taken.mail) == [
                Mail(number + 1, due(number).due_at, "signal", "paid", payload, "shop")
                for number, payload in enumerate(payloads)
            ]
            assert taken.newest_mail == len(payloads)

        self.run(scenario)

    def test_the_words_of_a_sender_may_be_anything(self) -> None:
        async def scenario(store: Store) -> None:
            claim = await store.start(new_execution(for_signal("paid")))

            await store.send(cancel(claim.execution_id, "half a pair: \ud800"))
            await store.send(mail_to(claim.execution_id, by="half a pair: \ud800"))

            (taken,) = await store.claim_due(NOW, 10)
            reason, sender = taken.mail
            assert reason.name.startswith("half a pair: ")
            assert sender.by.startswith("half a pair: ")

        self.run(scenario)

    @pytest.mark.parametrize(
        "wake",
        [
            due(60),
            for_signal("sent"),
            for_children(),
            Wake(WakeReason.CODE, NOW),
            Wake(WakeReason.QUARANTINE, NOW),
        ],
    )
    @pytest.mark.parametrize("adds_events", [True, False])
    def test_a_writer_that_does_not_know_all_mail_cannot_sleep_through_it(
        self, wake: Wake, adds_events: bool
    ) -> None:
        async def scenario(store: Store) -> None:
            ignorant, knowing = [await store.start(new_execution()) for _ in range(2)]
            for claim in (ignorant, knowing):
                await store.send(mail_to(claim.execution_id, "signal", "paid"))
                await store.send(mail_to(claim.execution_id, "signal", "sent"))

            events = next_events() if adds_events else []
            for claim, mail in ((ignorant, 1), (knowing, 2)):
                await store.commit(Step(claim, 2, events, wake, ExecutionStatus.WAITING, NOW, mail))

            found = store.describe(ignorant.execution_id).wake
            assert found is not None
            assert (found.reason, found.due_at) == (WakeReason.DUE, min(NOW, wake.due_at))
            assert store.describe(knowing.execution_id).wake == wake
            (taken,) = await store.claim_due(NOW, 10)
            assert (taken.claim.execution_id, len(taken.mail)) == (ignorant.execution_id, 2)

        self.run(scenario)

    def test_a_writer_that_goes_on_need_not_know_what_was_sent(self) -> None:
        async def scenario(store: Store) -> None:
            claim = await store.start(new_execution())
            await store.send(mail_to(claim.execution_id))

            await store.commit(step(claim, 2))

            assert list(store.claims()) == [claim]

        self.run(scenario)

    def test_an_execution_does_not_end_before_its_writer_knows_all_mail(self) -> None:
        async def scenario(store: Store) -> None:
            new = new_execution()
            claim = await store.start(new)
            await store.send(cancel(claim.execution_id))

            with pytest.raises(MailUnread):
                await store.commit(last_step(claim, 2))

            assert list(store.history(new.execution_id)) == list(new.events)
            assert list(store.claims()) == [claim]
            again = await store.read_again(claim)
            assert (again.claim, again.last_seq, again.newest_mail) == (claim, 2, 1)
            assert list(map(decode_event, again.history)) == list(new.events)
            assert [mail.kind for mail in again.mail] == ["cancel"]
            await store.commit(last_step(claim, 2, mail=1))
            assert store.describe(new.execution_id).is_ended
            assert list(store.violations()) == []

        self.run(scenario)

    def test_only_the_holder_of_the_claim_reads_again(self) -> None:
        async def scenario(store: Store) -> None:
            parked, ended, old = [await store.start(new_execution()) for _ in range(3)]
            await store.commit(step(parked, 2, wake=due(60)))
            await store.commit(last_step(ended, 2))
            await store.set_aside(old, due())
            await store.claim_due(NOW, 10)

            for claim in (parked, ended, old, Claim(str(uuid4()), uuid4().bytes, 1)):
                with pytest.raises(StaleClaim):
                    await store.read_again(claim)

        self.run(scenario)

    def test_mail_that_was_taken_up_is_gone_and_the_rest_stays(self) -> None:
        async def scenario(store: Store) -> None:
            claim = await store.start(new_execution())
            for name in ("a", "b", "c", "d"):
                await store.send(mail_to(claim.execution_id, "signal", name))

            taking = msgspec.structs.replace(step(claim, 2), mail=4, taken=(3, 1))
            await store.commit(taking)

            left = await store.read_again(claim)
            assert [(mail.number, mail.name) for mail in left.mail] == [(2, "b"), (4, "d")]
            assert left.newest_mail == 4
            await store.send(mail_to(claim.execution_id, "signal", "e"))
            assert [mail.number for mail in (await store.read_again(claim)).mail] == [2, 4, 5]

        self.run(scenario)

    def test_a_step_that_is_refused_takes_nothing_up(self) -> None:
        async def scenario(store: Store) -> None:
            claim = await store.start(new_execution())
            await store.send(mail_to(claim.execution_id))

            with pytest.raises(StaleClaim):
                await store.commit(msgspec.structs.replace(step(claim, 7), mail=1, taken=(1,)))

            assert len((await store.read_again(claim)).mail) == 1

        self.run(scenario)

    def test_nobody_takes_up_what_was_left_when_an_execution_ended(self) -> None:
        async def scenario(store: Store) -> None:
            parent, (child,) = await _family(store, claimed(), 1)
            await store.send(mail_to(child.execution_id, "signal", "left"))
            await store.commit(last_step(_claim_of(store, child), 2, parent=child.parent, mail=1))

            await _say(store, parent, 2, ToChildren("compensate", 1, 1))
            (again,) = await store.claim_due(NOW, 10)

            assert [mail.kind for mail in again.mail] == ["compensate"]

        self.run(scenario)

    def test_a_second_cancellation_changes_nothing(self) -> None:
        async def scenario(store: Store) -> None:
            claim = await store.start(new_execution())
            for reason in ("first", "second", "third"):
                await store.send(cancel(claim.execution_id, reason))

            found = await store.read_again(claim)

            assert [(mail.number, mail.name) for mail in found.mail] == [(1, "first")]
            assert found.newest_mail == 1

        self.run(scenario)

    def test_of_many_who_cancel_at_once_one_is_the_first(self) -> None:
        async def scenario(store: Store) -> None:
            claim = await store.start(new_execution(for_signal()))

            await asyncio.gather(*(store.send(cancel(claim.execution_id, str(each))) for each in range(64)))

            (taken,) = await store.claim_due(NOW, 10)
            assert [(mail.number, mail.kind) for mail in taken.mail] == [(1, "cancel")]

        self.run(scenario)

    def test_so_many_signals_may_wait_and_no_more(self) -> None:
        async def scenario(store: Store) -> None:
            claim = await store.start(new_execution())
            other = await store.start(new_execution())
            signal = mail_to(claim.execution_id)
            await asyncio.gather(*(store.send(signal) for _ in range(MOST_SIGNALS)))

            with pytest.raises(TooMuchMail):
                await store.send(signal)

            await store.send(mail_to(other.execution_id))
            await store.send(cancel(claim.execution_id))
            mail = (await store.read_again(claim)).mail
            assert [each.number for each in mail] == list(range(1, MOST_SIGNALS + 2))
            await store.commit(msgspec.structs.replace(step(claim, 2), mail=MOST_SIGNALS + 1, taken=(1,)))
            await store.send(signal)
            with pytest.raises(TooMuchMail):
                await store.send(signal)

        self.run(scenario)

    def test_signals_that_wait_may_carry_so_much_together_and_no_more(self) -> None:
        async def scenario(store: Store) -> None:
            claim = await store.start(new_execution())
            large = mail_to(claim.execution_id, payload="x" * (MOST_BYTES // 4))
            await asyncio.gather(*(store.send(large) for _ in range(3)))

            with pytest.raises(TooMuchMail):
                await store.send(large)

            await store.send(mail_to(claim.execution_id, payload="small"))
            await store.send(cancel(claim.execution_id))
            mail = (await store.read_again(claim)).mail
            assert [len(each.payload or "") for each in mail] == [MOST_BYTES // 4] * 3 + [5, 0]

        self.run(scenario)

    @pytest.mark.parametrize("wake", [claimed(), for_signal("other"), due(60)])
    def test_whoever_waits_for_mail_does_not_go_on_before_knowing_all_of_it(self, wake: Wake) -> None:
        async def scenario(store: Store) -> None:
            await store.start(new_execution(for_signal("approval/1/1", NOW)))
            (taken,) = await store.claim_due(NOW, 10)
            claim = taken.claim
            await store.send(mail_to(claim.execution_id, "answer", "approval/1/1"))
            late = Step(claim, 2, next_events(), wake, ExecutionStatus.RUNNING, NOW)

            with pytest.raises(MailUnread):
                await store.commit(late)
            again = await store.read_again(claim)
            await store.commit(msgspec.structs.replace(late, mail=again.newest_mail, taken=(1,)))

            assert [mail.name for mail in again.mail] == ["approval/1/1"]
            assert store.describe(claim.execution_id).wake == wake

        self.run(scenario)

    def test_what_many_send_at_once_is_numbered_without_gaps(self) -> None:
        async def scenario(store: Store) -> None:
            claim = await store.start(new_execution(for_signal("paid")))

            await asyncio.gather(
                *(store.send(mail_to(claim.execution_id, payload=number)) for number in range(200))
            )

            (taken,) = await store.claim_due(NOW, 10)
            assert [mail.number for mail in taken.mail] == list(range(1, 201))
            assert sorted(mail.payload for mail in taken.mail) == list(range(200))

        self.run(scenario)

    def test_mail_is_still_there_after_opening_again(self) -> None:
        async def before(store: Store) -> list[str]:
            claims = [
                await store.start(new_execution(wake)) for wake in (claimed(), for_signal("paid"), due(60))
            ]
            for claim in claims:
                await store.send(mail_to(claim.execution_id, payload={"n": 1}))
            return [claim.execution_id for claim in claims]

        async def after(store: Store) -> list[Claimed]:
            return list(await store.claim_due(LATER, 10))

        sent_to = self.run(before)
        found = self.run(after)

        assert sorted(one.claim.execution_id for one in found) == sorted(sent_to)
        assert [[mail.payload for mail in one.mail] for one in found] == [[{"n": 1}]] * 3

    @pytest.mark.parametrize(
        ("wake", "name", "is_asked"),
        [
            (for_signal("approval/1/1"), "approval/1/1", True),
            (for_signal("approval/1/1"), "approval/1/2", False),
            (for_signal("paid"), "approval/1/1", False),
            (Wake(WakeReason.DUE, LATER, "approval/1/1"), "approval/1/1", True),
            (Wake(WakeReason.CLAIM, NOW, "approval/1/1"), "approval/1/1", True),
            (due(60), "approval/1/1", False),
            (claimed(), "approval/1/1", False),
        ],
    )
    def test_an_answer_is_taken_while_its_question_waits_and_once(
        self, wake: Wake, name: str, is_asked: bool
    ) -> None:
        async def scenario(store: Store) -> None:
            claim = await store.start(new_execution(wake))
            answers = [mail_to(claim.execution_id, "answer", name, {"number": each}) for each in range(3)]

            outcomes = await asyncio.gather(*map(store.send, answers), return_exceptions=True)

            refused = [type(outcome) for outcome in outcomes if outcome is not None]
            assert refused == [ApprovalOver] * (2 if is_asked else 3)
            found = store.describe(claim.execution_id).wake
            assert found is not None
            is_moved = is_asked and wake.reason is WakeReason.SIGNAL
            assert found.reason is (WakeReason.DUE if is_moved else wake.reason)

        self.run(scenario)

    # -- children

    def test_children_begin_with_the_start_of_their_parent(self) -> None:
        async def scenario(store: Store) -> None:
            parent = new_execution()
            children = [child_of(parent.execution_id, index) for index in range(3)]

            claim = await store.start(msgspec.structs.replace(parent, children=children))

            assert list(store.claims()) == [claim]
            assert store.open_executions() == 4
            listed = [
                (each.index, each.execution_id, each.status) for each in store.children(parent.execution_id)
            ]
            assert listed == [(index, child.execution_id, None) for index, child in enumerate(children)]
            taken = await store.claim_due(NOW, 10)
            assert {one.claim.execution_id for one in taken} == {child.execution_id for child in children}
            assert store.describe(children[2].execution_id).parent == children[2].parent
            assert list(store.violations()) == []

        self.run(scenario)

    def test_children_begin_with_a_step_of_their_parent_or_not_at_all(self) -> None:
        async def scenario(store: Store) -> None:
            parent = await store.start(new_execution())
            first, second = (child_of(parent.execution_id, index, run=2) for index in range(2))
            twice = [msgspec.structs.replace(first, execution_id=str(uuid4())), second]

            with pytest.raises(StaleClaim):
                await store.commit(
                    msgspec.structs.replace(step(parent, 9, wake=for_children()), children=[first])
                )
            with pytest.raises(StoreError):  # two at one place
                await store.commit(msgspec.structs.replace(step(parent, 2), children=[first, *twice]))
            assert (store.open_executions(), len(store.history(parent.execution_id))) == (1, 2)
            await store.commit(
                msgspec.structs.replace(step(parent, 2, wake=for_children()), children=[first, second])
            )

            listed = [(each.run, each.attempt, each.index) for each in store.children(parent.execution_id)]
            assert listed == [(2, 1, 0), (2, 1, 1)]
            assert store.open_executions() == 3
            assert list(store.violations()) == []

        self.run(scenario)

    def test_the_end_of_a_child_is_told_to_its_parent_which_is_due_then(self) -> None:
        async def scenario(store: Store) -> None:
            parent, children = await _family(store, for_children(), 2)

            await _end(store, children[1], ExecutionStatus.FAILED, {"n": 1})

            assert _counts(await store.look_at_children(parent, 1, 1)) == (2, 1, 1)
            assert store.describe(parent).wake == Wake(WakeReason.DUE, NOW, "first")
            await _end(store, children[0], output={"n": 0})
            ends = (
                ChildEnd(0, children[0].execution_id, ExecutionStatus.COMPLETED, {"n": 0}),
                ChildEnd(
                    1,
                    children[1].execution_id,
                    ExecutionStatus.FAILED,
                    {"n": 1},
                    TaskError("task.failed", "no"),
                ),
            )
            look = await store.look_at_children(parent, 1, 1, with_ends=True)
            assert (look.started, look.open, look.unsuccessful, look.ends) == (2, 0, 1, ends)
            assert look.bytes > len('{"output":{"n":0}}{"output":{"n":1}}')
            assert [each.status for each in store.children(parent)] == ["completed", "failed"]

        self.run(scenario)

    @pytest.mark.parametrize(
        "wake",
        [due(60), for_signal("paid"), Wake(WakeReason.QUARANTINE, NOW), Wake(WakeReason.REPAIR, NOW, "gone")],
    )
    def test_a_parent_that_waits_for_something_else_is_not_disturbed(self, wake: Wake) -> None:
        async def scenario(store: Store) -> None:
            parent, children = await _family(store, wake, 1)

            await _end(store, children[0])

            assert store.describe(parent).wake == wake
            assert (await store.look_at_children(parent, 1, 1)).open == 0

        self.run(scenario)

    @pytest.mark.parametrize(
        "order",
        ["the parent parks first", "the child ends first", "both at once", "both at once, the other way"],
    )
    def test_no_parent_sleeps_through_the_end_of_its_child(self, order: str) -> None:
        async def scenario(store: Store) -> None:
            parent = new_execution()
            child = child_of(parent.execution_id, wake=claimed())
            claim = await store.start(msgspec.structs.replace(parent, children=[child]))
            ends = last_step(_claim_of(store, child), 2, parent=child.parent)
            parks = step(claim, 2, wake=for_children())

            steps = [parks, ends] if "parks first" in order or order == "both at once" else [ends, parks]
            if "at once" in order:
                await asyncio.gather(*map(store.commit, steps))
            else:
                for each in steps:
                    await store.commit(each)

            (taken,) = await store.claim_due(NOW, 10)
            assert taken.claim.execution_id == parent.execution_id
            assert (await store.look_at_children(parent.execution_id, 1, 1)).open == 0
            assert list(store.violations()) == []

        self.run(scenario)

    def test_a_parent_that_has_heard_of_the_end_of_its_child_can_park_and_end(self) -> None:
        async def scenario(store: Store) -> None:
            parent, children = await _family(store, for_children(), 2)
            await _end(store, children[0])
            (taken,) = await store.claim_due(NOW, 10)

            await store.commit(
                Step(taken.claim, 2, [], for_children(), ExecutionStatus.WAITING, NOW, taken.newest_mail)
            )
            parked = store.describe(parent).wake
            await _end(store, children[1])
            (again,) = await store.claim_due(NOW, 10)
            with pytest.raises(MailUnread):
                await store.commit(last_step(again.claim, 2, mail=taken.newest_mail))
            await store.commit(last_step(again.claim, 2, mail=again.newest_mail))

            assert parked == for_children()
            assert (again.mail, again.newest_mail) == ((), 2)
            assert store.describe(parent).is_ended

        self.run(scenario)

    def test_a_child_may_outlive_its_parent(self) -> None:
        async def scenario(store: Store) -> None:
            parent, children = await _family(store, claimed(), 1)
            await store.commit(last_step(_claim_of(store, parent), 2))

            await _end(store, children[0])

            assert store.describe(parent).is_ended
            assert (store.open_executions(), list(store.violations())) == (0, [])

        self.run(scenario)

    def test_a_child_that_ends_with_its_start_is_told_as_well(self) -> None:
        async def scenario(store: Store) -> None:
            parent, _ = await _family(store, for_children(), 0)
            child = child_of(parent)
            over = msgspec.structs.replace(
                child, wake=None, status=ExecutionStatus.COMPLETED, events=[*child.events, *last_events()]
            )
            starter = await store.start(new_execution())

            await store.commit(msgspec.structs.replace(step(starter, 2), children=[over]))

            assert (await store.look_at_children(parent, 1, 1)).started == 1
            assert store.describe(child.execution_id).is_ended

        self.run(scenario)

    def test_the_children_of_each_attempt_are_looked_at_apart(self) -> None:
        async def scenario(store: Store) -> None:
            parent = new_execution(for_children())
            children = [
                child_of(parent.execution_id, index, claimed(), run=run, attempt=attempt)
                for run, attempt, index in [(1, 1, 0), (1, 2, 0), (1, 2, 1), (2, 1, 0)]
            ]
            await store.start(msgspec.structs.replace(parent, children=children))
            await _end(store, children[1])

            found = {
                (run, attempt): _counts(await store.look_at_children(parent.execution_id, run, attempt))
                for run, attempt in [(1, 1), (1, 2), (2, 1), (2, 2)]
            }

            assert found == {
                (1, 1): (1, 1, 0), (1, 2): (2, 1, 0), (2, 1): (1, 1, 0),
                (2, 2): (0, 0, 0),
            }  # fmt: skip
            with pytest.raises(ExecutionUnknown):
                store.children(str(uuid4()))

        self.run(scenario)

    def test_a_cancellation_reaches_the_children_that_are_open(self) -> None:
        async def scenario(store: Store) -> None:
            parent, children = await _family(store, claimed(), 4)
            running, waiting, with_children, ended = (child.execution_id for child in children)
            await store.commit(step(_claim_of(store, waiting), 2, wake=for_signal("paid")))
            await store.commit(step(_claim_of(store, with_children), 2, wake=for_children()))
            await _end(store, children[3])

            told = await _say(store, parent, 2, ToChildren("cancel", 1, 1))
            again = await _say(store, parent, 5, ToChildren("cancel", 1, 1))

            assert (told, again) == (sorted([running, waiting, with_children]), [])
            interrupted = await store.read_again(_claim_of(store, running))
            assert [mail.kind for mail in interrupted.mail] == ["cancel"]
            woken = await store.claim_due(NOW, 10)
            assert {one.claim.execution_id for one in woken} == {waiting, with_children}
            assert {mail.kind for one in woken for mail in one.mail} == {"cancel"}
            assert store.describe(ended).is_ended

        self.run(scenario)

    def test_a_word_is_for_the_children_of_its_attempt_only(self) -> None:
        async def scenario(store: Store) -> None:
            parent = new_execution()
            first, second = (child_of(parent.execution_id, attempt=attempt) for attempt in (1, 2))
            claim = await store.start(msgspec.structs.replace(parent, children=[first, second]))

            told = await _say(store, claim.execution_id, 2, ToChildren("cancel", 1, 2))

            assert told == [second.execution_id]

        self.run(scenario)

    def test_a_word_of_a_writer_whose_knowledge_is_old_reaches_nobody(self) -> None:
        async def scenario(store: Store) -> None:
            parent, children = await _family(store, claimed(), 1)

            with pytest.raises(StaleClaim):
                await _say(store, parent, 9, ToChildren("cancel", 1, 1))

            assert (await store.read_again(_claim_of(store, children[0]))).mail == ()

        self.run(scenario)

    def test_a_compensation_opens_the_children_again_that_completed(self) -> None:
        async def scenario(store: Store) -> None:
            parent, children = await _family(store, claimed(), 3)
            await _end(store, children[0])
            await _end(store, children[1], ExecutionStatus.FAILED)

            told = await _say(store, parent, 2, ToChildren("compensate", 1, 1))

            opened, failed, running = (child.execution_id for child in children)
            assert told == [opened]
            assert _counts(await store.look_at_children(parent, 1, 1)) == (3, 2, 1)
            assert {one.execution_id: one.status for one in store.executions()} == {
                parent: ExecutionStatus.RUNNING,
                opened: ExecutionStatus.WAITING,
                failed: ExecutionStatus.FAILED,
                running: ExecutionStatus.RUNNING,
            }
            assert list(store.violations()) == []
            view = store.describe(opened)
            assert (view.status, view.wake, view.last_seq) == (ExecutionStatus.WAITING, due(), 4)
            assert len(store.history(opened)) == 4

        self.run(scenario)

    def test_an_execution_that_was_opened_again_ends_again_and_its_parent_hears_of_it(self) -> None:
        async def scenario(store: Store) -> None:
            parent, (child,) = await _family(store, claimed(), 1)
            await _end(store, child, output={"n": 1})
            await _say(store, parent, 2, ToChildren("compensate", 1, 1), for_children())

            (again,) = await store.claim_due(NOW, 10)
            ending = ExecutionEnding(NOW, ExecutionStatus.CANCELLED, None, 1)
            last = last_step(again.claim, 4, ExecutionStatus.CANCELLED, parent=child.parent, mail=1)
            await store.commit(msgspec.structs.replace(last, events=[ending, *last.events], taken=(1,)))

            assert [mail.kind for mail in again.mail] == ["compensate"]
            (woken,) = await store.claim_due(NOW, 10)
            assert woken.claim.execution_id == parent
            look = await store.look_at_children(parent, 1, 1, with_ends=True)
            assert look.ends is not None
            assert (look.open, look.unsuccessful, look.ends[0].output) == (0, 1, None)
            view = store.describe(child.execution_id)
            assert (view.status, view.is_ended, view.last_seq) == (ExecutionStatus.CANCELLED, True, 7)
            (listed,) = store.executions(status=ExecutionStatus.CANCELLED)
            assert (listed.execution_id, listed.ended_at) == (child.execution_id, NOW)
            assert list(store.violations()) == []

        self.run(scenario)

    def test_no_claim_of_its_first_life_is_good_for_an_execution_that_was_opened_again(self) -> None:
        async def scenario(store: Store) -> None:
            parent, (child,) = await _family(store, claimed(), 1)
            first_life = [_claim_of(store, child)]
            for _ in range(5):
                await store.commit(step(first_life[-1], 2, [], wake=due()))
                (taken,) = await store.claim_due(NOW, 10)
                first_life.append(taken.claim)
            await _end(store, child)
            await _say(store, parent, 2, ToChildren("compensate", 1, 1))
            (again,) = await store.claim_due(NOW, 10)

            for old in first_life:
                with pytest.raises(StaleClaim):
                    await store.commit(step(old, 4))

            assert again.claim.epoch > max(claim.epoch for claim in first_life)
            await store.commit(step(again.claim, 4, wake=due(60)))

        self.run(scenario)

    def test_what_was_opened_again_is_still_open_after_opening_the_store_again(self) -> None:
        async def before(store: Store) -> set[str]:
            parent, (child,) = await _family(store, claimed(), 1)
            await _end(store, child)
            await _say(store, parent, 2, ToChildren("compensate", 1, 1))
            return {parent, child.execution_id}

        async def after(store: Store) -> set[str]:
            assert list(store.violations()) == []
            return {one.claim.execution_id for one in await store.claim_due(NOW, 10)}

        opened = self.run(before)

        assert self.run(after) == opened

    def test_a_bad_word_among_good_ones_spoils_nothing(self) -> None:
        async def scenario(store: Store) -> None:
            claims = [await store.start(new_execution()) for _ in range(12)]
            ended = claims[0].execution_id
            await store.commit(last_step(claims[0], 2))
            children = [child_of(claim.execution_id) for claim in claims]
            taken_place = msgspec.structs.replace(children[7], execution_id=claims[1].execution_id)

            work: list[Awaitable[Any]] = []
            for claim, child in zip(claims[1:], children[1:], strict=True):
                work.append(store.send(mail_to(claim.execution_id)))
                added = taken_place if child is children[7] else child
                late = step(claim, 9 if child is children[5] else 2, wake=for_children())
                work.append(store.commit(msgspec.structs.replace(late, children=[added])))
            bad: list[NewMail] = [mail_to(ended), mail_to(str(uuid4())), mail_to(ended, payload="\ud800")]
            work += map(store.send, bad)
            work.append(store.send(mail_to(claims[1].execution_id, payload={"half a pair": "\ud800"})))
            work.append(store.read_again(Claim(ended, claims[0].key, 1)))
            answers = await asyncio.gather(*work, return_exceptions=True)

            refused = Counter(type(answer) for answer in answers if isinstance(answer, Exception))
            assert refused == {ExecutionOver: 2, ExecutionUnknown: 1, StaleClaim: 2, StoreError: 2}
            lengths = [len(store.history(claim.execution_id)) for claim in claims]
            assert lengths == [4, 5, 5, 5, 5, 2, 5, 2, 5, 5, 5, 5]
            assert store.open_executions() == 11 + 9
            assert list(store.violations()) == []

        self.run(scenario)

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


async def _family(store: Store, wake: Wake, number: int) -> tuple[str, list[NewExecution]]:
    """A parent with this wake, and so many children, which are claimed."""
    parent = new_execution(wake)
    children = [child_of(parent.execution_id, index, claimed()) for index in range(number)]
    await store.start(msgspec.structs.replace(parent, children=children))
    return parent.execution_id, children


def _claim_of(store: Store, execution: NewExecution | str) -> Claim:
    execution_id = execution if isinstance(execution, str) else execution.execution_id
    (claim,) = (claim for claim in store.claims() if claim.execution_id == execution_id)
    return claim


async def _end(
    store: Store,
    child: NewExecution,
    status: ExecutionStatus = ExecutionStatus.COMPLETED,
    output: Any = None,
) -> None:
    await store.commit(last_step(_claim_of(store, child), 2, status, parent=child.parent, output=output))


async def _say(
    store: Store, parent: str, last_seq: int, word: ToChildren, wake: Wake | None = None
) -> list[str]:
    """What a parent that is claimed has to say to its children; the answer names those who heard it."""
    said = step(_claim_of(store, parent), last_seq, wake=wake)
    return sorted(await store.commit(msgspec.structs.replace(said, mail=99, to_children=[word])))


def _is_readable(one: Claimed) -> bool:
    """As the engine sees it: every event is one, and there are as many as were recorded."""
    try:
        events: list[Event] = list(map(decode_event, one.history))
    except (msgspec.MsgspecError, ValueError):
        return False
    return len(events) == one.last_seq


def _sound(store: Store) -> bool:
    """Apart from executions that wait for children and have none, as here for brevity."""
    return {violation.code for violation in store.violations()} <= {"children.none"}


def _counts(look: Children) -> tuple[int, int, int]:
    return look.started, look.open, look.unsuccessful


async def _mended(store: Store) -> set[tuple[str, str]]:
    """What is still found after everything was mended that can be; nobody is woken for nothing."""
    for _ in range(3):
        for violation in store.violations():
            await store.mend(violation, NOW)
    for one in await store.claim_due(LATER, 10):
        if _is_readable(one):
            again = Step(
                one.claim, one.last_seq, [], due(7200), ExecutionStatus.WAITING, NOW, one.newest_mail
            )
            await store.commit(again)
    return {(violation.execution_id, violation.code) for violation in store.violations()}

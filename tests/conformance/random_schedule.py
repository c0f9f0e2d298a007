"""Any schedule of writers, late writers, senders, parents, children and restarts, beside a model that
is a dictionary."""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
from abc import abstractmethod
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flow_manager.core.children import ParentLink, ToChildren
from flow_manager.core.events import Event, decode_event
from flow_manager.core.mail import MailKind
from flow_manager.core.states import STATUS_OF, TIMED, ExecutionStatus, Wake, WakeReason
from flow_manager.errors import ApprovalOver, ExecutionOver, MailUnread, StaleClaim
from flow_manager.ports.store import Claim, Claimed, NewExecution, Store
from tests.support.executions import NOW, child_of, due, last_step, mail_to, new_execution, step

Answer = TypeVar("Answer")

AFTER = st.integers(-50, 50).map(lambda seconds: NOW + timedelta(seconds=seconds))
NAMES = st.sampled_from(["", "a.task"])
WAKES = st.builds(Wake, st.sampled_from([*WakeReason, *[WakeReason.CLAIM] * 5]), AFTER, NAMES)
FINAL = st.sampled_from([ExecutionStatus.COMPLETED, ExecutionStatus.FAILED])
SEED = st.integers(0, 1 << 16)
SECOND_LIFE = 1 << 32

Letter = tuple[int, MailKind, str]


@dataclass
class Modelled:
    """An execution as it should be: `held` are all claims to it that there ever were, `mail` is what
    was not taken up, `children` tells how each child ended, by its place."""

    events: list[Event]
    wake: Wake | None
    status: ExecutionStatus
    epoch: int = 1
    held: list[Claim] = field(default_factory=list)
    newest: int = 0
    mail: list[Letter] = field(default_factory=list)
    parent: ParentLink | None = None
    children: list[str] = field(default_factory=list)

    @property
    def is_claimed(self) -> bool:
        return self.wake is not None and self.wake.reason is WakeReason.CLAIM

    def wait_for(self, wake: Wake | None, status: ExecutionStatus | None = None) -> None:
        self.wake = wake
        self.status = STATUS_OF[wake.reason] if wake is not None else status or self.status

    def wake_up(self, at: datetime) -> None:
        """Something has come that it waits for."""
        assert self.wake is not None
        self.wait_for(Wake(WakeReason.DUE, at, self.wake.detail))

    def goes_on_from_waiting(self, wake: Wake) -> bool:
        """Whether it waited for something by name, and does not wait for it again."""
        waited_for = "" if self.wake is None else self.wake.detail
        return waited_for != "" and (wake.reason is WakeReason.CLAIM or wake.detail != waited_for)

    def is_asked(self, name: str) -> bool:
        """Whether it waits for an answer of this name, or was just taken up for it, and none has come."""
        reasons = (WakeReason.SIGNAL, WakeReason.DUE, WakeReason.CLAIM)
        is_waiting = self.wake is not None and self.wake.reason in reasons and self.wake.detail == name
        return is_waiting and not any(each[1:] == ("answer", name) for each in self.mail)

    def receive(self, kind: MailKind, name: str) -> None:
        self.newest += 1
        if (
            self.is_claimed
            and kind not in ("signal", "answer")
            and self.wake is not None
            and not self.wake.detail
        ):
            self.wake = msgspec.structs.replace(self.wake, detail=kind)
        self.mail.append((self.newest, kind, name))


class RandomSchedule(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._files = contextlib.ExitStack()
        self.folder = Path(self._files.enter_context(tempfile.TemporaryDirectory()))
        self.model: dict[str, Modelled] = {}
        self.faults: list[BaseException] = []
        self.loop = asyncio.new_event_loop()
        self.store = self.make()
        self.wait(self.store.open(NOW, self.faults.append))

    @abstractmethod
    def make(self) -> Store:
        """The store in `folder`; again the same one after it was stopped."""

    def wait(self, work: Awaitable[Answer]) -> Answer:
        async def awaited() -> Answer:
            return await work

        return self.loop.run_until_complete(awaited())

    def teardown(self) -> None:
        self.wait(self.store.stop())
        self.loop.close()
        self._files.close()
        assert self.faults == []

    def one_claimed(self, seed: int) -> tuple[str, Modelled, Claim]:
        claimed = [(name, each) for name, each in self.model.items() if each.is_claimed]
        name, one = random.Random(seed).choice(claimed)
        return name, one, one.held[-1]

    def any_one(self, seed: int) -> tuple[str, Modelled]:
        return random.Random(seed).choice(list(self.model.items()))

    # -- writing

    @rule(wake=WAKES, children=st.lists(WAKES, max_size=2))
    def start(self, wake: Wake, children: list[Wake]) -> None:
        new = new_execution(wake)
        begun = [child_of(new.execution_id, index, each) for index, each in enumerate(children)]
        self.wait(self.store.start(msgspec.structs.replace(new, children=begun)))
        self._has_begun(new)
        for child in begun:
            self._has_begun(child)

    def _has_begun(self, new: NewExecution) -> None:
        assert new.wake is not None
        status, parent = STATUS_OF[new.wake.reason], new.parent
        held = [claim for claim in self.store.claims() if claim.execution_id == new.execution_id]
        self.model[new.execution_id] = Modelled(list(new.events), new.wake, status, held=held, parent=parent)
        if parent is not None:
            self.model[parent.execution_id].children.append(new.execution_id)

    @precondition(lambda self: any(one.is_claimed for one in self.model.values()))
    @rule(
        seed=SEED, wake=WAKES, adds_events=st.booleans(), unknown=st.integers(0, 2), child=st.none() | WAKES
    )
    def commit(self, seed: int, wake: Wake, adds_events: bool, unknown: int, child: Wake | None) -> None:
        """A step whose writer does not know the newest few things that were sent."""
        name, one, claim = self.one_claimed(seed)
        known = max(0, one.newest - unknown)
        taken = [number for number, _, _ in one.mail if number <= known][:1]
        children = [] if child is None else [child_of(name, len(one.children), child)]
        added = msgspec.structs.replace(
            step(claim, len(one.events), None if adds_events else [], wake),
            mail=known, taken=taken, children=children,
        )  # fmt: skip

        if one.newest > known and one.goes_on_from_waiting(wake):
            with pytest.raises(MailUnread):
                self.wait(self.store.commit(added))
            return
        assert list(self.wait(self.store.commit(added))) == []

        one.events += added.events
        one.mail = [letter for letter in one.mail if letter[0] not in taken]
        one.wait_for(wake)
        if wake.reason is not WakeReason.CLAIM and one.newest > known:
            one.wake_up(min(NOW, wake.due_at))
        for begun in children:
            self._has_begun(begun)

    @precondition(lambda self: any(one.is_claimed for one in self.model.values()))
    @rule(seed=SEED, status=FINAL, unknown=st.integers(0, 1))
    def end(self, seed: int, status: ExecutionStatus, unknown: int) -> None:
        """One that was opened again never completes."""
        _, one, claim = self.one_claimed(seed)
        status = ExecutionStatus.CANCELLED if one.epoch >= SECOND_LIFE else status
        known = max(0, one.newest - unknown)
        last = last_step(claim, len(one.events), status, parent=one.parent, mail=known)
        if one.newest > known:
            with pytest.raises(MailUnread):
                self.wait(self.store.commit(last))
            return
        self.wait(self.store.commit(last))
        one.events += last.events
        one.mail, one.newest = [], 0
        one.wait_for(None, status)
        parent = None if one.parent is None else self.model[one.parent.execution_id]
        if parent is not None and parent.wake is not None:
            parent.newest += 1
            if parent.wake.reason is WakeReason.CHILDREN:
                parent.wake_up(NOW)

    @precondition(lambda self: any(one.is_claimed for one in self.model.values()))
    @rule(seed=SEED, wake=WAKES)
    def set_aside(self, seed: int, wake: Wake) -> None:
        _, one, claim = self.one_claimed(seed)
        self.wait(self.store.set_aside(claim, wake))
        one.wait_for(wake)

    @precondition(lambda self: any(one.held for one in self.model.values()))
    @rule(seed=SEED, last_seq=st.integers(0, 30))
    def write_late(self, seed: int, last_seq: int) -> None:
        """Whoever does not hold the claim, or does not know the last event, is refused."""
        one = random.Random(seed).choice([one for one in self.model.values() if one.held])
        claim = random.Random(seed).choice(one.held)
        if one.is_claimed and claim is one.held[-1] and last_seq == len(one.events):
            return
        for late in (step(claim, last_seq), last_step(claim, last_seq, mail=99)):
            with pytest.raises(StaleClaim):
                self.wait(self.store.commit(late))

    # -- sending

    @precondition(lambda self: self.model)
    @rule(seed=SEED, kind=st.sampled_from(["signal", "cancel", "answer"]), name=NAMES, at=AFTER)
    def send(self, seed: int, kind: MailKind, name: str, at: datetime) -> None:
        to, one = self.any_one(seed)
        mail = mail_to(to, kind, name, after=(at - NOW).total_seconds())
        if one.wake is None:
            with pytest.raises(ExecutionOver):
                self.wait(self.store.send(mail))
        elif kind == "answer" and not one.is_asked(name):
            with pytest.raises(ApprovalOver):
                self.wait(self.store.send(mail))
        else:
            self.wait(self.store.send(mail))
            self._receive(one, kind, name, at)

    def _receive(self, one: Modelled, kind: MailKind, name: str, at: datetime) -> bool:
        """Whether anything had to be sent."""
        assert one.wake is not None
        if kind == "cancel" and any(each == "cancel" for _, each, _ in one.mail):
            return False
        one.receive(kind, name)
        is_waited_for = kind == "answer" or (one.wake.reason, one.wake.detail) == (WakeReason.SIGNAL, name)
        if one.wake.reason not in (WakeReason.CLAIM, WakeReason.REPAIR) and (
            kind != "signal" or is_waited_for
        ):
            one.wake_up(min(at, one.wake.due_at))
        return True

    @precondition(lambda self: any(one.is_claimed and one.children for one in self.model.values()))
    @rule(seed=SEED, kind=st.sampled_from(["cancel", "compensate", "compensate"]))
    def say(self, seed: int, kind: str) -> None:
        """A parent has a word for its children."""
        parents = [(name, one) for name, one in self.model.items() if one.is_claimed and one.children]
        _, one = random.Random(seed).choice(parents)
        word = ToChildren("cancel" if kind == "cancel" else "compensate", 1, 1)
        said = msgspec.structs.replace(
            step(one.held[-1], len(one.events)), mail=one.newest, to_children=[word]
        )

        told = self.wait(self.store.commit(said))

        one.events += said.events
        one.wait_for(said.wake)
        children = [(name, self.model[name]) for name in one.children]
        if kind == "cancel":
            is_open = [(name, child) for name, child in children if child.wake is not None]
            heard = [
                name for name, child in is_open if self._receive(child, "cancel", "its parent is to end", NOW)
            ]
        else:
            heard = [name for name, child in children if child.status is ExecutionStatus.COMPLETED]
            for name in heard:
                child = self.model[name]
                child.wait_for(due())
                child.epoch = SECOND_LIFE
                child.receive("compensate", "")
        assert sorted(told) == sorted(heard)

    # -- reading and claiming

    @precondition(lambda self: any(one.is_claimed for one in self.model.values()))
    @rule(seed=SEED)
    def read_again(self, seed: int) -> None:
        _, one, claim = self.one_claimed(seed)

        self._is_as_claimed(self.wait(self.store.read_again(claim)), one)

    @rule(limit=st.integers(1, 4), now=AFTER)
    def claim_due(self, limit: int, now: datetime) -> None:
        due_at = {name: wake.due_at for name, wake in self._timed() if wake.due_at <= now}
        assert self.store.agenda(now).due == len(due_at)

        taken = self.wait(self.store.claim_due(now, limit))

        order = [due_at[each.claim.execution_id] for each in taken]
        assert order == sorted(due_at.values())[:limit]
        for each in taken:
            one = self.model[each.claim.execution_id]
            one.epoch += 1
            one.held.append(each.claim)
            assert one.wake is not None
            one.wait_for(Wake(WakeReason.CLAIM, now, one.wake.detail))
            self._is_as_claimed(each, one)

    def _is_as_claimed(self, found: Claimed, one: Modelled) -> None:
        assert (found.claim.epoch, found.last_seq) == (one.epoch, len(one.events))
        assert list(map(decode_event, found.history)) == one.events
        assert [(mail.number, mail.kind, mail.name) for mail in found.mail] == one.mail
        assert found.newest_mail == one.newest

    def _timed(self) -> Iterator[tuple[str, Wake]]:
        for name, one in self.model.items():
            if one.wake is not None and one.wake.reason in TIMED:
                yield name, one.wake

    @rule()
    def open_again(self) -> None:
        self.wait(self.store.stop())
        self.store = self.make()
        self.wait(self.store.open(NOW, self.faults.append))
        for one in self.model.values():
            if one.wake is not None and one.wake.reason in (WakeReason.CLAIM, WakeReason.CODE):
                waited_for = one.wake.detail if one.is_claimed else ""
                one.wait_for(Wake(WakeReason.DUE, NOW, waited_for))

    @invariant()
    def is_as_modelled(self) -> None:
        assert {violation.code for violation in self.store.violations()} <= {"children.none", "slot.waiting"}
        listed = {one.execution_id: one.status for one in self.store.executions(limit=1_000)}
        assert listed == {execution_id: one.status for execution_id, one in self.model.items()}
        assert list(listed) == sorted(listed, reverse=True)
        assert self.store.open_executions() == sum(one.wake is not None for one in self.model.values())
        claims = {(claim.execution_id, claim.epoch) for claim in self.store.claims()}
        assert claims == {(name, one.epoch) for name, one in self.model.items() if one.is_claimed}
        assert self.store.agenda(NOW).next_at == min((wake.due_at for _, wake in self._timed()), default=None)
        for execution_id, one in self.model.items():
            assert list(self.store.history(execution_id)) == one.events
            view = self.store.describe(execution_id)
            assert (view.status, view.last_seq) == (one.status, len(one.events))
            if not one.is_claimed:
                assert view.wake == one.wake

    @invariant()
    def families_are_as_modelled(self) -> None:
        for execution_id, one in self.model.items():
            if one.children:
                ends = [self.model[child] for child in one.children]
                told = [child.status.value if child.wake is None else None for child in ends]
                assert [each.status for each in self.store.children(execution_id)] == told
                look = self.wait(self.store.look_at_children(execution_id, 1, 1, with_ends=True))
                assert (look.started, look.open) == (len(told), told.count(None))
                assert look.unsuccessful == told.count("failed") + told.count("cancelled")
                assert look.ends is not None
                assert [end.status.value for end in look.ends] == [status for status in told if status]

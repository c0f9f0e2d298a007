"""Any schedule of writers, late writers and restarts, beside a model that is a dictionary."""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
from abc import abstractmethod
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flow_manager.core.events import Event, decode_event
from flow_manager.core.states import STATUS_OF, ExecutionStatus, Wake, WakeReason
from flow_manager.errors import StaleClaim
from flow_manager.ports.store import Claim, Store
from tests.support.executions import NOW, last_step, new_execution, step

Answer = TypeVar("Answer")

AFTER = st.integers(-50, 50).map(lambda seconds: NOW + timedelta(seconds=seconds))
WAKES = st.builds(Wake, st.sampled_from(WakeReason), AFTER, st.sampled_from(["", "a.task"]))
FINAL = st.sampled_from([ExecutionStatus.COMPLETED, ExecutionStatus.FAILED])
SEED = st.integers(0, 1 << 16)


@dataclass
class Modelled:
    """An execution as it should be: `held` are all claims to it that there ever were."""

    events: list[Event]
    wake: Wake | None
    status: ExecutionStatus
    epoch: int = 1
    held: list[Claim] = field(default_factory=list)

    @property
    def is_claimed(self) -> bool:
        return self.wake is not None and self.wake.reason is WakeReason.CLAIM


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

    def one_claimed(self, seed: int) -> tuple[Modelled, Claim]:
        one = random.Random(seed).choice([each for each in self.model.values() if each.is_claimed])
        return one, one.held[-1]

    @rule(wake=WAKES)
    def start(self, wake: Wake) -> None:
        new = new_execution(wake)
        claim = self.wait(self.store.start(new))
        self.model[new.execution_id] = Modelled(list(new.events), wake, STATUS_OF[wake.reason], held=[claim])

    @precondition(lambda self: any(one.is_claimed for one in self.model.values()))
    @rule(seed=SEED, wake=WAKES, adds_events=st.booleans())
    def commit(self, seed: int, wake: Wake, adds_events: bool) -> None:
        one, claim = self.one_claimed(seed)
        added = step(claim, len(one.events), None if adds_events else [], wake)
        self.wait(self.store.commit(added))
        one.events += added.events
        one.wake, one.status = wake, STATUS_OF[wake.reason]

    @precondition(lambda self: any(one.is_claimed for one in self.model.values()))
    @rule(seed=SEED, status=FINAL)
    def end(self, seed: int, status: ExecutionStatus) -> None:
        one, claim = self.one_claimed(seed)
        last = last_step(claim, len(one.events), status)
        self.wait(self.store.commit(last))
        one.events += last.events
        one.wake, one.status = None, status

    @precondition(lambda self: any(one.is_claimed for one in self.model.values()))
    @rule(seed=SEED, wake=WAKES)
    def set_aside(self, seed: int, wake: Wake) -> None:
        one, claim = self.one_claimed(seed)
        self.wait(self.store.set_aside(claim, wake))
        one.wake, one.status = wake, STATUS_OF[wake.reason]

    @precondition(lambda self: self.model)
    @rule(seed=SEED, last_seq=st.integers(0, 30))
    def write_late(self, seed: int, last_seq: int) -> None:
        """Whoever does not hold the claim, or does not know the last event, is refused."""
        one = random.Random(seed).choice(list(self.model.values()))
        claim = random.Random(seed).choice(one.held)
        if one.is_claimed and claim is one.held[-1] and last_seq == len(one.events):
            return
        for late in (step(claim, last_seq), last_step(claim, last_seq)):
            with pytest.raises(StaleClaim):
                self.wait(self.store.commit(late))

    @rule(limit=st.integers(1, 4), now=AFTER)
    def claim_due(self, limit: int, now: datetime) -> None:
        due_at = {
            execution_id: one.wake.due_at
            for execution_id, one in self.model.items()
            if one.wake is not None and one.wake.reason is WakeReason.DUE and one.wake.due_at <= now
        }
        assert self.store.agenda(now).due == len(due_at)

        taken = self.wait(self.store.claim_due(now, limit))

        order = [due_at[each.claim.execution_id] for each in taken]
        assert order == sorted(due_at.values())[:limit]
        for each in taken:
            one = self.model[each.claim.execution_id]
            assert (each.claim.epoch, each.last_seq) == (one.epoch + 1, len(one.events))
            assert list(map(decode_event, each.history)) == one.events
            one.epoch += 1
            one.held.append(each.claim)
            one.wake, one.status = Wake(WakeReason.CLAIM, now), ExecutionStatus.RUNNING

    @rule()
    def open_again(self) -> None:
        self.wait(self.store.stop())
        self.store = self.make()
        self.wait(self.store.open(NOW, self.faults.append))
        for one in self.model.values():
            if one.wake is not None and one.wake.reason in (WakeReason.CLAIM, WakeReason.CODE):
                one.wake, one.status = Wake(WakeReason.DUE, NOW), ExecutionStatus.WAITING

    @invariant()
    def is_as_modelled(self) -> None:
        assert list(self.store.violations()) == []
        listed = {one.execution_id: one.status for one in self.store.executions(limit=1_000)}
        assert listed == {execution_id: one.status for execution_id, one in self.model.items()}
        assert list(listed) == sorted(listed, reverse=True)
        assert self.store.open_executions() == sum(one.wake is not None for one in self.model.values())
        claims = {(claim.execution_id, claim.epoch) for claim in self.store.claims()}
        assert claims == {(name, one.epoch) for name, one in self.model.items() if one.is_claimed}
        waits = [
            one.wake.due_at for one in self.model.values() if one.wake and one.wake.reason is WakeReason.DUE
        ]
        assert self.store.agenda(NOW).next_at == min(waits, default=None)
        for execution_id, one in self.model.items():
            assert list(self.store.history(execution_id)) == one.events
            view = self.store.describe(execution_id)
            assert (view.status, view.last_seq) == (one.status, len(one.events))
            if not one.is_claimed:
                assert view.wake == one.wake

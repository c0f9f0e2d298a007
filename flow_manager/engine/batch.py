"""Several executions of one flow that are started together, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from uuid_utils import uuid7

from flow_manager.core.decision import Park, Plan
from flow_manager.core.definition import Flow
from flow_manager.core.events import Event
from flow_manager.core.states import Wake, WakeReason
from flow_manager.core.view import View
from flow_manager.core.webhooks import Webhooks
from flow_manager.engine.inputs import accepted_input
from flow_manager.engine.poller import Poller
from flow_manager.engine.recording import new_execution_of, wake_of
from flow_manager.engine.terms import asked_of
from flow_manager.errors import FlowManagerError, InvalidInput, StartedBefore, StoreFull
from flow_manager.ports.starting import Accepted, StartRequest
from flow_manager.ports.store import Claim, NewExecution, Store


class Surroundings(Protocol):
    """What a batch needs of the engine around it."""

    store: Store
    poller: Poller

    def refusal(self) -> FlowManagerError | None: ...

    def recorded(self, view: View, events: Sequence[Event], wake: Wake | None) -> None: ...

    def store_was_full(self) -> None: ...


class Batch:
    """Its executions are due at once, and taken up as there are places."""

    def __init__(self, flow: Flow, requests: Sequence[StartRequest], now: datetime, most_input: int) -> None:
        self._flow = flow
        self._now = now
        self._most_input = most_input
        self._begun: list[tuple[View, NewExecution] | FlowManagerError] = [
            self._begin(each) for each in requests
        ]

    def _begin(self, request: StartRequest) -> tuple[View, NewExecution] | FlowManagerError:
        flow, now = self._flow, self._now
        try:
            given = accepted_input(flow, request.input, self._most_input)
            asked = asked_of(flow, given, request.options, now)
        except InvalidInput as refusal:
            return refusal
        view, plan = View(str(uuid7())), Plan()
        plan.events.append(asked.beginning(now, flow, given, {**flow.labels, **request.labels}))
        view.apply(plan.events[0])
        action = asked.later(now) or Park(Wake(WakeReason.DUE, now))
        new = new_execution_of(flow, view, plan, wake_of(action, now), Webhooks(), asked.terms)
        return view, new

    async def start(self, around: Surroundings) -> Sequence[Accepted | FlowManagerError]:
        """Call on the loop of the engine. Raises what `Backend.execute` raises."""
        refusal = around.refusal()
        if refusal is not None:
            raise refusal
        news = [each[1] for each in self._begun if not isinstance(each, FlowManagerError)]
        try:
            answers = iter(await around.store.start_all(news))
        except StoreFull:
            around.store_was_full()
            raise
        around.poller.nudge()
        return [
            each if isinstance(each, FlowManagerError) else _told(around, *each, next(answers))
            for each in self._begun
        ]


def _told(
    around: Surroundings, view: View, new: NewExecution, answer: Claim | FlowManagerError
) -> Accepted | FlowManagerError:
    if isinstance(answer, Claim):
        around.recorded(view, new.events, new.wake)
        return Accepted(new.execution_id, is_new=True)
    if type(answer) is StartedBefore:
        return Accepted(answer.execution_id, is_new=False)
    return answer

"""Decisions as values: what to record, what to do then, and what a decision may know."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from flow_manager.core.children import Children, ChildStart, ToChildren
from flow_manager.core.definition import Task
from flow_manager.core.events import TAKING_UP, Event
from flow_manager.core.mail import Mail
from flow_manager.core.states import ExecutionStatus, Wake

NOTHING: Final[Mapping[str, Any]] = {}


class RunAttempt(msgspec.Struct, frozen=True, gc=False):
    """Run the body of `task` with this input; its start is the last event of the decision.
    `undoes` is the run that a compensation undoes."""

    task: Task
    input: Mapping[str, Any] = NOTHING
    undoes: int = 0


class Park(msgspec.Struct, frozen=True, gc=False):
    """Let go of the execution until `wake`: it holds no thread and no memory meanwhile."""

    wake: Wake


class Finish(msgspec.Struct, frozen=True, gc=False):
    """The execution has ended."""

    status: ExecutionStatus


class DecideAgain(msgspec.Struct, frozen=True, gc=False):
    """The recorded events change the picture: fold them in and decide once more, in the same step."""


class LookAtChildren(msgspec.Struct, frozen=True, gc=False):
    """Look up what has become of the children of this attempt, and decide once more. How each of them
    ended only if that is asked for: there may be many, and much of it."""

    run: int
    attempt: int
    with_ends: bool = False


Action = RunAttempt | Park | Finish | DecideAgain | LookAtChildren


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Record `events`, in one transaction with the wake that `action` implies, the new `children`,
    and the word `to_children`; then act."""

    events: tuple[Event, ...]
    action: Action
    children: tuple[ChildStart, ...] = ()
    to_children: ToChildren | None = None


class Loss(msgspec.Struct, frozen=True):
    """How the worker of an open attempt was lost, and whether the task may be to blame.
    `of_service`: the whole service died, and not just a process of the task's own."""

    reason: str
    blame: bool = True
    of_service: bool = False


WORKER_DIED: Final = Loss("the worker died before the result was stored", of_service=True)


class Circumstances(msgspec.Struct, frozen=True, gc=False):
    """What a decision may know beyond the flow and its history.

    `chance` is a random number in [0, 1); `task_types` are the types whose code is at hand.
    Where no attempt may start (the service is stopping, or full), the execution is due again.
    `loss` tells of an attempt that is open though nobody runs it. `mail` was sent and not yet taken
    up, in order; `children` are those that were looked at; `secrets` are for the inputs of tasks.
    """

    now: datetime
    chance: float
    task_types: Container[str]
    may_start: bool = True
    loss: Loss = WORKER_DIED
    mail: Sequence[Mail] = ()
    children: Children | None = None
    secrets: Mapping[str, str] = NOTHING


class Plan:
    """The decisions of one step together: all that its transaction records."""

    __slots__ = ("children", "events", "to_children")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.children: list[ChildStart] = []
        self.to_children: list[ToChildren] = []

    def without_taken(self, given: Circumstances) -> Circumstances:
        """The same, but for the mail that these decisions have taken up."""
        taken = self.taken if given.mail else ()
        if not taken:
            return given
        return msgspec.structs.replace(given, mail=[mail for mail in given.mail if mail.number not in taken])

    @property
    def taken(self) -> tuple[int, ...]:
        """The numbers of the mail that these decisions have taken up."""
        return tuple(event.number for event in self.events if isinstance(event, TAKING_UP) and event.number)

    def add(self, decision: Decision) -> None:
        self.events += decision.events
        if decision.children:
            self.children += decision.children
        if decision.to_children is not None:
            self.to_children.append(decision.to_children)

"""Any flow, driven through any outcomes, mail, crashes, losses and releases, must come to its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple, get_args

from hypothesis import event as note
from hypothesis import given, settings
from hypothesis import strategies as st

from flow_manager.core.decide import MOST_LOSSES, decide, next_action
from flow_manager.core.decision import Circumstances, Finish, Park, Plan, RunAttempt
from flow_manager.core.definition import END, Condition, Flow, Outcome, RetryPolicy, Task
from flow_manager.core.events import (
    AttemptCancelled,
    AttemptEnded,
    AttemptLost,
    AttemptReleased,
    AttemptStarted,
    Event,
    ExecutionEnded,
    ExecutionEnding,
    ExecutionQuarantined,
    ExecutionStarted,
    RetryScheduled,
    Routed,
    SignalReceived,
    TaskSkipped,
    decode_event,
    encode_event,
)
from flow_manager.core.mail import Mail, MailKind
from flow_manager.core.results import TaskError
from flow_manager.core.states import ExecutionStatus, Wake, WakeReason
from flow_manager.core.view import View
from tests.support.expressions import constant, expression
from tests.support.flows import flow_of

Fate = Literal[
    "success", "failure", "timeout", "unknown", "final", "killed", "crash", "release", "full", "no code"
]
"""What comes next: an outcome of the attempt (`final` is a failure not to be retried), the end of its
worker, the end of the service with the result in hand, a stop, or a start that must wait."""

START: Final = datetime(2026, 1, 14, 10, 30, tzinfo=UTC)
LIMITS: Final = {"flow.timeout", "limit.task_runs", "execution.cancelled"}
"""Codes of ends that no route led to."""
NAMES: Final = ["a", "b", "c", "d", "e", "f"]
UNDOING: Final = ["undo_1", "undo_2"]
SIGNALS: Final = ["paid", "sent"]


class Letter(NamedTuple):
    """What is to be sent, so many moments after the one before."""

    after: int
    kind: MailKind
    name: str


durations = st.timedeltas(timedelta(milliseconds=1), timedelta(seconds=20))
policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 3),
    delay=durations,
    backoff=st.floats(1, 3),
    max_delay=durations,
    jitter=st.sampled_from(["full", "none"]),
    budget=st.none() | durations,
)


@st.composite
def tasks(draw: st.DrawFn, name: str) -> Task:
    """Most have a body; the others wait, or have their result at once."""
    task_type = draw(st.sampled_from([name, name, name, "wait", "signal", "transform"]))
    inputs: dict[str, st.SearchStrategy[dict[str, Any]]] = {
        "wait": st.builds(lambda seconds: {"for": seconds}, st.integers(1, 20)),
        "signal": st.builds(
            lambda signal, seconds: {"name": signal, "timeout": seconds},
            st.sampled_from(SIGNALS),
            st.integers(1, 20),
        ),
    }
    every = draw(st.sampled_from([None, None, 1, 2]))
    return Task(
        name,
        task_type,
        input=constant(draw(inputs.get(task_type, st.just({})))),
        retry=draw(policies),
        on_lost=draw(st.sampled_from(["retry", "unknown"])),
        optional=draw(st.booleans()),
        run_when=None if every is None else expression(lambda scope: scope["execution"]["task_runs"] % every),
        compensate_with=draw(st.sampled_from([None, *UNDOING])) if name in NAMES else None,
    )


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    names = NAMES[: draw(st.integers(2, 6))]
    targets = st.sampled_from([*names, END])
    outcomes = st.sampled_from(get_args(Outcome))
    conditions = draw(
        st.lists(
            st.builds(
                Condition, st.just("x"), st.sampled_from(names), st.just(""), outcomes, targets, targets
            ),
            max_size=12,
        )
    )
    if draw(st.booleans()):  # a way through all of them
        conditions += [Condition("y", source, "", "success", target) for source, target in pairwise(names)]
    timeout = draw(st.none() | st.timedeltas(timedelta(seconds=1), timedelta(seconds=60)))
    return flow_of(
        *(draw(tasks(name)) for name in [*names, *UNDOING]),
        conditions=conditions,
        timeout=timeout,
        max_task_runs=draw(st.integers(1, 12)),
    )


letters: st.SearchStrategy[list[Letter]] = st.lists(
    st.one_of(
        st.builds(Letter, st.integers(0, 9), st.just("signal"), st.sampled_from(SIGNALS)),
        st.builds(Letter, st.integers(0, 30), st.just("cancel"), st.just("")),
    ),
    max_size=6,
)


class Drive:
    """An execution with its store (the recorded lines and the mail) and an engine that may lose its
    memory. Letters come in at any moment: before a decision, between it and its commit, during an
    attempt, during a wait."""

    def __init__(
        self, flow: Flow, fates: Sequence[Fate] = (), letters: Sequence[Letter] = (), chance: float = 0.5
    ) -> None:
        self.flow = flow
        self.now = START
        self.stored = [encode_event(ExecutionStarted(START, flow.id))]
        self.mail: list[Mail] = []
        self.newest = 0
        self.view = self.refolded()
        self._fates = iter(fates)
        self._letters = list(letters)
        self._chance = chance
        self._noted: list[Event] = []

    @property
    def history(self) -> list[Event]:
        return [decode_event(line) for line in self.stored]

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody has asked for it, and it does not yet end."""
        return self.view.ending is None and any(mail.kind == "cancel" for mail in self.mail)

    def refolded(self) -> View:
        return View.fold("e1", self.history)

    def to_the_end(self, most_steps: int) -> None:
        """A quarantine that nobody cancels is one."""
        for _ in range(most_steps):
            action = self._step()
            if isinstance(action, RunAttempt):
                self._attempt(action.task)
            elif isinstance(action, Finish) or not self._wait(action.wake):
                return
        raise AssertionError(f"not at its end after {most_steps} steps: {self.stored}")

    def _step(self) -> RunAttempt | Park | Finish:
        """Decide and record, as the engine does; with the decision lost if a crash comes between, and
        taken back if it is an end that does not know all mail."""
        while True:
            fate, known = self._next_fate(), self.newest
            types = () if fate == "no code" else [*NAMES, *UNDOING]
            plan = Plan()
            plan.events += self._noted
            action = next_action(
                self.flow,
                self.view,
                plan,
                Circumstances(self.now, self._chance, types, fate != "full", mail=tuple(self.mail)),
            )
            self._deliver()
            if fate == "crash":
                self._noted = []
            is_refused = isinstance(action, Finish) and self.newest > known
            if fate == "crash" or is_refused:
                self.view = self.refolded()
                for event in self._noted:
                    self.view.apply(event)
            else:
                self._commit(plan)
                assert isinstance(action, RunAttempt | Park | Finish)
                return action

    def _commit(self, plan: Plan) -> None:
        self.stored += [encode_event(event) for event in plan.events]
        self.mail = [mail for mail in self.mail if mail.number not in plan.taken]
        self._noted = []
        assert self.view == self.refolded()
        assert self.view.last_seq == len(self.stored)

    def _attempt(self, task: Task) -> None:
        fate = self._next_fate()
        self.now += timedelta(seconds=1)
        self._deliver()
        run, attempt = self.view.run, self.view.attempt
        if fate == "release":
            self._note(AttemptReleased(self.now, task.name, run, attempt))
            plan = Plan()
            plan.events += self._noted
            self._commit(plan)
        elif fate != "killed" and not (self.is_cancelled and fate in ("timeout", "unknown")):
            self._note(_result(self.now, task.name, run, attempt, fate))
        if fate in ("crash", "release"):
            self._forget()

    def _wait(self, wake: Wake) -> bool:
        """Until it is due, or until something comes for it; False if nothing ever will."""
        known = self.newest
        self._deliver()
        has_come = any(
            mail.kind == "cancel" or (wake.reason, wake.detail) == (WakeReason.SIGNAL, mail.name)
            for mail in self.mail
            if mail.number > known
        )
        if wake.reason is WakeReason.QUARANTINE:
            self._deliver(everything=True)
            return self.is_cancelled
        if not has_come:
            self.now = max(self.now, wake.due_at)
        return True

    def _deliver(self, *, everything: bool = False) -> None:
        """One moment passes."""
        while self._letters and (everything or self._letters[0].after <= 0):
            letter = self._letters.pop(0)
            if letter.kind == "cancel" and any(mail.kind == "cancel" for mail in self.mail):
                continue
            self.newest += 1
            self.mail.append(Mail(self.newest, self.now, letter.kind, letter.name))
        if self._letters:
            self._letters[0] = self._letters[0]._replace(after=self._letters[0].after - 1)

    def _forget(self) -> None:
        self._noted = []
        self.view = self.refolded()

    def _next_fate(self) -> Fate:
        return next(self._fates, "success")

    def _note(self, event: Event) -> None:
        self._noted.append(event)
        self.view.apply(event)


def _result(now: datetime, task: str, run: int, attempt: int, fate: Fate) -> AttemptEnded:
    if fate in ("failure", "timeout", "unknown"):
        return AttemptEnded(now, task, run, attempt, fate, error=TaskError("task.failed", "no"))
    if fate == "final":
        error = TaskError("task.failed", "no use", retryable=False)
        return AttemptEnded(now, task, run, attempt, "failure", error=error)
    return AttemptEnded(now, task, run, attempt, data={"run": run})


fates: st.SearchStrategy[list[Fate]] = st.sampled_from(
    [list(get_args(Fate)), ["success", "killed", "crash"], ["failure", "timeout", "release"]]
).flatmap(lambda likely: st.lists(st.sampled_from(likely), min_size=15, max_size=60))
chances = st.floats(0, 1, exclude_max=True)


@settings(max_examples=300)
@given(flows(), fates, letters, chances)
def test_any_flow_comes_to_its_end(
    flow: Flow, fates: list[Fate], letters: list[Letter], chance: float
) -> None:
    most_attempts = 2 * flow.max_task_runs * (3 + MOST_LOSSES)
    drive = Drive(flow, fates, letters, chance)

    drive.to_the_end(most_steps=2 * most_attempts + len(fates) + len(letters) + 1)

    view, history = drive.view, drive.history
    note(view.status.value if view.error is None else view.error.code)
    note(f"undone: {len(view.compensated)}")
    assert_one_end(history)
    assert_attempts_are_in_order(flow, history)
    assert_every_start_has_its_reason(flow, history)
    assert_no_wait_is_early(history)
    assert_mail_is_taken_once_and_in_order(drive)
    assert_the_end_is_right(flow, history)
    assert_what_succeeded_was_undone_in_reverse(flow, history)
    assert_nothing_follows(drive)


@settings(max_examples=100)
@given(flows(), fates, letters, chances)
def test_from_any_point_of_a_history_there_is_a_way_on(
    flow: Flow, fates: list[Fate], letters: list[Letter], chance: float
) -> None:
    drive = Drive(flow, fates, letters, chance)
    drive.to_the_end(most_steps=1000)

    for number in range(1, len(drive.stored) + 1):
        cut = Drive(flow, chance=chance)
        cut.now, cut.stored = drive.now, drive.stored[:number]
        cut.view = cut.refolded()
        cut.to_the_end(most_steps=1000)
        assert cut.stored[:number] == drive.stored[:number]


@settings(max_examples=100)
@given(flows(), fates, letters, chances)
def test_wherever_an_execution_is_cancelled_it_ends_and_is_undone(
    flow: Flow, fates: list[Fate], letters: list[Letter], chance: float
) -> None:
    drive = Drive(flow, fates, letters, chance)
    drive.to_the_end(most_steps=1000)

    for number in range(1, len(drive.stored)):
        cut = Drive(flow, letters=[Letter(0, "cancel", "")], chance=chance)
        cut.now, cut.stored = drive.now, drive.stored[:number]
        cut.view = cut.refolded()
        was_ending = cut.view.ending is not None
        cut._deliver()
        cut.to_the_end(most_steps=1000)
        assert was_ending or cut.view.status is ExecutionStatus.CANCELLED or is_quarantined(cut.history)
        assert_what_succeeded_was_undone_in_reverse(flow, cut.history)


def is_quarantined(history: Sequence[Event]) -> bool:
    return isinstance(history[-1], ExecutionQuarantined)


def assert_one_end(history: Sequence[Event]) -> None:
    """A quarantine is one unless the execution was cancelled in it."""
    ends = [isinstance(event, ExecutionEnded) for event in history]
    assert ends == [False] * (len(history) - 1) + [not is_quarantined(history)]
    assert sum(isinstance(event, ExecutionEnding) for event in history) <= 1
    for before, event in pairwise(history):
        assert not isinstance(before, ExecutionQuarantined) or isinstance(event, ExecutionEnding)


def assert_attempts_are_in_order(flow: Flow, history: Sequence[Event]) -> None:
    """Each attempt begins, then ends once; the numbers of runs and attempts have no gaps."""
    last, open_attempt = (0, 0), False
    failures: Counter[int] = Counter()
    for event in history:
        if isinstance(event, TaskSkipped):
            assert not open_attempt
            assert event.run == last[0] + 1
            last = (event.run, 0)
        elif isinstance(event, AttemptStarted):
            assert not open_attempt
            run, attempt = last
            assert (event.run, event.attempt) in [(run + 1, 1), (run, attempt + 1)]
            last, open_attempt = (event.run, event.attempt), True
        elif isinstance(event, AttemptEnded | AttemptLost | AttemptReleased | AttemptCancelled):
            assert open_attempt
            assert (event.run, event.attempt) == last
            open_attempt = False
            if isinstance(event, AttemptReleased):
                last = (event.run, event.attempt - 1)
            elif isinstance(event, AttemptEnded) and event.outcome != "success":
                failures[event.run] += 1
                assert failures[event.run] <= flow.tasks[event.task].retry.max_attempts
    undoing = runs_that_undo(history).values()
    assert last[0] - len(set(undoing)) <= flow.max_task_runs


def assert_every_start_has_its_reason(flow: Flow, history: Sequence[Event]) -> None:
    """A body starts because a run begins, or a retry, a loss or a release came right before."""
    for before, event in pairwise(history):
        if isinstance(event, AttemptStarted):
            if isinstance(before, ExecutionStarted | Routed):
                assert (event.attempt, event.compensates) == (1, 0)
            elif isinstance(before, ExecutionEnding | AttemptCancelled | AttemptEnded):
                assert event.attempt == 1
                assert event.compensates
            elif isinstance(before, RetryScheduled):
                assert event.at >= before.due_at
                assert event.attempt == before.attempt
            else:
                assert isinstance(before, AttemptLost | AttemptReleased)
                assert event.attempt == before.attempt + isinstance(before, AttemptLost)
        if isinstance(event, AttemptLost):
            assert flow.tasks[event.task].on_lost == "retry"
        if isinstance(before, ExecutionEnding) and isinstance(event, AttemptCancelled):
            assert any(isinstance(each, AttemptStarted) and each.run == event.run for each in history)


def waits(history: Sequence[Event]) -> Iterator[tuple[AttemptStarted, list[Event]]]:
    """Each attempt that waits, with what follows it."""
    for number, event in enumerate(history):
        if isinstance(event, AttemptStarted) and event.wait is not None:
            yield event, list(history[number + 1 : number + 3])


def assert_no_wait_is_early(history: Sequence[Event]) -> None:
    for started, following in waits(history):
        wait, (end, *_) = started.wait, following
        assert wait is not None
        assert wait.until is not None
        if isinstance(end, AttemptEnded):
            assert end.at >= wait.until
            assert end.outcome == ("success" if wait.kind == "time" else "timeout")
        else:
            assert isinstance(end, SignalReceived | ExecutionEnding)


def assert_mail_is_taken_once_and_in_order(drive: Drive) -> None:
    history = drive.history
    received = [event for event in history if isinstance(event, SignalReceived)]
    cancelled = [event.number for event in history if isinstance(event, ExecutionEnding) and event.number]
    for name in SIGNALS:
        numbers = [event.number for event in received if event.name == name]
        assert numbers == sorted(set(numbers))
        left = [mail.number for mail in drive.mail if mail.name == name]
        assert all(number > max(numbers, default=0) for number in left)
    taken = [*(event.number for event in received), *cancelled]
    assert sorted([*taken, *(mail.number for mail in drive.mail)]) == list(range(1, drive.newest + 1))
    assert not drive.is_cancelled
    for started, (event, *_) in waits(history):
        if isinstance(event, SignalReceived):
            assert started.wait is not None
            assert event.name == started.wait.signal


def assert_the_end_is_right(flow: Flow, history: Sequence[Event]) -> None:
    """Rule 5 of routing, told from the history alone, unless a limit or somebody ended the execution."""
    end = history[-1]
    if isinstance(end, ExecutionQuarantined):
        losses = [event for event in history if isinstance(event, AttemptLost)][-MOST_LOSSES:]
        assert {(event.task, event.run) for event in losses} == {(end.task, losses[0].run)}
        return
    assert isinstance(end, ExecutionEnded)
    number = next(
        (number for number, event in enumerate(history) if isinstance(event, ExecutionEnding)),
        len(history) - 1,
    )
    decided = history[number]
    assert isinstance(decided, ExecutionEnding | ExecutionEnded)
    assert (end.status, end.output) == (decided.status, decided.output)
    assert (end.error and end.error.code) == (decided.error and decided.error.code)
    if decided.error is None or decided.error.code not in LIMITS:
        routed = history[number - 1]
        assert isinstance(routed, Routed)
        result = next(
            event for event in reversed(history[:number]) if isinstance(event, AttemptEnded | TaskSkipped)
        )
        outcome = "success" if isinstance(result, TaskSkipped) else result.outcome
        is_failure = outcome != "success" and not flow.tasks[result.task].optional
        fails = is_failure and not routed.matched
        assert (routed.to, routed.outcome) == (END, outcome)
        assert decided.status == (ExecutionStatus.FAILED if fails else ExecutionStatus.COMPLETED)
        assert decided.error == (result.error if fails and isinstance(result, AttemptEnded) else None)


def runs_that_undo(history: Sequence[Event]) -> dict[int, int]:
    """The run that was undone, by the run that undid it."""
    started = [event for event in history if isinstance(event, AttemptStarted) and event.compensates]
    return {event.run: event.compensates for event in started}


def assert_what_succeeded_was_undone_in_reverse(flow: Flow, history: Sequence[Event]) -> None:
    undone = runs_that_undo(history)
    successes = [
        event.run
        for event in history
        if isinstance(event, AttemptEnded)
        and event.outcome == "success"
        and event.run not in undone
        and flow.tasks[event.task].compensate_with is not None
    ]
    in_reverse, end = successes[::-1], history[-1]
    if isinstance(end, ExecutionQuarantined):
        assert list(undone.values()) == in_reverse[: len(undone)]
    elif isinstance(end, ExecutionEnded):
        is_bad = end.status is not ExecutionStatus.COMPLETED
        assert list(undone.values()) == (in_reverse if is_bad else [])


def assert_nothing_follows(drive: Drive) -> None:
    later = Circumstances(drive.now + timedelta(days=1), 0.5, NAMES, mail=tuple(drive.mail))

    assert decide(drive.flow, drive.view, later).events == ()

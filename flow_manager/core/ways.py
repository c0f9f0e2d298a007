"""The ways of a flow: where each task can lead, and with which outcomes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple, get_args

from flow_manager.core.conditions import ConditionEvaluator
from flow_manager.core.definition import END, Condition, Flow, Outcome, Task
from flow_manager.core.steps import LAST_STEPS

OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)

_evaluator = ConditionEvaluator()


class Way(NamedTuple):
    """A way out of a task: the outcomes that can take it, and the condition that shows it. One whose
    condition did not match is the way of those outcomes that no condition of the task matched."""

    source: str
    target: str
    condition: Condition | None
    outcomes: frozenset[Outcome]
    is_match: bool

    @property
    def can_complete(self) -> bool:
        """Whether an execution that ends this way can have completed."""
        return self.is_match or "success" in self.outcomes


def ways_out(flow: Flow, task: Task) -> Iterator[Way]:
    """The first condition that matches chooses, so each one only sees the outcomes left to it; one that
    has a `when` may leave its own outcomes to the next."""
    conditions = flow.conditions_from.get(task.name, ())
    left: set[Outcome] = {"success"} if task.optional else set(OUTCOMES)
    if task.type in LAST_STEPS:
        end: Outcome = "success" if task.type == "succeed" else "failure"
        yield Way(task.name, END, None, frozenset({end}), is_match=False)
        return
    if not conditions:
        yield Way(task.name, END, None, frozenset(left), is_match=False)
        return
    for condition in conditions:
        matched = frozenset(outcome for outcome in left if _evaluator.expects(condition, outcome))
        if matched:
            yield Way(task.name, condition.target_task_success, condition, matched, is_match=True)
        if condition.when is None:
            left -= matched
    if left:
        last = conditions[-1]
        yield Way(task.name, last.target_task_failure, last, frozenset(left), is_match=False)

"""Routing: which task comes next. The rules are those of `docs/reference/flow-document.md`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from flow_manager.core.cel.allowance import STEP, Allowance
from flow_manager.core.definition import END, Condition, Outcome
from flow_manager.core.expressions import ExpressionError


class Route(msgspec.Struct, frozen=True, gc=False):
    """A routing decision. `condition` is None if the task has no conditions."""

    to: str
    condition: str | None
    matched: bool


class ConditionFailed(Exception):
    """The `when` of a condition could not be evaluated."""

    def __init__(self, condition: str, error: ExpressionError) -> None:
        super().__init__(f"condition {condition!r}: {error}")
        self.condition = condition
        self.error = error


DEAD_END = Route(to=END, condition=None, matched=False)

Scope = Callable[[], Mapping[str, Any]]
"""Makes what expressions can see, for those that have one."""


class ConditionEvaluator:
    """Reads the conditions of one source task, in the order written, as an if / else-if chain."""

    def route(self, conditions: Sequence[Condition], outcome: Outcome, scope: Scope) -> Route:
        """The first condition that matches routes to its success target; if none does,
        the last one routes to its failure target; no conditions at all end the flow.
        Raises `ConditionFailed`: an expression that has no value never routes anywhere."""
        allowance = Allowance(STEP)
        for condition in conditions:
            if self._matches(condition, outcome, scope, allowance):
                return Route(condition.target_task_success, condition.name, matched=True)
        if not conditions:
            return DEAD_END
        last = conditions[-1]
        return Route(last.target_task_failure, last.name, matched=False)

    def _matches(self, condition: Condition, outcome: Outcome, scope: Scope, allowance: Allowance) -> bool:
        """Whether the outcome is the one that is meant, and `when`, if there is one, is true."""
        if not self.expects(condition, outcome):
            return False
        if condition.when is None:
            return True
        try:
            return condition.when.evaluate_condition(scope(), allowance)
        except ExpressionError as error:
            raise ConditionFailed(condition.name, error) from error

    def expects(self, condition: Condition, outcome: Outcome) -> bool:
        """`failure` stands for every outcome but success; the other names only for themselves."""
        if condition.outcome == "failure":
            return outcome != "success"
        return condition.outcome == outcome

"""Routing: which task comes next. The rules are those of `docs/reference/flow-document.md`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from flow_manager.core.definition import END, Condition, Outcome


class Route(msgspec.Struct, frozen=True, gc=False):
    """A routing decision. `condition` is None if the task has no conditions."""

    to: str
    condition: str | None
    matched: bool


DEAD_END = Route(to=END, condition=None, matched=False)


class ConditionEvaluator:
    """Reads the conditions of one source task, in the order written, as an if / else-if chain."""

    def route(self, conditions: Sequence[Condition], outcome: Outcome) -> Route:
        """The first condition that matches routes to its success target; if none does,
        the last one routes to its failure target; no conditions at all end the flow."""
        for condition in conditions:
            if self.matches(condition, outcome):
                return Route(condition.target_task_success, condition.name, matched=True)
        if not conditions:
            return DEAD_END
        last = conditions[-1]
        return Route(last.target_task_failure, last.name, matched=False)

    def matches(self, condition: Condition, outcome: Outcome) -> bool:
        """`failure` stands for every outcome but success; the other names only for themselves."""
        if condition.outcome == "failure":
            return outcome != "success"
        return condition.outcome == outcome

"""Expressions: CEL, compiled once and evaluated often.

The language, with all that is offered and bounded here, is in `docs/reference/expressions.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, Final

from flow_manager.core.cel.answers import LIMIT, Unfit, answer_of
from flow_manager.core.cel.effort import effort_of
from flow_manager.core.cel.evaluation import Calculation, Evaluation, Lookup
from flow_manager.core.cel.library import Exhausted, Failure, check_trial, kind_of_name
from flow_manager.core.cel.text import ExpressionFault, tokens_of
from flow_manager.core.cel.tree import Path, tree_of
from flow_manager.core.cel.uses import Uses, uses_of
from flow_manager.core.cel.words import wording_of_failure

__all__ = ["NAMES", "Expression", "ExpressionError", "ExpressionFault", "Place", "compile_expression"]


class Place(Enum):
    """Where in a flow an expression stands."""

    CONDITION = "the 'when' of a condition"
    RUN_WHEN = "the 'run_when' of a task"
    TASK_INPUT = "the 'input' of a task"
    STEP_INPUT = "the 'input' of a task without a body"
    OUTPUT = "the 'output' of a flow"


NAMES: Final[Mapping[Place, tuple[str, ...]]] = MappingProxyType(
    {
        Place.CONDITION: ("input", "result", "outcome", "results", "execution", "flow", "now"),
        Place.RUN_WHEN: ("input", "results", "execution", "flow", "now"),
        Place.TASK_INPUT: ("input", "results", "execution", "flow", "now", "secrets"),
        Place.STEP_INPUT: ("input", "results", "execution", "flow", "now"),
        Place.OUTPUT: ("input", "results", "execution", "flow", "now"),
    }
)
"""The names in scope."""

_CONDITIONS: Final = frozenset({Place.CONDITION, Place.RUN_WHEN})
_FAILED: Final = "expression.failed"
_TOO_MUCH: Final = "it is too much work: lists are too long, or texts too large, for what is done with them"


class ExpressionError(Exception):
    """An expression that has no value. The message is `detail`, a sentence of at most 500 characters.

    `code` is `expression.failed`, or `expression.limit` beyond a bound. `path` is the place within a
    mapping, and empty for an expression that stands alone.
    """

    def __init__(self, code: str, detail: str, expression: str, path: tuple[str | int, ...] = ()) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.expression = expression
        self.path = path


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """A compiled expression: immutable, and safe to evaluate from many threads.

    `results_used` are the tasks whose results it reads, `results_guarded` those of them that it tests
    with `has` or `in`; `results_unknown` says that it may read any.
    """

    source: str
    results_used: frozenset[str]
    results_guarded: frozenset[str]
    results_unknown: bool
    secrets_used: frozenset[str]
    _uses: Uses
    _evaluation: Evaluation

    def evaluate(self, scope: Mapping[str, Any]) -> Any:
        """The value, as plain JSON. Raises `ExpressionError`.

        `scope` holds JSON values by the names of `NAMES`, and aware datetimes as `now` and
        `execution.started_at`. Only what the expression reads is looked at; nothing is changed.
        """
        _, value = self._answer(scope)
        try:
            return answer_of(value, in_order=self._evaluation.keeps_order)
        except Unfit as unfit:
            raise ExpressionError(unfit.code, unfit.detail, self.source) from unfit

    def evaluate_condition(self, scope: Mapping[str, Any]) -> bool:
        """The value of a condition. Raises `ExpressionError`, also if it is no bool."""
        kind, value = self._answer(scope)
        if kind != "bool":
            raise ExpressionError(_FAILED, _no_condition(kind), self.source)
        return bool(value)

    def _answer(self, scope: Mapping[str, Any]) -> tuple[str, Any]:
        try:
            return self._evaluation.of(scope)
        except Exhausted as exhausted:
            raise ExpressionError(LIMIT, _TOO_MUCH, self.source) from exhausted
        except Failure as failure:
            is_secret = bool(self.secrets_used)
            detail = wording_of_failure(str(failure), self._uses.paths, is_secret=is_secret)
            raise ExpressionError(_FAILED, detail, self.source) from failure


def compile_expression(source: str, place: Place) -> Expression:
    """Raises `ExpressionFault`: what is wrong first, with its offset."""
    tree = tree_of(source, tokens_of(source))
    uses = uses_of(source, tree, NAMES[place])
    evaluation: Evaluation
    if isinstance(tree, Path) and uses.paths and not (tree.steps and kind_of_name(tree.root) != "dyn"):
        evaluation = Lookup((tree.root, *tree.steps))
    else:
        evaluation = Calculation(source, uses, effort_of(source, tree))
    if place in _CONDITIONS and evaluation.kind not in ("bool", "dyn"):
        raise ExpressionFault("wrong-type", _no_condition(evaluation.kind), tree.start)
    for trial, offset in uses.trials:
        check_trial(trial, offset)
    return Expression(
        source=source,
        results_used=uses.results,
        results_guarded=uses.results_guarded,
        results_unknown=uses.results_unknown,
        secrets_used=uses.secrets,
        _uses=uses,
        _evaluation=evaluation,
    )


def _no_condition(kind: str) -> str:
    return f"a condition gives true or false, and this gives {kind}"

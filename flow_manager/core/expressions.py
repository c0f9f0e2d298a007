"""Expressions: CEL, compiled once and evaluated often.

The language, with all that is offered and bounded here, is in `docs/reference/expressions.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from math import inf
from types import MappingProxyType
from typing import Any, Final

from flow_manager.core.cel.allowance import (
    Allowance,
    work_of_compiling,
    work_of_fault,
    work_of_reading,
)
from flow_manager.core.cel.answers import LIMIT, Unfit, answer_of
from flow_manager.core.cel.effort import effort_of
from flow_manager.core.cel.evaluation import Calculation, Evaluation, Lookup
from flow_manager.core.cel.library import Exhausted, Failure, check_trial, kind_of_name
from flow_manager.core.cel.text import ExpressionFault, Token, tokens_of
from flow_manager.core.cel.tree import Path, tree_of
from flow_manager.core.cel.uses import Uses, uses_of
from flow_manager.core.cel.words import wording_of_failure

__all__ = [
    "NAMES",
    "Expression",
    "ExpressionError",
    "ExpressionFault",
    "Place",
    "TooManyExpressions",
    "check_allowance",
    "compile_expression",
]


class Place(Enum):
    """Where in a flow an expression stands."""

    CONDITION = "the 'when' of a condition"
    RUN_WHEN = "the 'run_when' of a task"
    TASK_INPUT = "the 'input' of a task"
    STEP_INPUT = "the 'input' of a task without a body"
    OUTPUT = "the 'output' of a flow"
    CONCURRENCY_KEY = "the 'key' of 'concurrency'"


NAMES: Final[Mapping[Place, tuple[str, ...]]] = MappingProxyType(
    {
        Place.CONDITION: ("input", "result", "outcome", "results", "execution", "flow", "now"),
        Place.RUN_WHEN: ("input", "results", "execution", "flow", "now"),
        Place.TASK_INPUT: ("input", "results", "execution", "flow", "now", "secrets"),
        Place.STEP_INPUT: ("input", "results", "execution", "flow", "now"),
        Place.OUTPUT: ("input", "results", "execution", "flow", "now"),
        Place.CONCURRENCY_KEY: ("input",),
    }
)
"""The names in scope."""

_CONDITIONS: Final = frozenset({Place.CONDITION, Place.RUN_WHEN})
_FAILED: Final = "expression.failed"
_TOO_MUCH_TOGETHER: Final = (
    "the expressions before it in the same mapping, or in conditions of the same task, were all the work "
    "that is done in one step"
)
_TOO_MUCH: Final = "it is too much work: lists are too long, or texts too large, for what is done with them"


class TooManyExpressions(ExpressionFault):
    """An expression that is not looked at: the others of its document were all the work that is done."""


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

    def evaluate(self, scope: Mapping[str, Any], allowance: Allowance | None = None) -> Any:
        """The value, as plain JSON. Raises `ExpressionError`.

        `scope` holds JSON values by the names of `NAMES`, and aware datetimes as `now` and
        `execution.started_at`. Only what the expression reads is looked at; nothing is changed.
        `allowance` is for all expressions of a step together.
        """
        _, value = self._answer(scope, allowance)
        try:
            return answer_of(value, in_order=self._evaluation.keeps_order)
        except Unfit as unfit:
            raise ExpressionError(unfit.code, unfit.detail, self.source) from unfit

    def evaluate_condition(self, scope: Mapping[str, Any], allowance: Allowance | None = None) -> bool:
        """The value of a condition. Raises `ExpressionError`, also if it is no bool."""
        kind, value = self._answer(scope, allowance)
        if kind != "bool":
            raise ExpressionError(_FAILED, _no_condition(kind), self.source)
        return bool(value)

    def _answer(self, scope: Mapping[str, Any], allowance: Allowance | None) -> tuple[str, Any]:
        if allowance is not None and allowance.left < 0:
            raise ExpressionError(LIMIT, _TOO_MUCH_TOGETHER, self.source)
        try:
            return self._evaluation.of(scope, allowance)
        except Exhausted as exhausted:
            raise ExpressionError(LIMIT, _TOO_MUCH, self.source) from exhausted
        except Failure as failure:
            is_secret = bool(self.secrets_used)
            detail = wording_of_failure(str(failure), self._uses.paths, is_secret=is_secret)
            raise ExpressionError(_FAILED, detail, self.source) from failure


def check_allowance(allowance: Allowance) -> None:
    """Raises `TooManyExpressions` if it is spent."""
    if allowance.left < 0:
        detail = "the expressions of this document are too much work together, and from here on not looked at"
        hint = "expressions of the same text count once; split the flow, or let tasks do the work"
        raise TooManyExpressions("too-many-expressions", detail, 0, hint)


def compile_expression(source: str, place: Place, allowance: Allowance | None = None) -> Expression:
    """Raises `ExpressionFault`: what is wrong first, with its offset. `allowance` is for all expressions
    of a document together."""
    allowance = Allowance(inf) if allowance is None else allowance
    tokens = _tokens_of(source, allowance)
    tree = tree_of(source, tokens)
    uses = uses_of(source, tree, NAMES[place])
    evaluation: Evaluation
    if isinstance(tree, Path) and uses.paths and not (tree.steps and kind_of_name(tree.root) != "dyn"):
        evaluation = Lookup((tree.root, *tree.steps))
    else:
        allowance.left -= work_of_compiling(tokens)
        evaluation = Calculation(source, uses, effort_of(source, tree))
    if place in _CONDITIONS and evaluation.kind not in ("bool", "dyn"):
        raise ExpressionFault("wrong-type", _no_condition(evaluation.kind), tree.start)
    for trial in uses.trials:
        check_allowance(allowance)
        allowance.left -= trial.work
        check_trial(trial.text, trial.offset)
    return Expression(
        source=source,
        results_used=uses.results,
        results_guarded=uses.results_guarded,
        results_unknown=uses.results_unknown,
        secrets_used=uses.secrets,
        _uses=uses,
        _evaluation=evaluation,
    )


def _tokens_of(source: str, allowance: Allowance) -> list[Token]:
    try:
        tokens = tokens_of(source)
    except ExpressionFault as fault:
        allowance.left -= work_of_fault(fault.offset)
        raise
    allowance.left -= work_of_reading(tokens)
    return tokens


def _no_condition(kind: str) -> str:
    return f"a condition gives true or false, and this gives {kind}"

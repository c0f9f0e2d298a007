"""Fakes of expressions and mappings: what a function of the test makes of the scope."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from flow_manager.core.cel.allowance import Allowance
from flow_manager.core.expressions import Expression, ExpressionError
from flow_manager.core.mappings import ValueMapping

Meaning = Callable[[Mapping[str, Any]], Any]


class FakeExpression:
    """`scopes` are those that it was evaluated in."""

    def __init__(self, meaning: Meaning, source: str) -> None:
        self.source = source
        self.secrets_used: frozenset[str] = frozenset()
        self.is_constant = False
        self.scopes: list[Mapping[str, Any]] = []
        self._meaning = meaning

    def evaluate(self, scope: Mapping[str, Any], _allowance: Allowance | None = None) -> Any:
        self.scopes.append(scope)
        try:
            return self._meaning(scope)
        except KeyError as error:
            raise ExpressionError("expression.failed", f"no such key: {error}", self.source) from error

    evaluate_condition = evaluate


def expression(meaning: Meaning, source: str = "a.fake") -> Expression:
    """An expression with this meaning. A `KeyError` in it is an error of the expression."""
    return cast(Expression, FakeExpression(meaning, source))


def mapping(meaning: Meaning, source: str = "a.fake") -> ValueMapping:
    """A mapping with this meaning."""
    return cast(ValueMapping, FakeExpression(meaning, source))


def constant(value: Mapping[str, Any]) -> ValueMapping:
    """A mapping without expressions."""
    fake = FakeExpression(lambda _: value, "")
    fake.is_constant = True
    return cast(ValueMapping, fake)

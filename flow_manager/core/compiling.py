"""Compiling what a written flow holds as text: expressions, mappings and schemas.

Everything that cannot be compiled is a problem with its place; offsets count within the text that
stands there.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from flow_manager.core.cel.allowance import of_document
from flow_manager.core.expressions import (
    Expression,
    ExpressionFault,
    Place,
    TooManyExpressions,
    check_allowance,
    compile_expression,
)
from flow_manager.core.findings import Findings
from flow_manager.core.mappings import InvalidMapping, MappingFault, ValueMapping, compile_mapping
from flow_manager.core.plain import Path, shown
from flow_manager.core.schemas import Schema, check_schema


class Expressions:
    """The expressions of one document of `size` bytes, its children included. Each text is compiled once,
    and all of them together are bounded."""

    def __init__(self, size: int) -> None:
        self.are_too_many = False
        """Whether that has been said. From then on nothing more is compiled."""
        self._allowance = of_document(size)
        self._compiled: dict[tuple[str, Place], Expression] = {}

    def compile(self, source: str, place: Place) -> Expression:
        """Raises `ExpressionFault`."""
        known = self._compiled.get((source, place))
        if known is not None:
            return known
        try:
            check_allowance(self._allowance)
            compiled = compile_expression(source, place, self._allowance)
        except TooManyExpressions:
            self.are_too_many = True
            raise
        self._compiled[source, place] = compiled
        return compiled


class Compiler:
    """Compiles the parts of one flow; what is wrong goes to `errors`. `secrets` are the names of
    those that there are, None if nobody knows."""

    def __init__(self, errors: Findings, secrets: Container[str] | None, expressions: Expressions) -> None:
        self._errors = errors
        self._secrets = secrets
        self._expressions = expressions

    def expression(self, text: str | None, at: Path, place: Place) -> Expression | None:
        if text is None or self._expressions.are_too_many:
            return None
        try:
            return self._expressions.compile(text, place)
        except ExpressionFault as fault:
            self._add(at, fault)
            return None

    def mapping(self, value: Any, at: Path, place: Place) -> ValueMapping | None:
        if value is None or self._expressions.are_too_many:
            return None
        try:
            mapping = compile_mapping(value, place, self._expressions.compile)
        except InvalidMapping as invalid:
            for fault in invalid.faults:
                self._add((*at, *fault.path), fault)
            return None
        for name in sorted(mapping.secrets_used):
            if self._secrets is not None and name not in self._secrets:
                self._errors.add(at, "unknown-secret", f"there is no secret named {shown(name)}")
        return mapping

    def schema(self, schema: Any, at: Path) -> Schema | None:
        if schema is None:
            return None
        faults = check_schema(schema)
        for fault in faults:
            self._errors.add((*at, *fault.path), fault.code, fault.detail)
        return None if faults else Schema.compile(schema)

    def _add(self, at: Path, fault: ExpressionFault | MappingFault) -> None:
        self._errors.add(at, fault.code, fault.detail, fault.hint, offset=fault.offset)

"""Compiling what a written flow holds as text: expressions, mappings and schemas.

Everything that cannot be compiled is a problem with its place; offsets count within the text that
stands there.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from flow_manager.core.expressions import Expression, ExpressionFault, Place, compile_expression
from flow_manager.core.findings import Findings
from flow_manager.core.mappings import InvalidMapping, MappingFault, ValueMapping, compile_mapping
from flow_manager.core.plain import Path, shown
from flow_manager.core.schemas import Schema, check_schema


class Compiler:
    """Compiles the parts of one document; what is wrong goes to `errors`. `secrets` are the names of
    those that there are, None if nobody knows."""

    def __init__(self, errors: Findings, secrets: Container[str] | None) -> None:
        self._errors = errors
        self._secrets = secrets

    def expression(self, text: str | None, at: Path, place: Place) -> Expression | None:
        if text is None:
            return None
        try:
            return compile_expression(text, place)
        except ExpressionFault as fault:
            self._add(at, fault)
            return None

    def mapping(self, value: Any, at: Path, place: Place) -> ValueMapping | None:
        if value is None:
            return None
        try:
            mapping = compile_mapping(value, place)
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

"""Mappings: JSON values with expressions in their texts, such as the input of a task.

`"${input.id}"` becomes the value of the expression with its type; within a longer text an expression
becomes text. `$${` stands for `${`. What comes out is never looked at for expressions again, and the
names of members are left as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flow_manager.core.cel.allowance import STEP, Allowance
from flow_manager.core.cel.answers import LIMIT, MOST_OUTPUT, Unfit, check_size, text_of
from flow_manager.core.cel.text import ExpressionFault, end_of
from flow_manager.core.expressions import (
    Expression,
    ExpressionError,
    Place,
    TooManyExpressions,
    compile_expression,
)
from flow_manager.core.plain import DEPTH, Path, is_plain

_MARK: Final = re.compile(r"\$\$\{|\$\{")
_ESCAPED: Final = "$${"
_TOO_LARGE: Final = f"the values together are more than {MOST_OUTPUT >> 10} KiB of JSON"


@dataclass(frozen=True, slots=True)
class MappingFault:
    """A fault at a path of a mapping. `offset` counts characters of the text there, from 0."""

    path: Path
    offset: int
    code: str
    detail: str
    hint: str | None


class InvalidMapping(Exception):
    """A mapping that cannot be used, with all its faults, in the order written."""

    def __init__(self, faults: Sequence[MappingFault]) -> None:
        super().__init__(faults[0].detail)
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class _Text:
    """A text with expressions. If `is_whole`, it is one expression and nothing else."""

    path: Path
    pieces: tuple[str | Expression, ...]
    is_whole: bool


class ValueMapping:
    """A compiled mapping: immutable, and safe to evaluate from many threads.

    What it uses is what its expressions use, as for an `Expression`; a result is guarded if every
    expression that reads it tests it.
    """

    __slots__ = (
        "_value",
        "is_constant",
        "results_guarded",
        "results_unknown",
        "results_used",
        "secrets_used",
    )

    def __init__(self, value: Any, expressions: Sequence[Expression]) -> None:
        """`value` is JSON of the mapping's own, with a `_Text` for every text that has expressions."""
        self._value = value
        self.is_constant = not expressions
        self.results_used = _all(each.results_used for each in expressions)
        read = _all(each.results_used - each.results_guarded for each in expressions)
        self.results_guarded = self.results_used - read
        self.results_unknown = any(each.results_unknown for each in expressions)
        self.secrets_used = _all(each.secrets_used for each in expressions)

    def evaluate(self, scope: Mapping[str, Any]) -> Any:
        """The value, new each time. Raises `ExpressionError`, which tells the path and the expression.

        For `scope` see `Expression.evaluate`; a constant mapping needs none.
        """
        answer = _Filling(scope).fill(self._value)
        if not self.is_constant:
            _check_whole(answer)
        return answer


Compile = Callable[[str, Place], Expression]
"""Raises `ExpressionFault`."""


def compile_mapping(value: Any, place: Place, compile: Compile = compile_expression) -> ValueMapping:
    """Compiles a plain JSON value. Raises `InvalidMapping`."""
    compiler = _Compiler(place, compile)
    compiled = compiler.compile(value, ())
    if compiler.faults:
        raise InvalidMapping(compiler.faults)
    return ValueMapping(compiled, compiler.expressions)


class _Compiler:
    def __init__(self, place: Place, compile: Compile) -> None:
        self.expressions: list[Expression] = []
        self.faults: list[MappingFault] = []
        self._place = place
        self._compile_one = compile
        self._is_over = False
        """Whether the others are not looked at."""

    def compile(self, value: Any, path: Path) -> Any:
        if isinstance(value, str):
            return self._compile_text(value, path) if _MARK.search(value) and not self._is_over else value
        if isinstance(value, list):
            return [self.compile(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, Mapping):
            return {name: self.compile(member, (*path, name)) for name, member in value.items()}
        return value

    def _compile_text(self, text: str, path: Path) -> str | _Text:
        pieces: list[str | Expression] = []
        at = 0
        while (mark := _MARK.search(text, at)) is not None and not self._is_over:
            pieces.append(text[at : mark.start()])
            if mark.group() == _ESCAPED:
                pieces.append("${")
                at = mark.end()
                continue
            try:
                end = end_of(text, mark.end())
            except ExpressionFault as fault:
                self._add(fault, path, 0)
                return text
            self._compile_expression(text[mark.end() : end], mark.end(), path, pieces)
            at = end + 1
        pieces.append(text[at:])
        return _text(path, pieces)

    def _compile_expression(self, source: str, at: int, path: Path, pieces: list[str | Expression]) -> None:
        try:
            expression = self._compile_one(source, self._place)
        except ExpressionFault as fault:
            self._add(fault, path, at)
        else:
            self.expressions.append(expression)
            pieces.append(expression)

    def _add(self, fault: ExpressionFault, path: Path, at: int) -> None:
        self._is_over = isinstance(fault, TooManyExpressions)
        self.faults.append(MappingFault(path, at + fault.offset, fault.code, fault.detail, fault.hint))


class _Filling:
    """One evaluation of a mapping. It ends when the values so far are too large together, or were too
    much work."""

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self._scope = scope
        self._room = MOST_OUTPUT
        self._allowance = Allowance(STEP)

    def fill(self, value: Any) -> Any:
        if isinstance(value, _Text):
            return self._filled(value)
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if isinstance(value, dict):
            return {name: self.fill(member) for name, member in value.items()}
        return value

    def _filled(self, text: _Text) -> Any:
        if text.is_whole:
            return self._evaluated(text.pieces[0], text.path)
        return "".join(text_of(self._evaluated(piece, text.path)) for piece in text.pieces)

    def _evaluated(self, piece: str | Expression, path: Path) -> Any:
        if isinstance(piece, str):
            return piece
        try:
            answer = piece.evaluate(self._scope, self._allowance)
            self._room -= check_size(answer)
        except ExpressionError as error:
            raise ExpressionError(error.code, error.detail, error.expression, path) from error
        if self._room < 0:
            raise ExpressionError(LIMIT, _TOO_LARGE, piece.source, path)
        return answer


def _text(path: Path, pieces: list[str | Expression]) -> str | _Text:
    kept = tuple(piece for piece in pieces if piece != "")
    if not any(isinstance(piece, Expression) for piece in kept):
        return "".join(str(piece) for piece in kept)
    return _Text(path, kept, is_whole=len(kept) == 1)


def _check_whole(answer: Any) -> None:
    try:
        check_size(answer)
    except Unfit as unfit:
        raise ExpressionError(unfit.code, _TOO_LARGE, "") from unfit
    if not is_plain(answer, MOST_OUTPUT):
        detail = f"lists and maps nest at most {DEPTH} deep"
        raise ExpressionError(LIMIT, detail, "")


def _all(sets: Any) -> frozenset[str]:
    return frozenset().union(*sets)

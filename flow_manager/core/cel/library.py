"""The library of the language, and what it takes to live with it. Nothing else may touch it.

- An error is a value, and Python takes it for true.
- Before Python 3.12 every null that it hands out costs the interpreter a reference to `None`, and
  the process dies when none is left.
- It never frees what it gives to a function of Python.
- It takes times only as values of variables that are declared as times.
- Its messages speak of its own insides; `core.cel.words` words them anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from cel_expr_python import cel
from cel_expr_python.ext import ext_math, ext_strings

from flow_manager.core.cel.edits import KEEP, STEP, Edit, edited, offset_before
from flow_manager.core.cel.effort import MOST_LOOPS, Fuel
from flow_manager.core.cel.text import ExpressionFault
from flow_manager.core.cel.uses import STARTED_AT_NAME
from flow_manager.core.cel.words import fault_of, wording_of_failure

_TYPES: Final = {
    "execution": cel.Type.DYN,
    "flow": cel.Type.DYN,
    "input": cel.Type.DYN,
    "now": cel.Type.TIMESTAMP,
    "outcome": cel.Type.STRING,
    "result": cel.Type.DYN,
    "results": cel.Type.DYN,
    "secrets": cel.Type.DYN,
    STARTED_AT_NAME: cel.Type.TIMESTAMP,
}
_FUEL: Final = cel.CelExtension(
    "flow_manager",
    [
        cel.FunctionDecl(f"{name}{number}", [cel.Overload(f"{name}{number}", cel.Type.BOOL, [])])
        for name in (STEP, KEEP)
        for number in range(MOST_LOOPS)
    ],
)
_LANGUAGE: Final = cel.NewEnv(
    variables=_TYPES, extensions=[ext_strings.ExtStrings(), ext_math.ExtMath(), _FUEL]
)


class Failure(Exception):
    """There is no value. The message is that of the library."""


class Exhausted(Exception):
    """It is too much work."""


class Program:
    """A compiled expression."""

    __slots__ = ("_program",)

    def __init__(self, source: str, edits: list[Edit]) -> None:
        """Raises `ExpressionFault`."""
        text = edited(source, edits)
        try:
            self._program = _LANGUAGE.compile(text)
        except RuntimeError as error:
            fault = fault_of(str(error), source, lambda offset: offset_before(offset, edits), text)
            raise fault from error

    @property
    def kind(self) -> str:
        """The type of its value as far as it is known: `bool`, `dyn`, `list`."""
        return _kind(self._program.return_type())

    def evaluate(self, data: Mapping[str, Any], fuel: Fuel | None) -> tuple[str, Any]:
        """The type of the value, and the value as it is in Python. Raises `Failure` and `Exhausted`."""
        try:
            value = self._program.eval(data=data, functions=[] if fuel is None else _burning(fuel))
        except RuntimeError as error:
            if "Iteration budget" in str(error):
                raise Exhausted from error
            raise Failure(str(error)) from error
        if fuel is not None and fuel.is_spent:
            raise Exhausted
        kind = value.type()
        if kind == cel.Type.ERROR:
            raise Failure(str(value.value()))
        return _kind(kind), _taken(value)


def kind_of_name(name: str) -> str:
    """The type that a name in scope is declared with."""
    return _kind(_TYPES[name])


def check_trial(trial: str, offset: int) -> None:
    """Raises `ExpressionFault` if a small expression, of literals alone, has no value."""
    value = _LANGUAGE.compile(trial).eval()
    if value.type() == cel.Type.ERROR:
        detail = wording_of_failure(str(value.value()), (), is_secret=False)
        raise ExpressionFault("syntax", detail, offset)


def _kind(kind: Any) -> str:
    return str(kind.name()).split("<")[0].lower()


def _burning(fuel: Fuel) -> list[Any]:
    return [
        cel.Function(f"{name}{number}", [], False, partial(burn, number), cel.Type.BOOL)
        for number in range(fuel.loops)
        for name, burn in ((STEP, fuel.step), (KEEP, fuel.keep))
    ]


def _taken(value: Any) -> Any:
    """A value of the library in Python, without ever asking for a null."""
    if "null" in repr(value):
        return _taken_apart(value)
    return value.plain_value()


def _taken_apart(value: Any) -> Any:
    """The slow way: a microsecond or two for each member."""
    if value.type() == cel.Type.NULL:
        return None
    taken = value.value()
    if isinstance(taken, list):
        return [_taken_apart(item) for item in taken]
    if isinstance(taken, dict):
        return {name: _taken_apart(member) for name, member in taken.items()}
    return taken

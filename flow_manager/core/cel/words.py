"""What the library says of an expression, in the words of the language and without its own jargon."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from flow_manager.core.cel.functions import FUNCTIONS, NAMESPACES
from flow_manager.core.cel.text import ExpressionFault
from flow_manager.core.cel.tree import unexpected

LONGEST_DETAIL: Final = 500

_AT: Final = re.compile(r"ERROR: <input>:(-?[0-9]+):(-?[0-9]+): (.*)")
_STATUS: Final = re.compile(r"^[A-Z_]+: | \[[A-Z_]+\]$")
_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PARAMETERS: Final = re.compile(r"\([^()]*\)")
_OPERATOR: Final = re.compile(r"[@_]*([^A-Za-z_@]+|in)_?")
_UNFIT: Final = re.compile(r"No matching overloads found : (?:\(([^()]*)\)\.)?(<?[^()]+?)(?:\((.*)\))?$")
_UNFIT_TYPES: Final = re.compile(r"found no matching overload for '(.+)' applied to '\((.*)\)'")

_TYPES: Final = {
    "int64": "int",
    "uint64": "uint",
    "null_type": "null",
    "google.protobuf.Timestamp": "timestamp",
    "google.protobuf.Duration": "duration",
    "dyn": "a value",
}
_NAMES: Final = {"math.@max": "math.greatest", "math.@min": "math.least"}
_BOOLS: Final = frozenset({"_&&_", "_||_", "!_", "<jump_condition>"})
_NEEDS_BOOL: Final = "a condition is not true or false: '&&', '||', '!', '?' and loops need a bool"


def wording_of_failure(message: str, paths: Iterable[tuple[str, ...]], is_secret: bool) -> str:
    """Why an evaluation failed. What values hold is left out if `is_secret`."""
    message = _STATUS.sub("", message)
    for pattern, worded in _FAILURES:
        found = pattern.search(message)
        if found is not None:
            detail = worded(found)
            break
    else:
        detail = _missing(message, paths, is_secret)
    return detail if len(detail) <= LONGEST_DETAIL else detail[: LONGEST_DETAIL - 3] + "..."


def fault_of(message: str, source: str, original: Callable[[int], int], edited: str) -> ExpressionFault:
    """Why an expression was not compiled: the first reason given. `original` turns an offset of the
    text that was compiled into one of the source."""
    found = _AT.search(message)
    if found is None or "recursion" in message:
        detail = "this expression nests too deep: about 30 levels of operators, members and brackets"
        return ExpressionFault("too-complex", detail, 0)
    line, column, reason = int(found[1]), int(found[2]), _STATUS.sub("", found[3])
    before = "".join(edited.splitlines(keepends=True)[: line - 1]) if line > 1 else ""
    offset = min(original(len(before) + column - 1), len(source))
    if reason.startswith(("Syntax error", "Invalid string literal", "reserved identifier")):
        return unexpected(source, offset)
    if "literal" in reason and reason.startswith("invalid"):
        return ExpressionFault("syntax", "this number does not fit in 64 bits", offset)
    undeclared = re.match("undeclared reference to '(.+?)'", reason)
    if undeclared is not None:
        return ExpressionFault("unknown-function", _calling(undeclared[1]), offset)
    unfit = _UNFIT_TYPES.match(reason)
    if unfit is not None:
        return ExpressionFault("wrong-type", _unfit(unfit[1], _listed(unfit[2])), offset)
    selected = re.match("expression of type '(.+)' cannot be the operand", reason)
    if selected is not None:
        detail = f"only a map has members, and this is {_listed(selected[1])[0]}"
        return ExpressionFault("wrong-type", detail, offset)
    return ExpressionFault("wrong-type", reason[:LONGEST_DETAIL], offset)


def written(path: tuple[str, ...]) -> str:
    """A path as it is written in an expression."""
    root, *steps = path
    return root + "".join(f".{step}" if _WORD.fullmatch(step) else f'["{step}"]' for step in steps)


def _missing(message: str, paths: Iterable[tuple[str, ...]], is_secret: bool) -> str:
    found = re.search(r"Key not found in map : (.*)", message, re.DOTALL)
    if found is None:
        reason = "a value does not fit" if is_secret else message
        return f"it has no value: {reason}"
    name = found[1].strip('"')
    reading = sorted(path[: path.index(name) + 1] for path in paths if name in path[1:])
    if reading:
        *within, last = reading[0]
        test = (
            f"has({written(reading[0])})" if _WORD.fullmatch(last) else f'"{last}" in {written((*within,))}'
        )
        return f"{written(reading[0])} is not there; test it first with {test}"
    if is_secret:
        return "a member that is read is not there"
    return f'there is no member {found[1][:200]}; test it first with has(x.name), or with "name" in x'


def _calling(name: str) -> str:
    for known in (name, *(f"{each}.{name}" for each in sorted(NAMESPACES))):
        if known in FUNCTIONS:
            return f"{known!r} is written {FUNCTIONS[known].form}"
    return f"there is no function {name!r}"


def _listed(types: str) -> list[str]:
    while _PARAMETERS.search(types):
        types = _PARAMETERS.sub("", types)
    return [_TYPES.get(each, each) for each in types.split(", ")]


def _unfit(name: str, types: list[str]) -> str:
    """That an operator or a function, as the library calls it, is given the wrong types."""
    if name in _BOOLS:
        return _NEEDS_BOOL
    if name == "<iter_range>":
        return "only lists, and the names of maps, can be gone through"
    if name == "_?_:_":
        return "before '?' comes a bool, and on both sides of ':' the same type: wrap others in dyn(x)"
    if name == "_[_]":
        return f"{types[0]} cannot be indexed with {types[-1]}: lists are with int, maps with string"
    operator = _OPERATOR.fullmatch(name)
    given = " and ".join(types)
    if operator is None:
        return f"{_NAMES.get(name, name)!r} cannot take {given}"
    detail = f"{operator[1]!r} cannot take {given}"
    if set(types) == {"int", "double"}:
        return f"{detail}; convert one of them with double(x) or int(x)"
    if operator[1] == "+" and "string" in types:
        return f"{detail}; convert what is no text with string(x)"
    return detail


def _unfit_values(found: re.Match[str]) -> str:
    receiver, name, types = found[1], found[2], found[3]
    given = _listed(types) if types else []
    if receiver is not None:
        given = [*_listed(receiver), *given]
    return _unfit(name, given or ["these values"])


_FAILURES: Final[tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...]] = tuple(
    (re.compile(pattern), worded)
    for pattern, worded in (
        (_UNFIT.pattern, _unfit_values),
        (
            r"Index error: index=(-?[0-9]+) size=([0-9]+)",
            lambda found: f"index {found[1]} of a list of {found[2]}; the first is 0, see size(x)",
        ),
        (
            r"Index error: expected integer type, got (\w+)",
            lambda found: f"a list is indexed with int, not with {found[1]}",
        ),
        ("divide by zero|modulus by zero", lambda _: "division by zero"),
        ("integer overflow", lambda _: "the number does not fit in 64 bits"),
        ("out of u?int64 range", lambda _: "the number does not fit in 64 bits"),
        ("Applying SELECT", lambda _: "a member is read of something that is not a map; test it first"),
        (
            r"Invalid container type: '(\w+)'",
            lambda found: f"{_listed(found[1])[0]} cannot be indexed: only lists and maps can",
        ),
        (r"map key type: '?(\w+)", lambda found: f"{_listed(found[1])[0]} cannot be the name of a member"),
        ("duplicate key", lambda _: "a map has the same name twice"),
        (
            "cannot convert string to (int|double)",
            lambda found: f"the text is no number for {found[1]}(x)",
        ),
        ("'string' to 'bool'", lambda _: 'the text is neither "true" nor "false"'),
        ("String to Timestamp", lambda _: 'the text is not a time such as "2026-01-05T09:00:00Z"'),
        ("String to Duration", lambda _: 'the text is not a duration such as "90s", "1.5h" or "1h30m"'),
        ("(timestamp|duration) overflow", lambda found: f"the {found[1]} is out of range"),
        ("[Dd]uration .*(above|below)", lambda _: "the duration is out of range"),
        ("Invalid timezone", lambda _: "this machine knows no such time zone"),
        (r"invalid regular expression: ([^:]*)", lambda found: f"the pattern is not valid: {found[1]}"),
        (r"<string>|index out of range", lambda _: "an index is outside of the text; see size(x)"),
        ("unrecognized formatting|end of format", lambda _: "the format is not valid"),
        ("conversion to double|clause", lambda _: "a format needs a number, and was given something else"),
        ("index [0-9]+ out of range", lambda _: "the format names more values than it is given"),
    )
)

"""What expressions may call: one fixed list, the same as in `docs/reference/expressions.md`.

There is no function for the time, for chance or for identifiers: `now` is a value that is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Function:
    """`form` shows how it is called.

    `cost` is in nanoseconds for each unit of what it reads and makes (see `core.cel.effort`),
    measured on the slowest case and rounded up. `growth` says how many times larger than what it is
    called on its result can be; 0 is a result of no size worth counting.
    """

    form: str
    cost: int = 2
    growth: float = 0


_FUNCTIONS: Final = {
    # conversions and sizes
    "bool": Function("bool(x)"),
    "double": Function("double(x)"),
    "duration": Function("duration(text)"),
    "dyn": Function("dyn(x)", growth=1),
    "int": Function("int(x)"),
    "size": Function("size(x), x.size()", cost=6),
    "string": Function("string(x)", cost=4, growth=2),
    "timestamp": Function("timestamp(text)"),
    "type": Function("type(x)"),
    # texts
    "charAt": Function("text.charAt(index)", cost=8),
    "contains": Function("text.contains(part)"),
    "endsWith": Function("text.endsWith(part)"),
    "format": Function("text.format(list)", cost=10, growth=20),
    "indexOf": Function("text.indexOf(part), text.indexOf(part, start)", cost=8),
    "join": Function("list.join(), list.join(separator)", cost=8, growth=1),
    "lastIndexOf": Function("text.lastIndexOf(part), text.lastIndexOf(part, start)", cost=8),
    "lowerAscii": Function("text.lowerAscii()", cost=6, growth=1),
    "matches": Function("text.matches(pattern)"),
    "replace": Function("text.replace(old, new), text.replace(old, new, most)", cost=40, growth=1),
    "reverse": Function("text.reverse()", cost=8, growth=1),
    "split": Function("text.split(separator), text.split(separator, most)", cost=3, growth=32),
    "startsWith": Function("text.startsWith(part)"),
    "strings.quote": Function("strings.quote(text)", cost=20, growth=2),
    "substring": Function("text.substring(start), text.substring(start, end)", cost=8, growth=1),
    "trim": Function("text.trim()", cost=8, growth=1),
    "upperAscii": Function("text.upperAscii()", cost=6, growth=1),
    # times and durations
    "getDate": Function("time.getDate()"),
    "getDayOfMonth": Function("time.getDayOfMonth()"),
    "getDayOfWeek": Function("time.getDayOfWeek()"),
    "getDayOfYear": Function("time.getDayOfYear()"),
    "getFullYear": Function("time.getFullYear()"),
    "getHours": Function("time.getHours(), duration.getHours()"),
    "getMilliseconds": Function("time.getMilliseconds(), duration.getMilliseconds()"),
    "getMinutes": Function("time.getMinutes(), duration.getMinutes()"),
    "getMonth": Function("time.getMonth()"),
    "getSeconds": Function("time.getSeconds(), duration.getSeconds()"),
    # numbers
    "math.abs": Function("math.abs(x)"),
    "math.bitAnd": Function("math.bitAnd(x, y)"),
    "math.bitNot": Function("math.bitNot(x)"),
    "math.bitOr": Function("math.bitOr(x, y)"),
    "math.bitShiftLeft": Function("math.bitShiftLeft(x, bits)"),
    "math.bitShiftRight": Function("math.bitShiftRight(x, bits)"),
    "math.bitXor": Function("math.bitXor(x, y)"),
    "math.ceil": Function("math.ceil(x)"),
    "math.floor": Function("math.floor(x)"),
    "math.greatest": Function("math.greatest(x, y, ...), math.greatest(list)"),
    "math.isFinite": Function("math.isFinite(x)"),
    "math.isInf": Function("math.isInf(x)"),
    "math.isNaN": Function("math.isNaN(x)"),
    "math.least": Function("math.least(x, y, ...), math.least(list)"),
    "math.round": Function("math.round(x)"),
    "math.sign": Function("math.sign(x)"),
    "math.sqrt": Function("math.sqrt(x)"),
    "math.trunc": Function("math.trunc(x)"),
}

FUNCTIONS: Final[Mapping[str, Function]] = MappingProxyType(_FUNCTIONS)

LOOPS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "all": "list.all(x, condition)",
        "exists": "list.exists(x, condition)",
        "exists_one": "list.exists_one(x, condition)",
        "filter": "list.filter(x, condition)",
        "map": "list.map(x, value), list.map(x, condition, value)",
    }
)
"""The macros that go through a list, or through the names of a map."""

HAS: Final = "has"
"""The macro that tests whether a member is there."""

NAMESPACES: Final = frozenset(name.split(".")[0] for name in _FUNCTIONS if "." in name)
TYPES: Final = frozenset({"bool", "double", "int", "list", "map", "null_type", "string"})
"""What `type(x)` can be compared with."""

GETTERS: Final = frozenset(name for name in _FUNCTIONS if name.startswith("get"))
"""Those that take a time zone."""


def called(receiver: str | None, name: str) -> str:
    """The name of a function in the list, given the one that stands before the dot."""
    return f"{receiver}.{name}" if receiver in NAMESPACES else name

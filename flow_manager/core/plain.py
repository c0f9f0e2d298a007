"""Plain JSON values: those that every store and every reader agrees on.

Plain are exactly: dict with str keys, list, str, bool, int within 64 bits, finite float and None.
Whatever else a JSON writer would quietly turn into one of these (a tuple, an enum, a UUID, a
subclass) would come back as something else, and is not plain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from flow_manager.core.problems import pointer

DEPTH: Final = 64
"""Objects and arrays within each other."""
MOST_MEMBERS: Final = 100_000
"""Members of one object or array."""
LEAST_INTEGER: Final = -(2**63)
MOST_INTEGER: Final = 2**63 - 1
MOST_SHOWN: Final = 64
"""Characters of an input that an answer repeats."""

Path = tuple[str | int, ...]
_Link = tuple[Any, str | int] | None
"""A place as its parent's link and the last step: cheap to make for each of many members."""


_NOT_PLAIN: Final = object()


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong at a place of a value; `code` is kebab-case."""

    path: Path
    code: str
    detail: str


def pointer_to(path: Path) -> str:
    """The JSON Pointer of a path whose names come from outside: a long one is cut, and what is
    not a character is replaced."""
    return pointer(*(step if isinstance(step, int) else _excerpt(step) for step in path))


def shown(text: str) -> str:
    """An excerpt of an input in quotes, safe to print."""
    return repr(_excerpt(text))


def _excerpt(text: str) -> str:
    kept = text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 3] + "..."
    return kept if kept.isascii() else kept.encode("utf-8", "replace").decode()


def is_plain(value: Any, most: int) -> bool:
    """The quick answer; it leaves the characters of texts to whoever encodes them.

    False also for more than `most` members and characters together: this ends the look at a
    value that is far too large, or that contains itself.
    """
    left, level = most, [value]
    for depth in range(DEPTH + 1):
        below: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is str:
                left -= len(item)
            elif kind is dict or kind is list:
                left -= len(item) if len(item) <= MOST_MEMBERS and depth < DEPTH else most + 1
                if left < 0:
                    return False
                below += item if kind is list else _named(item)
            elif not _is_plain_scalar(item, kind):
                return False
        if left < 0 or not below:
            return left >= 0
        level = below
    return False


def _named(members: dict[Any, Any]) -> list[Any]:
    """Names and values alike; a name that is no text becomes something that is not plain."""
    return [*(name if type(name) is str else _NOT_PLAIN for name in members), *members.values()]


def _is_plain_scalar(item: Any, kind: type) -> bool:
    if kind is int:
        return bool(LEAST_INTEGER <= item <= MOST_INTEGER)
    if kind is float:
        return isfinite(item)
    return item is None or kind is bool


def faults_of(value: Any, most: int) -> Iterator[Fault]:
    """Everything that is not plain, with its place, in the order of the value.

    Looks at no more than `most` members; nothing is looked at beyond a container that is too
    deep or too large.
    """
    stack: list[tuple[Any, _Link, int]] = [(value, None, 0)]
    while stack and most > 0:
        item, link, depth = stack.pop()
        most -= 1
        kind = type(item)
        if kind is not dict and kind is not list:
            if kind is str or not _is_plain_scalar(item, kind):
                yield from _scalar_faults(item, link)
        elif depth >= DEPTH:
            yield Fault(_path(link), "too-deep", f"objects and arrays nest at most {DEPTH} deep")
        elif len(item) > MOST_MEMBERS:
            detail = f"{len(item)} members; at most {MOST_MEMBERS} are allowed"
            yield Fault(_path(link), "too-many-members", detail)
        else:
            if kind is dict:
                yield from _name_faults(item, link)
            members = item.items() if kind is dict else enumerate(item)
            stack += reversed([(member, (link, step), depth + 1) for step, member in members])


def _path(link: _Link) -> Path:
    steps: list[str | int] = []
    while link is not None:
        link, step = link
        steps.append(step if isinstance(step, int) else str(step))
    return tuple(reversed(steps))


def _name_faults(members: dict[Any, Any], link: _Link) -> Iterator[Fault]:
    for name in members:
        if type(name) is not str:
            detail = f"the names of members are texts, not {type(name).__name__}"
            yield Fault(_path(link), "wrong-type", detail)
        elif not name.isascii() or "\0" in name:
            yield from _text_faults(name, (link, name), "the name of a member")


def _scalar_faults(item: Any, link: _Link) -> Iterator[Fault]:
    if type(item) is str:
        if not item.isascii() or "\0" in item:
            yield from _text_faults(item, link, "a text")
    elif type(item) is int:
        yield Fault(_path(link), "integer-out-of-range", "integers must fit in 64 bits")
    elif type(item) is float:
        yield Fault(_path(link), "number-not-finite", "a number must be finite")
    else:
        detail = f"{type(item).__name__} is not JSON: use dict, list, str, int, float, bool or None"
        yield Fault(_path(link), "wrong-type", detail)


def _text_faults(text: str, link: _Link, called: str) -> Iterator[Fault]:
    if "\0" in text:
        yield Fault(_path(link), "nul-character", f"{called} must not hold the character NUL (\\u0000)")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        yield Fault(_path(link), "lone-surrogate", f"{called} holds {half}, half of a character")

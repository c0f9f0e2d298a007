"""Places: where in a JSON text the value stands that a JSON Pointer names.

The text may be broken: people want to see the place of a problem in any file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

_TOKEN = re.compile(r'"(?:(?>[^"\\\n]++|\\.))*+"?+|[\[\]{},:]|[^\s"\[\]{},:]++')
"""A text, a mark or anything else between spaces. A text that is not closed ends with its line."""


@dataclass(frozen=True, slots=True)
class Place:
    """A piece of one line. `line` and `column` count from 1, `offset` from 0, all in characters.

    `length` is that of the thing marked, and never goes beyond the line: the whole of a scalar or
    a name, the opening bracket of an object or array, 0 in an empty text.
    """

    line: int
    column: int
    offset: int
    length: int


def place_of(text: str, pointer: str, *, of_name: bool = False) -> Place:
    """Where the value stands that `pointer` names (`#/flow/tasks/0/name`).

    With `of_name` it is the place of the member's name instead, if the last step is a name: of an
    unknown field the name is what is wrong. If there is no such value, the answer is the place
    of the last one on the way to it. Never raises, and looks at each character once.
    """
    found = name = _TOKEN.search(text)
    for step in _steps(pointer):
        member = None if found is None else _member(text, found, step)
        if member is None:
            name = found
            break
        name, found = member
    marked = name if of_name else found
    return Place(1, 1, 0, 0) if marked is None else _place(text, marked)


def _steps(pointer: str) -> list[str]:
    steps = unquote(pointer.removeprefix("#"), errors="replace").split("/")
    return [step.replace("~1", "/").replace("~0", "~") for step in steps[1:]]


def _member(text: str, container: re.Match[str], step: str) -> tuple[re.Match[str], re.Match[str]] | None:
    """Where a member begins, and where its value does, which is the same in an array."""
    if container.group() == "{":
        return _named(text, container.end(), step)
    if container.group() == "[":
        return _numbered(text, container.end(), step)
    return None


def _named(text: str, start: int, step: str) -> tuple[re.Match[str], re.Match[str]] | None:
    name: re.Match[str] | None = None
    is_wanted = False
    for token in _members(text, start):
        mark = token.group()
        if mark == ",":
            if name is not None and is_wanted:
                return name, name
            name = None
        elif name is None:
            name, is_wanted = token, _meaning(mark) == step
        elif is_wanted and mark != ":":
            return name, token
    return None if name is None or not is_wanted else (name, name)


def _numbered(text: str, start: int, step: str) -> tuple[re.Match[str], re.Match[str]] | None:
    index = 0
    for token in _members(text, start):
        if token.group() == ",":
            index += 1
        elif str(index) == step:
            return token, token
    return None


def _members(text: str, start: int) -> Iterator[re.Match[str]]:
    """What stands in a container; of the containers within, only their opening brackets."""
    depth = 0
    for token in _TOKEN.finditer(text, start):
        mark = token.group()
        if mark in ("}", "]"):
            depth -= 1
            if depth < 0:
                return
        else:
            if depth == 0:
                yield token
            if mark in ("{", "["):
                depth += 1


def _meaning(token: str) -> str:
    """The name that a token writes, as far as it can be read."""
    plain = token.removeprefix('"').removesuffix('"')
    if "\\" not in token:
        return plain
    try:
        return str(json.loads(token, strict=False))
    except ValueError:
        return plain


def _place(text: str, token: re.Match[str]) -> Place:
    offset = token.start()
    line = text.count("\n", 0, offset) + 1
    column = offset - text.rfind("\n", 0, offset)
    return Place(line, column, offset, token.end() - offset)

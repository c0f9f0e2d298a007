"""The exact reader of JSON text: it says where a text breaks the rules, and which.

It is slow and makes no values; `core.values` reads with a fast parser and comes here only when
something is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from math import isfinite
from typing import Final

from flow_manager.core.plain import DEPTH, Path, pointer_to, shown
from flow_manager.errors import Problem

LONGEST_NUMBER: Final = 40
"""Characters of a number: above what any 64 bit number needs, below what makes parsers slow."""
MOST_PROBLEMS: Final = 100

_SPACE = re.compile(r"[ \t\n\r]*+")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?")
_NUMBER_LIKE = re.compile(r"[-+.0-9eE]*+")
_WORD = re.compile(r"-?[A-Za-z_$][A-Za-z0-9_$]*+")
_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})')
# What is repeated is atomic, as in `core.cel.text`.
_CHARACTERS = re.compile(rf'[^"\\\x00-\x1f]*+(?:(?>{_ESCAPE.pattern}[^"\\\x00-\x1f]*+))*+')
_BRACKETS_AND_TEXTS = re.compile(r'[\[\]{}]|"[^"\\]*+(?:(?>\\.[^"\\]*+))*+"?+', re.DOTALL)
_SURROGATES = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")

_NOT_FINITE = {"NaN", "-NaN", "Infinity", "-Infinity"}
_LITERALS = {"true", "false", "null"}


class _Broken(Exception):
    """The text cannot be read on; the problem has been noted."""


def problem_at(text: str, offset: int, code: str, detail: str, where: Path = ()) -> Problem:
    """A problem at an offset of the text, counted in characters from 0."""
    line = text.count("\n", 0, offset) + 1
    column = offset - (text.rfind("\n", 0, offset) + 1) + 1
    return Problem(pointer_to(where), code, detail, line=line, column=column, offset=offset)


def too_deep(text: str) -> Problem | None:
    """The first bracket that nests too deep, found without reading the text."""
    depth = 0
    for found in _BRACKETS_AND_TEXTS.finditer(text):
        bracket = found.group()
        if bracket in "[{":
            depth += 1
            if depth > DEPTH:
                detail = f"objects and arrays nest at most {DEPTH} deep"
                return problem_at(text, found.start(), "too-deep", detail)
        elif bracket in "]}":
            depth -= 1
    return None


def problems_of(text: str) -> list[Problem]:
    """Everything that makes the text unreadable: all that can be passed over, up to the first
    fault of syntax. The text must not nest deeper than is allowed."""
    reader = _Reader(text)
    with suppress(_Broken):
        reader.document()
    return reader.problems


class _Reader:
    def __init__(self, text: str) -> None:
        self.problems: list[Problem] = []
        self._text = text
        self._at = 0
        self._path: list[str | int] = []

    def document(self) -> None:
        self._space()
        self._value()
        self._space()
        if self._at < len(self._text):
            self._break("the text goes on after the end of its value", code="trailing-data")

    def _value(self) -> None:
        first = self._peek()
        if first == "{":
            self._object()
        elif first == "[":
            self._array()
        elif first == '"':
            self._string()
        else:
            self._scalar(first)

    def _object(self) -> None:
        seen: set[str] = set()
        for _ in self._members("}"):
            if self._peek() != '"':
                self._break(f"the name of a member must be in double quotes, not {self._seen()}")
            start = self._at
            name = self._string()
            self._path.append(name)
            if name in seen:
                self._note(start, "duplicate-key", f"the name {shown(name)} appears twice in one object")
            seen.add(name)
            self._space()
            if self._peek() != ":":
                self._break(f"after the name of a member comes a colon, not {self._seen()}")
            self._at += 1
            self._space()
            self._value()
            self._path.pop()

    def _array(self) -> None:
        for index in self._members("]"):
            self._path.append(index)
            self._value()
            self._path.pop()

    def _members(self, close: str) -> Iterator[int]:
        """Stops before each member of an object or array, and ends behind the bracket `close`."""
        self._at += 1
        self._space()
        if self._peek() == close:
            self._at += 1
            return
        index = 0
        while True:
            yield index
            index += 1
            self._space()
            if self._peek() == close:
                self._at += 1
                return
            if self._peek() != ",":
                self._break(f"after a member comes a comma or {close!r}, not {self._seen()}")
            comma = self._at
            self._at += 1
            self._space()
            if self._peek() == close:
                self._at = comma
                self._break(f"there must be no comma before {close!r}")

    def _string(self) -> str:
        start = self._at
        self._at += 1
        self._at = self._end_of(_CHARACTERS)
        stop = self._peek()
        if stop == "\\":
            self._break(f"{shown(self._text[self._at : self._at + 2])} is not an escape of JSON")
        if stop != '"':
            self._break(
                "a control character in a text must be escaped" if stop else "a text has no closing quote"
            )
        self._at += 1
        return _unescaped(self._text[start + 1 : self._at - 1])

    def _scalar(self, first: str) -> None:
        word = _WORD.match(self._text, self._at)
        if word is not None:
            self._word(word.group())
        elif first and first in "-0123456789":
            self._number()
        elif first == "'":
            self._break("texts are in double quotes, not single ones")
        elif first == "/":
            self._break("comments are not JSON")
        else:
            self._break(f"a value must come here, not {self._seen()}")

    def _word(self, word: str) -> None:
        if word in _NOT_FINITE:
            self._note(self._at, "number-not-finite", f"{word} is not a number of JSON")
        elif word not in _LITERALS:
            self._break(f"{shown(word)} is not a value of JSON: texts are in double quotes")
        self._at += len(word)

    def _number(self) -> None:
        end = self._end_of(_NUMBER_LIKE)
        number = _NUMBER.match(self._text, self._at)
        if end - self._at > LONGEST_NUMBER:
            detail = f"a number has at most {LONGEST_NUMBER} characters, this one has {end - self._at}"
            self._note(self._at, "number-too-long", detail)
        elif number is None or number.end() != end:
            self._break(f"{shown(self._text[self._at : end])} is not a number of JSON")
        elif not isfinite(float(number.group())):
            self._note(self._at, "number-not-finite", f"{number.group()} is beyond all numbers of 64 bits")
        self._at = end

    def _space(self) -> None:
        self._at = self._end_of(_SPACE)

    def _end_of(self, pattern: re.Pattern[str]) -> int:
        found = pattern.match(self._text, self._at)
        return self._at if found is None else found.end()

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _seen(self) -> str:
        return shown(self._peek()) if self._peek() else "the end of the text"

    def _note(self, offset: int, code: str, detail: str) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem_at(self._text, offset, code, detail, tuple(self._path)))

    def _break(self, detail: str, code: str = "syntax") -> None:
        self.problems = self.problems[: MOST_PROBLEMS - 1]
        self.problems.append(problem_at(self._text, self._at, code, detail))
        raise _Broken


def _unescaped(text: str) -> str:
    """What a text without its quotes means; its escapes have been checked."""
    if "\\" not in text:
        return text
    return _ANY_ESCAPE.sub(_meaning, text)


_ANY_ESCAPE = re.compile(_SURROGATES.pattern + "|" + _ESCAPE.pattern)
_MEANINGS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def _meaning(escape: re.Match[str]) -> str:
    letters = escape.group()[1:]
    if letters[0] != "u":
        return _MEANINGS.get(letters, letters)
    if len(letters) == 5:
        return chr(int(letters[1:], 16))
    high, low = int(letters[1:5], 16), int(letters[7:], 16)
    return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))

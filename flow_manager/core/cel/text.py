"""The text of expressions: its tokens, where an expression ends, and how long and deep it may be.

The limits are found here, before the library of the language sees a text.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

MOST_BYTES: Final = 4096
MOST_NESTING: Final = 24
"""Brackets within each other. The library gives up at 32, and counts more than brackets."""
MOST_OPERATORS: Final = 500

# What a possessive repetition repeats is atomic: where its last try fails, CPython before 3.11.5 goes on from
# the middle of it otherwise (gh-100061, gh-106052).
_SIMPLE_TEXT: Final = r"'(?:(?>[^'\\\n\r]|\\.))*+'|\"(?:(?>[^\"\\\n\r]|\\.))*+\""
_LONG_TEXT: Final = r"'{3}(?:(?>[^'\\]|\\.|'(?!'')))*+'{3}|\"{3}(?:(?>[^\"\\]|\\.|\"(?!\"\")))*+\"{3}"
_RAW_TEXT: Final = (
    r"'{3}(?:(?>[^']|'(?!'')))*+'{3}|\"{3}(?:(?>[^\"]|\"(?!\"\")))*+\"{3}|'[^'\n\r]*+'|\"[^\"\n\r]*+\""
)
_TOKEN: Final = re.compile(
    rf"""
    (?P<space>   [ \t\n\r\f]++ | //[^\n]*+ )
  | (?P<text>    [bB]?[rR](?:{_RAW_TEXT}) | [bB]?(?:{_LONG_TEXT}|{_SIMPLE_TEXT}) )
  | (?P<number>  0[xX][0-9a-fA-F]++[uU]? | (?:[0-9]++(?:\.[0-9]++)?|\.[0-9]++)(?:[eE][-+]?[0-9]++)?[uU]? )
  | (?P<name>    [A-Za-z_][A-Za-z0-9_]*+ )
  | (?P<quoted>  `[A-Za-z0-9_.\-/\x20]++` )
  | (?P<mark>    && | \|\| | == | != | <= | >= | [-+*/%<>!?:.,()\[\]{{}}] )
  | (?P<open>    ["'] )
  | (?P<odd>     . )
    """,
    re.VERBOSE | re.DOTALL,
)
_OPERATORS: Final = frozenset({"&&", "||", "==", "!=", "<=", ">=", *"-+*/%<>!?", "in"})
_HALF: Final = re.compile("[\ud800-\udfff]")


class ExpressionFault(Exception):
    """An expression that cannot be used. `code` is kebab-case, `offset` counts characters from 0.

    Codes: `syntax`, `unknown-name`, `unknown-function`, `wrong-type`, `too-long`, `too-complex`,
    `forbidden-name`, `secret-not-allowed-here`.
    """

    def __init__(self, code: str, detail: str, offset: int, hint: str | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.offset = offset
        self.hint = hint


class Token(NamedTuple):
    """`kind` is text, number, name, quoted (a name in backticks) or mark."""

    kind: str
    text: str
    start: int
    end: int


def tokens_of(source: str) -> list[Token]:
    """The tokens of an expression. Raises `ExpressionFault`."""
    _check_characters(source)
    tokens: list[Token] = []
    depth = operators = 0
    for found in _TOKEN.finditer(source):
        kind = found.lastgroup or ""
        if kind == "space":
            continue
        text = found.group()
        if kind == "open":
            raise ExpressionFault("syntax", "the text that begins here has no closing quote", found.start())
        if kind == "odd":
            raise ExpressionFault("syntax", f"{text!r} means nothing here", found.start())
        if text.startswith("__"):
            detail = "names that begin with '__' mean nothing here"
            hint = f'a member that is called so is read as x["{text}"]'
            raise ExpressionFault("forbidden-name", detail, found.start(), hint)
        tokens.append(Token(kind, text, *found.span()))
        if kind != "mark" and text != "in":
            continue
        depth += (text in "([{") - (text in ")]}")
        operators += text in _OPERATORS
        if depth > MOST_NESTING:
            detail = f"brackets nest at most {MOST_NESTING} deep"
            raise ExpressionFault("too-complex", detail, found.start())
        if operators > MOST_OPERATORS:
            detail = f"an expression has at most {MOST_OPERATORS} operators"
            raise ExpressionFault("too-complex", detail, found.start())
    return tokens


def end_of(text: str, start: int) -> int:
    """Where the expression that begins at `start` ends: at the `}` that nothing in it opened.

    Braces within its texts do not count. Raises `ExpressionFault`.
    """
    depth = 0
    for found in _TOKEN.finditer(text, start):
        kind = found.lastgroup
        if kind == "open":
            detail = "the text that begins here has no closing quote, so its ${ is not closed"
            raise ExpressionFault("syntax", detail, found.start())
        if kind == "mark" and found.group() == "{":
            depth += 1
        elif kind == "mark" and found.group() == "}":
            if depth == 0:
                return found.start()
            depth -= 1
    detail = "this ${ is not closed; write $${ where no expression is meant"
    raise ExpressionFault("syntax", detail, max(start - 2, 0))


def _check_characters(source: str) -> None:
    half = _HALF.search(source)
    if half is not None:
        detail = f"\\u{ord(half.group()):04x} is half of a character"
        raise ExpressionFault("syntax", detail, half.start())
    if len(source) > MOST_BYTES or len(source.encode()) > MOST_BYTES:
        detail = f"an expression has at most {MOST_BYTES} bytes"
        raise ExpressionFault("too-long", detail, len(source.encode()[:MOST_BYTES].decode(errors="ignore")))

"""The structure of an expression, as far as it matters to what the expression uses.

The library alone decides what an expression means. What is read here is which names, members and
functions an expression uses, and what stands within which loop; so operators are kept in the order
written, without their precedence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from flow_manager.core.cel.functions import HAS, LOOPS
from flow_manager.core.cel.text import ExpressionFault, Token

MOST_MEMBERS: Final = 40
"""Members and calls in a row; the library gives up before that."""

_BINARY: Final = frozenset({"&&", "||", "==", "!=", "<", "<=", ">", ">=", "in", "+", "-", "*", "/", "%"})
_BEFORE_A_TEST: Final = frozenset({"&&", "||", "?", ":"})
_BINDING_TIGHTER: Final = frozenset({"+", "-", "*", "/", "%"})
_CONSTANTS: Final = frozenset({"true", "false", "null"})
_LONG_QUOTES: Final = ("'''", '"""')
_END: Final = Token("end", "", -1, -1)


@dataclass(frozen=True, slots=True)
class Literal:
    """`text` is what a text without escapes says; None for everything else."""

    start: int
    end: int
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Path:
    """A name and the members read of it, as far as they are written out: `results["a"].data`.

    It is tested if its last member may be missing: in `has(results.a)`, and as what is left of
    `"a" in results`, which is read as this path.
    """

    start: int
    end: int
    root: str
    steps: tuple[str, ...] = ()
    ends: tuple[int, ...] = ()
    """Where each step ends."""
    is_tested: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """A member of anything else than a path: `[1, 2][0]`, `f(x).data`. `index` is in brackets."""

    start: int
    end: int
    of: Node
    name: str | None = None
    index: Node | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Parts with operators between them, or the members of a list or map (`kind` is "[" or "{")."""

    start: int
    end: int
    kind: str
    parts: tuple[Node, ...]
    operators: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """A function, method or macro. `at` is where its name stands."""

    start: int
    end: int
    at: int
    name: str
    receiver: Node | None
    arguments: tuple[Node, ...]


Node = Literal | Path | Member | Group | Call


def parts_of(node: Node) -> Iterable[Node]:
    """The nodes directly within a node."""
    if isinstance(node, Member):
        return (node.of,) if node.index is None else (node.of, node.index)
    if isinstance(node, Call):
        return node.arguments if node.receiver is None else (node.receiver, *node.arguments)
    return node.parts if isinstance(node, Group) else ()


def loop_of(node: Call) -> tuple[Node, str, tuple[Node, ...]] | None:
    """Of a complete macro: what it goes through, its variable, and what it does with each item."""
    most = 3 if node.name == "map" else 2
    if node.name not in LOOPS or node.receiver is None or not 2 <= len(node.arguments) <= most:
        return None
    variable = node.arguments[0]
    if not isinstance(variable, Path) or variable.steps:
        return None
    return node.receiver, variable.root, node.arguments[1:]


def tree_of(source: str, tokens: list[Token]) -> Node:
    """Raises `ExpressionFault` with the code `syntax`."""
    return _Parser(source, tokens).whole()


def unexpected(source: str, offset: int) -> ExpressionFault:
    """The fault of a text that cannot go on as it does at `offset`."""
    rest = source[offset : offset + 20].split(maxsplit=1)
    if not rest:
        return ExpressionFault("syntax", "something is missing at the end of the expression", len(source))
    return ExpressionFault("syntax", f"the expression cannot go on with {rest[0]!r} here", offset)


class _Parser:
    def __init__(self, source: str, tokens: list[Token]) -> None:
        self._source = source
        self._tokens = [*tokens, _END]
        self._at = 0

    def whole(self) -> Node:
        node = self._expression()
        if self._next is not _END:
            raise self._unexpected()
        return node

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._next
        if token is _END:
            raise self._unexpected()
        self._at += 1
        return token

    def _is_next(self, mark: str) -> bool:
        return self._tokens[self._at].text == mark

    def _expect(self, mark: str) -> Token:
        if not self._is_next(mark):
            raise self._unexpected()
        return self._take()

    def _unexpected(self) -> ExpressionFault:
        token = self._next
        return unexpected(self._source, len(self._source) if token is _END else token.start)

    def _expression(self) -> Node:
        parts, operators, choices = [self._operand()], [], 0
        while True:
            operator = self._next
            if operator.text == "?":
                choices += 1
            elif operator.text == ":" and choices:
                choices -= 1
            elif operator.text not in _BINARY:
                break
            operators.append(self._take().text)
            parts.append(self._operand())
        if choices:
            raise self._unexpected()
        if not operators:
            return parts[0]
        _mark_tests(parts, operators)
        return Group(parts[0].start, parts[-1].end, "", tuple(parts), tuple(operators))

    def _operand(self) -> Node:
        if not (self._is_next("!") or self._is_next("-")):
            return self._with_members(self._primary())
        first = self._take()
        while self._is_next("!") or self._is_next("-"):
            self._take()
        operand = self._with_members(self._primary())
        return Group(first.start, operand.end, first.text, (operand,))

    def _primary(self) -> Node:
        token = self._next
        if token.kind == "text":
            return Literal(token.start, self._take().end, _meaning(token.text))
        if token.kind == "number" or (token.kind == "name" and token.text in _CONSTANTS):
            return Literal(token.start, self._take().end)
        if token.kind == "name" and token.text != "in":
            self._take()
            if self._is_next("("):
                arguments, end = self._list(")")
                if token.text == HAS and len(arguments) == 1:
                    arguments = (_tested(arguments[0]),)
                return Call(token.start, end, token.start, token.text, None, arguments)
            return Path(token.start, token.end, token.text)
        if self._is_next("("):
            self._take()
            within = self._expression()
            return Group(token.start, self._expect(")").end, "(", (within,))
        if self._is_next("["):
            parts, end = self._list("]", may_end_with_comma=True)
            return Group(token.start, end, "[", parts)
        if self._is_next("{"):
            parts, end = self._entries()
            return Group(token.start, end, "{", parts)
        raise self._unexpected()

    def _with_members(self, node: Node) -> Node:
        for _ in range(MOST_MEMBERS):
            if self._is_next("."):
                self._take()
                node = self._selected(node)
            elif self._is_next("["):
                self._take()
                index = self._expression()
                node = _indexed(node, index, self._expect("]").end)
            else:
                return node
        detail = f"at most {MOST_MEMBERS} members are read in a row"
        raise ExpressionFault("too-complex", detail, self._next.start)

    def _selected(self, node: Node) -> Node:
        token = self._next
        if token.kind not in ("name", "quoted") or token.text in _CONSTANTS or token.text == "in":
            raise self._unexpected()
        self._take()
        if token.kind == "name" and self._is_next("("):
            arguments, end = self._list(")")
            return Call(node.start, end, token.start, token.text, node, arguments)
        return _with_step(node, token.text.strip("`"), token.end)

    def _list(self, close: str, may_end_with_comma: bool = False) -> tuple[tuple[Node, ...], int]:
        """What stands between an opening bracket, which comes next, and `close`."""
        self._take()
        parts: list[Node] = []
        while not self._is_next(close):
            if parts:
                self._expect(",")
                if may_end_with_comma and self._is_next(close):
                    break
            parts.append(self._expression())
        return tuple(parts), self._take().end

    def _entries(self) -> tuple[tuple[Node, ...], int]:
        self._take()
        parts: list[Node] = []
        while not self._is_next("}"):
            if parts:
                self._expect(",")
                if self._is_next("}"):
                    break
            parts.append(self._expression())
            self._expect(":")
            parts.append(self._expression())
        return tuple(parts), self._take().end


def _mark_tests(parts: list[Node], operators: list[str]) -> None:
    """Read `"a" in results` as a test of `results.a`."""
    around = ["&&", *operators, "&&"]
    for place, operator in enumerate(operators):
        key, within = parts[place], parts[place + 1]
        if (
            operator == "in"
            and around[place] in _BEFORE_A_TEST
            and around[place + 2] not in _BINDING_TIGHTER
            and isinstance(key, Literal)
            and key.text is not None
            and isinstance(within, Path)
        ):
            parts[place + 1] = _tested(_with_step(within, key.text, within.end))


def _tested(node: Node) -> Node:
    return replace(node, is_tested=True) if isinstance(node, Path) else node


def _with_step(node: Node, name: str, end: int) -> Node:
    if isinstance(node, Path):
        return Path(node.start, end, node.root, (*node.steps, name), (*node.ends, end))
    return Member(node.start, end, node, name)


def _indexed(node: Node, index: Node, end: int) -> Node:
    if isinstance(node, Path) and isinstance(index, Literal) and index.text is not None:
        return _with_step(node, index.text, end)
    return Member(node.start, end, node, None, index)


def _meaning(text: str) -> str | None:
    """What a text says, if it can be read off: it is no bytes and has no escapes."""
    quoted = text.lstrip("bBrR")
    prefix = text[: len(text) - len(quoted)].lower()
    quotes = 3 if quoted.startswith(_LONG_QUOTES) else 1
    within = quoted[quotes:-quotes]
    return None if "b" in prefix or ("\\" in within and "r" not in prefix) else within

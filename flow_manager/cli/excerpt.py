"""A problem, shown at its place in the file: line, column, caret, hint."""

from __future__ import annotations

from typing import Final, Literal

from rich.cells import cell_len
from rich.text import Text

from flow_manager.core.places import Place, place_of
from flow_manager.errors import Problem

Severity = Literal["error", "warning"]

WIDTH: Final = 96
"""Characters of a line that are shown; of a longer line, those around the place."""
BEFORE: Final = 40
"""Characters that stay visible before the place in a line that is too long."""

_COLOURS: Final = {"error": "bold red", "warning": "bold yellow"}


def excerpt(name: str, text: str, problem: Problem, severity: Severity) -> Text:
    """The problem as lines to print; `name` and `text` are those of the file."""
    place = _place(text, problem)
    gutter = " " * len(str(place.line))
    shown = Text()
    shown.append(f"{severity}[{printable(problem.code)}]", _COLOURS[severity])
    shown.append(f": {printable(problem.detail)}\n", "bold")
    shown.append(f"{gutter}--> ", "blue").append(f"{name}:{place.line}:{place.column}\n")
    shown.append(f"{gutter} |\n", "blue")
    before, marked, after = _window(_line(text, place), place)
    shown.append(f"{place.line} | ", "blue").append(f"{before}{marked}{after}\n")
    carets = "^" * max(1, cell_len(marked))
    shown.append(f"{gutter} | ", "blue").append(" " * cell_len(before)).append(carets, _COLOURS[severity])
    shown.append("\n")
    if problem.hint:
        shown.append(f"{gutter} = ", "blue").append(f"hint: {printable(problem.hint)}\n")
    if problem.line is None:
        shown.append(f"{gutter} = ", "blue").append(f"at {printable(problem.pointer)}\n")
    return shown


def printable(text: str) -> str:
    """The text without anything that moves a terminal's cursor, colours it or turns it around."""
    return "".join(
        each if each.isprintable() else " " if each in "\t\n\r" else "\N{REPLACEMENT CHARACTER}"
        for each in text
    )


def _place(text: str, problem: Problem) -> Place:
    """Where the problem is; a reader that could not read the text has said it, else the pointer does."""
    if problem.line is None:
        return place_of(text, problem.pointer, of_name=problem.code == "unknown-field")
    column, offset = problem.column or 1, problem.offset or 0
    return Place(line=problem.line, column=column, offset=offset, length=1)


def _line(text: str, place: Place) -> str:
    lines = text.split("\n")
    return lines[place.line - 1] if place.line <= len(lines) else ""


def _window(line: str, place: Place) -> tuple[str, str, str]:
    """The line before, at and after the place, cut to what fits. A place never goes beyond its line."""
    start = place.column - 1
    end = min(start + place.length, len(line))
    left = max(0, start - BEFORE) if len(line) > WIDTH else 0
    right = min(len(line), left + WIDTH)
    before = ("\N{HORIZONTAL ELLIPSIS}" if left else "") + printable(line[left:start])
    after = printable(line[min(end, right) : right]) + (
        "\N{HORIZONTAL ELLIPSIS}" if right < len(line) else ""
    )
    return before, printable(line[start : min(end, right)]), after

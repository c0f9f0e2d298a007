"""Everything that the command line prints, and the only file that prints.

Standard output carries the answer, standard error everything else. Text from flows, tasks and files is
printed as text: never as markup, never as control characters.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self

import click
import orjson
from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from flow_manager.cli.excerpt import Severity, excerpt, printable
from flow_manager.core.events import (
    AttemptEnded,
    AttemptLost,
    AttemptStarted,
    Event,
    ExecutionQuarantined,
    RetryScheduled,
    Routed,
)
from flow_manager.core.view import View
from flow_manager.errors import InvalidInput, Problem

Cell = str | Text

_COLOURS: Final = MappingProxyType(
    {
        "completed": "green",
        "success": "green",
        "failed": "red",
        "failure": "red",
        "timeout": "red",
        "unknown": "red",
        "lost": "red",
        "quarantined": "red",
        "needs_repair": "red",
        "waiting": "yellow",
    }
)


def is_terminal() -> bool:
    """Whether somebody looks at the answer."""
    return sys.stdout.isatty()


def show_json(value: object) -> None:
    """One JSON value on standard output, in UTF-8; on a terminal with indents."""
    indent = orjson.OPT_INDENT_2 if is_terminal() else 0
    click.echo(orjson.dumps(value, option=indent))


def show_line(value: object) -> None:
    """One JSON value on a line of its own."""
    click.echo(orjson.dumps(value))


def show_text(text: str) -> None:
    click.echo(text)


def show_note(text: str) -> None:
    """Something beside the answer, on standard error."""
    click.echo(printable(text), err=True)


def show_error(message: str, problems: Sequence[Problem] = ()) -> None:
    """An error on standard error, with the problems that it carries."""
    console = _console(error=True)
    console.print(Text.assemble(("error", "bold red"), ": ", (printable_lines(message), "bold")))
    for problem in problems:
        hint = f" ({printable(problem.hint)})" if problem.hint else ""
        console.print(Text(f"  {printable(problem.pointer)}: {printable(problem.detail)}{hint}"))


def show_refusal(error: Exception) -> None:
    """An error that a command ended with."""
    show_error(str(error), error.problems if isinstance(error, InvalidInput) else ())


def show_problems(name: str, text: str, problems: Sequence[Problem], severity: Severity) -> None:
    """Problems of a file on standard error, each with the place it is about."""
    console = _console(error=True)
    for problem in problems:
        console.print(excerpt(name, text, problem, severity), soft_wrap=True)


def show_facts(facts: Sequence[tuple[str, Cell]]) -> None:
    """Names and values, one pair a line."""
    grid = Table.grid(padding=(0, 2))
    for name, value in facts:
        grid.add_row(Text(name, "bold"), _cell(value))
    _console().print(grid)


def show_table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, empty: str = "nothing") -> None:
    """A table, or the words for an empty one on standard error."""
    if not rows:
        _console(error=True).print(Text(empty))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    _console().print(table)


def status_text(status: str) -> Text:
    return Text(status, _COLOURS.get(status, ""))


def short_time(moment: datetime | None) -> str:
    """To the second, in UTC; a dash for what has not happened."""
    return "-" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%SZ")


def printable_lines(message: str) -> str:
    return "\n".join(printable(line) for line in message.split("\n"))


class Progress:
    """An execution as it goes, on the terminal: a line for what has happened, a spinner for what goes on."""

    def __init__(self) -> None:
        self._console = _console()
        self._status = Status("starting", console=self._console)

    def __enter__(self) -> Self:
        self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.stop()

    def show(self, event: Event) -> None:
        write = _LINES.get(type(event))
        if write is not None:
            self._console.print(write(event))
        if isinstance(event, AttemptStarted):
            again = f" (attempt {event.attempt})" if event.attempt > 1 else ""
            self._status.update(Text(f"{event.task}{again}"))

    def show_end(self, view: View) -> None:
        took = (
            timedelta()
            if view.ended_at is None or view.started_at is None
            else view.ended_at - view.started_at
        )
        line = Text.assemble(
            status_text(view.status.value), f" in {took.total_seconds():.2f} s  ", (view.execution_id, "dim")
        )
        self._console.print(line)
        if view.error is not None:
            self._console.print(Text(f"{printable(view.error.code)}: {printable(view.error.message)}", "red"))


def _attempt_ended(event: AttemptEnded) -> Text:
    is_success = event.outcome == "success"
    mark = ("\N{CHECK MARK}", "green") if is_success else ("\N{BALLOT X}", "red")
    return Text.assemble(mark, f" {event.task}  ", printable(event.message))


def _attempt_lost(event: AttemptLost) -> Text:
    return Text.assemble(("\N{BALLOT X}", "red"), f" {event.task}  lost: {printable(event.reason)}")


def _retry_scheduled(event: RetryScheduled) -> Text:
    return Text(f"  {event.task} again at {short_time(event.due_at)}, attempt {event.attempt}", "yellow")


def _routed(event: Routed) -> Text:
    why = f"by {event.condition}" if event.condition else "no condition"
    return Text(f"  \N{RIGHTWARDS ARROW} {event.to} ({why})", "dim")


def _quarantined(event: ExecutionQuarantined) -> Text:
    return Text(f"  {event.task} is in quarantine: {printable(event.reason)}", "red")


_LINES: Final[Mapping[type, Callable[[Any], Text]]] = MappingProxyType(
    {
        AttemptEnded: _attempt_ended,
        AttemptLost: _attempt_lost,
        RetryScheduled: _retry_scheduled,
        Routed: _routed,
        ExecutionQuarantined: _quarantined,
    }
)


def _cell(value: Cell) -> Text:
    return value if isinstance(value, Text) else Text(printable(value))


def _console(*, error: bool = False) -> Console:
    # Made for each use: standard output may have been redirected since. A pipe has no width to fold to.
    stream = sys.stderr if error else sys.stdout
    width = None if stream.isatty() else 10_000
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)

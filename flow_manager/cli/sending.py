"""What is sent to an execution through the service: `cancel`, `signal`, and what else an operator asks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

import click

from flow_manager.cli import output
from flow_manager.cli.json_option import read_value
from flow_manager.cli.service import url_option
from flow_manager.client import Accepted, Client
from flow_manager.core.execution_id import read_execution_id

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS: Final = (
    click.option("--by", metavar="TEXT", default="", help="Who says so."),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    url_option,
)


def _sending_options(command: _Command) -> _Command:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


class _Said(NamedTuple):
    """What all commands of an operator are given: why, by whom, how to answer, and which service."""

    reason: str
    by: str
    as_json: bool
    url: str

    @property
    def who(self) -> dict[str, str]:
        return {"reason": self.reason, "by": self.by}


def _controlling(command: Callable[..., None]) -> Callable[..., None]:
    """The id, and what is said beside it; the command is called with both, and its own options."""

    @functools.wraps(command)
    def said(text: str, **options: Any) -> None:
        given = _Said(*(options.pop(name) for name in _Said._fields))
        command(read_execution_id(text), given, **options)

    reason = click.option("--reason", metavar="TEXT", default="", help="Why: it stands in the history.")
    return click.argument("text", metavar="ID")(reason(_sending_options(said)))


@click.command(short_help="Ask an execution to end.")
@click.argument("text", metavar="ID")
@click.option("--reason", metavar="TEXT", default="", help="Why: the message of its error.")
@_sending_options
def cancel(text: str, reason: str, by: str, as_json: bool, url: str) -> None:
    """Ask the execution ID to end as cancelled: what runs is interrupted, what was done is undone."""
    execution_id = read_execution_id(text)
    with Client(url) as client:
        _show(client.cancel(execution_id, reason, by=by), as_json, "will end as cancelled")


@click.command(short_help="Send a signal to an execution.")
@click.argument("text", metavar="ID")
@click.argument("name")
@click.option("--payload", metavar="JSON|@FILE", help="What goes with it: any JSON. Default null.")
@_sending_options
def signal(text: str, name: str, payload: str | None, by: str, as_json: bool, url: str) -> None:
    """Send the signal NAME to the execution ID."""
    execution_id = read_execution_id(text)
    value = _read(payload, "--payload")
    with Client(url) as client:
        _show(client.signal(execution_id, name, value, by=by), as_json, f"has the signal {name}")


@click.command(short_help="Hold an execution.")
@_controlling
def pause(execution_id: str, said: _Said) -> None:
    """Hold the execution ID: what runs may end, nothing else begins."""
    with Client(said.url) as client:
        _show(client.pause(execution_id, **said.who), said.as_json, "is held")


@click.command(short_help="Let a paused execution go on.")
@_controlling
def resume(execution_id: str, said: _Said) -> None:
    """Let the paused execution ID go on."""
    with Client(said.url) as client:
        _show(client.resume(execution_id, **said.who), said.as_json, "goes on")


@click.command(short_help="Have a failed task run go on.")
@_controlling
def retry(execution_id: str, said: _Said) -> None:
    """Have the failed task run of the execution ID go on with another attempt at once."""
    with Client(said.url) as client:
        _show(client.retry(execution_id, **said.who), said.as_json, "is tried again")


@click.command(short_help="Go on at another task.")
@_controlling
@click.argument("task")
@click.option("--input", metavar="JSON|@FILE", help="Another input of the execution.")
@click.option("--result", metavar="JSON|@FILE", help="The data that the task comes to.")
def rerun(execution_id: str, said: _Said, task: str, input: str | None, result: str | None) -> None:
    """Have the execution ID go on at TASK."""
    given = None if result is None else {"data": read_value(result, "--result")}
    with Client(said.url) as client:
        accepted = client.rerun(execution_id, task, input=_read(input, "--input"), result=given, **said.who)
        _show(accepted, said.as_json, f"goes on at {task}")


@click.command(short_help="Give the result of the task that waits.")
@click.option("--data", metavar="JSON|@FILE", help="The data of the result. Default null.")
@click.option(
    "--outcome",
    type=click.Choice(["success", "failure", "timeout", "unknown"]),
    default="success",
    show_default=True,
    help="The outcome of the task.",
)
@_controlling
def skip(execution_id: str, said: _Said, data: str | None, outcome: str) -> None:
    """Give the result of the task for which the execution ID waits."""
    with Client(said.url) as client:
        accepted = client.skip(execution_id, _read(data, "--data"), outcome=outcome, **said.who)
        _show(accepted, said.as_json, f"has the result {outcome}")


@click.command(short_help="Start another execution with the results so far.")
@click.option("--from-task", metavar="TASK", help="Where it goes on. Default: from the beginning.")
@click.option("--input", metavar="JSON|@FILE", help="Another input.")
@_controlling
def fork(execution_id: str, said: _Said, from_task: str | None, input: str | None) -> None:
    """Start another execution of the same flow, with the results of the execution ID so far."""
    with Client(said.url) as client:
        accepted = client.fork(execution_id, from_task, input=_read(input, "--input"), **said.who)
        _show(accepted, said.as_json, "was started")


def _read(text: str | None, option: str) -> Any:
    return None if text is None else read_value(text, option)


def _show(accepted: Accepted, as_json: bool, what: str) -> None:
    if as_json:
        output.show_json({"execution_id": accepted.execution_id, "accepted": accepted.accepted})
    else:
        output.show_text(f"{accepted.execution_id} {output.printable_lines(what)}")

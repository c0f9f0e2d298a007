"""`flow-manager cancel` and `signal`: what is sent to an execution, through the service."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from flow_manager.cli import output
from flow_manager.cli.source import VARIABLE
from flow_manager.client import Accepted, Client
from flow_manager.client.client import DEFAULT_URL
from flow_manager.core.execution_id import read_execution_id
from flow_manager.core.values import read_json

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS: Final = (
    click.option("--by", metavar="TEXT", default="", help="Who says so."),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    click.option(
        "--url",
        metavar="URL",
        default=DEFAULT_URL,
        envvar=VARIABLE,
        show_default=True,
        show_envvar=True,
        help="Address of the service.",
    ),
)


def _sending_options(command: _Command) -> _Command:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


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
    value = None if payload is None else _read_payload(payload)
    with Client(url) as client:
        _show(client.signal(execution_id, name, value, by=by), as_json, f"has the signal {name}")


def _read_payload(text: str) -> object:
    return read_json(Path(text[1:]).read_bytes() if text.startswith("@") else os.fsencode(text))


def _show(accepted: Accepted, as_json: bool, what: str) -> None:
    if as_json:
        output.show_json({"execution_id": accepted.execution_id, "accepted": accepted.accepted})
    else:
        output.show_text(f"{accepted.execution_id} {output.printable_lines(what)}")

"""`flow-manager tail`: an execution as it goes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, Final

import click
import httpx
import msgspec

from flow_manager import bootstrap
from flow_manager.cli import output
from flow_manager.cli.executions import event_row, written
from flow_manager.cli.exits import ExitCode
from flow_manager.cli.options import setting_options, settings_from
from flow_manager.cli.source import address_of, url_option
from flow_manager.client.connection import check_address, silence
from flow_manager.client.failures import failure_of
from flow_manager.core.events import Event, ExecutionEnded, decode_event
from flow_manager.core.execution_id import read_execution_id
from flow_manager.core.states import ExecutionStatus
from flow_manager.engine.following import Followers
from flow_manager.errors import ExecutionUnknown, ServiceUnreachable

SILENCE: Final = 45.0
"""Seconds without even a heartbeat after which a service is gone."""
_BEFORE_NEXT_TRY: Final = 1.0


@click.command(short_help="Follow an execution until it has ended.")
@click.argument("text", metavar="ID")
@url_option
@click.option("--json", "as_json", is_flag=True, help="Print each event as a line of JSON.")
@setting_options("database")
@click.pass_context
def tail(ctx: click.Context, /, text: str, url: str | None, as_json: bool, **options: object) -> None:
    """Show what has happened to the execution ID, and what happens, until it has ended.

    Exits with 1 if it did not complete.
    """
    execution_id = read_execution_id(text)
    status = ExecutionStatus.RUNNING
    address = address_of(url, options)
    events = _stored(options, execution_id) if address is None else _served(address, execution_id)
    for number, event in enumerate(events, start=1):
        _show(number, event, as_json)
        status = event.status if isinstance(event, ExecutionEnded) else status
    ctx.exit(ExitCode.OK if status is ExecutionStatus.COMPLETED else ExitCode.FAILED)


def _show(number: int, event: Event, as_json: bool) -> None:
    if as_json:
        output.show_line({"seq": number, **written(event)})
    else:
        output.show_text(output.printable_lines("  ".join(event_row(number, event))))


def _stored(options: Mapping[str, object], execution_id: str) -> Iterator[Event]:
    with closing(bootstrap.open_reader(settings_from(options))) as reader:
        for news in Followers(reader).events(execution_id):
            yield from news.events


def _served(url: str, execution_id: str) -> Iterator[Event]:
    """The service may let go of us, as when it restarts: then ask for what follows the last event. Raises
    `ServiceUnreachable`, and the error of a problem."""
    check_address(url)
    path = f"/v1/executions/{execution_id}/events"
    seq, event = 0, None
    with httpx.Client(base_url=url, timeout=SILENCE) as client:
        while not isinstance(event, ExecutionEnded):
            if seq:
                time.sleep(_BEFORE_NEXT_TRY)
            headers = {"Accept": "text/event-stream", "Last-Event-ID": str(seq)}
            with _opened(client, client.build_request("GET", path, headers=headers)) as answer:
                for body in _bodies(answer):
                    seq = body.pop("seq")
                    event = decode_event(msgspec.json.encode(body))
                    yield event
            if event is None:
                return


@contextlib.contextmanager
def _opened(client: httpx.Client, request: httpx.Request) -> Iterator[httpx.Response]:
    try:
        answer = client.send(request, stream=True)
    except httpx.TransportError as error:
        raise ServiceUnreachable(silence(str(client.base_url), error)) from error
    with closing(answer):
        if not answer.is_success:
            answer.read()
            raise failure_of(answer, ExecutionUnknown)
        with contextlib.suppress(httpx.TransportError):  # cut off in the middle
            yield answer


def _bodies(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    """What the service tells until it or the execution ends."""
    for line in answer.iter_lines():
        if line.startswith("data: "):
            yield msgspec.json.decode(line[6:])

"""`flow-manager show`, `why` and `doctor`: what is stored, also while a server owns the file, or what a
server tells."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from flow_manager.cli import output
from flow_manager.cli.exits import ExitCode
from flow_manager.cli.options import setting_options
from flow_manager.cli.source import mend, open_source, url_option
from flow_manager.core.attempts import format_time
from flow_manager.core.events import Event
from flow_manager.core.execution_id import read_execution_id
from flow_manager.core.states import WakeReason
from flow_manager.core.view import View
from flow_manager.core.why import explain

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command(short_help="Show one execution and its task runs.")
@click.argument("text", metavar="ID")
@click.option("--history", is_flag=True, help="Show every event as well.")
@as_json_option
@url_option
@setting_options("database")
def show(text: str, history: bool, as_json: bool, url: str | None, **options: object) -> None:
    """Show the execution ID: how it stands and how its task runs went."""
    execution_id = read_execution_id(text)
    with closing(open_source(url, options)) as source:
        view = source.describe(execution_id)
        events = source.history(execution_id) if history else ()
    if as_json:
        body = view.to_json()
        output.show_json(body | {"history": [written(event) for event in events]} if history else body)
        return
    _show_view(view)
    if events:
        rows = [event_row(number, event) for number, event in enumerate(events, start=1)]
        output.show_table(("no", "at", "event", "details"), rows)


@click.command(short_help="Say why an execution is not moving.")
@click.argument("text", metavar="ID")
@as_json_option
@setting_options("database")
@url_option
def why(text: str, as_json: bool, url: str | None, **options: object) -> None:
    """Say what the execution ID waits for, since when, and what will move it on."""
    execution_id = read_execution_id(text)
    with closing(open_source(url, options)) as source:
        view = source.describe(execution_id)
    explained = explain(view, view.told_at, datetime.now(UTC))
    if as_json:
        output.show_json(explained.to_json())
        return
    output.show_text(explained.sentence)
    facts: list[tuple[str, output.Cell]] = [
        ("status", output.status_text(explained.status.value)),
        ("since", output.short_time(explained.since)),
    ]
    if explained.moved_by:
        facts.append(("moved by", explained.moved_by))
    if explained.until is not None:
        facts.append(("at the latest", output.short_time(explained.until)))
    if explained.command:
        facts.append(("to force it", explained.command))
    output.show_facts(facts)


@click.command(short_help="Check the stored executions.")
@click.option("--repair", is_flag=True, help="Mend what can be mended; needs the file to itself.")
@as_json_option
@url_option
@setting_options("database")
@click.pass_context
def doctor(ctx: click.Context, /, repair: bool, as_json: bool, url: str | None, **options: object) -> None:
    """Check that every open execution has what will move it on, and every history is whole.

    Exits with 1 if a promise is broken.
    """
    for each in mend(url, options) if repair else ():
        output.show_note(f"mended: {each.execution_id} {each.code}: {each.detail}")
    with closing(open_source(url, options)) as source:
        violations = source.violations()
    if as_json:
        output.show_json({"sound": not violations, "violations": [each.to_json() for each in violations]})
    else:
        rows = [(each.execution_id, each.code, each.detail) for each in violations]
        output.show_table(("execution", "violation", "detail"), rows, empty="sound: no violations")
    ctx.exit(ExitCode.FAILED if violations else ExitCode.OK)


def _show_view(view: View) -> None:
    facts: list[tuple[str, output.Cell]] = [
        ("execution", view.execution_id),
        ("flow", view.flow_id),
        ("status", output.status_text(view.status.value)),
        ("started", output.short_time(view.started_at)),
        ("ended", output.short_time(view.ended_at)),
    ]
    facts += [("label", f"{name}={value}") for name, value in view.labels.items()]
    if view.wake is not None and view.wake.reason is not WakeReason.CLAIM and not view.is_ended:
        facts.append(("waits for", f"{view.wake.reason.value} {view.wake.detail}".strip()))
        facts.append(("due", format_time(view.wake.due_at)))
    if view.error is not None:
        facts.append(("error", f"{view.error.code}: {view.error.message}"))
    output.show_facts(facts)
    rows = [
        (str(each.run), each.task, str(each.attempt), output.status_text(each.status), each.message)
        for each in view.attempts
    ]
    output.show_table(("run", "task", "attempt", "status", "message"), rows, empty="no task has run yet")


def written(event: Event) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(event)
    return fields


def event_row(number: int, event: Event) -> tuple[str, str, str, str]:
    fields = written(event)
    kind = fields.pop("type")
    del fields["at"]
    details = msgspec.json.encode(fields).decode() if fields else ""
    return str(number), format_time(event.at), kind, details

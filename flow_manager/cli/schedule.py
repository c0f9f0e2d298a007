"""`flow-manager schedule`: what is started by the clock. Only a preview needs no service."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import click

from flow_manager.cli import output
from flow_manager.cli.options import count_option
from flow_manager.cli.service import told, url_option
from flow_manager.client import Client, Schedule
from flow_manager.core.attempts import format_time
from flow_manager.core.schedule_document import read_schedule
from flow_manager.core.schedules import times_after, zone_of
from flow_manager.core.values import read_json
from flow_manager.engine.clock import SystemClock
from flow_manager.ports.backend import DEFAULT_LISTED, MOST_LISTED
from flow_manager.ports.scheduling import DEFAULT_PREVIEWED, MOST_PREVIEWED

_SHOWN: Final = ("schedule", "version", "paused", "next time", "flow")

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
id_argument = click.argument("schedule_id", metavar="ID")
file_argument = click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True, path_type=Path)
)


@click.group(short_help="Start flows by the clock.")
def schedule() -> None:
    """Start published flows by the clock: by cron with a time zone, at intervals, or once."""


@schedule.command("list", short_help="List schedules.")
@url_option
@count_option("--limit", DEFAULT_LISTED, MOST_LISTED, "At most so many.")
@as_json_option
def list_schedules(url: str, limit: int, as_json: bool) -> None:
    """List schedules, by id."""
    with Client(url) as client:
        found = client.schedules(limit=limit)
    if as_json:
        output.show_json([told(each) for each in found])
    else:
        output.show_table(_SHOWN, [_row(each) for each in found], empty="no schedules")


@schedule.command(short_help="Show a schedule and what became of its times.")
@id_argument
@url_option
@as_json_option
def show(schedule_id: str, url: str, as_json: bool) -> None:
    """Show the schedule ID, its next times, and what became of the last ones."""
    with Client(url) as client:
        found = client.schedule(schedule_id)
        fires = client.schedule_fires(schedule_id, limit=10)
    if as_json:
        output.show_json(told(found) | {"fires": [told(each) for each in fires]})
        return
    _show(found)
    rows = [(format_time(each.nominal_time), each.outcome, each.execution_id or "-") for each in fires]
    output.show_table(("nominal time", "outcome", "execution"), rows, empty="it has not fired yet")


@schedule.command(short_help="Store a schedule.")
@file_argument
@url_option
@click.option("--if-version", type=int, help="Only in the place of this version; 0: only if there is none.")
@as_json_option
def put(file: Path, url: str, if_version: int | None, as_json: bool) -> None:
    """Store the schedule in FILE (- is standard input), in the place of the one that has its id."""
    document = _read(file)
    schedule_id = read_schedule(document, SystemClock().now(), is_known=True).id
    with Client(url) as client:
        found = client.put_schedule(schedule_id, document, expected=if_version)
    output.show_json(told(found)) if as_json else _show(found)


@schedule.command(short_help="Start nothing more, until it is resumed.")
@id_argument
@url_option
def pause(schedule_id: str, url: str) -> None:
    """Start nothing more of the schedule ID, until it is resumed."""
    with Client(url) as client:
        _show(client.pause_schedule(schedule_id))


@schedule.command(short_help="Go on from now.")
@id_argument
@url_option
def resume(schedule_id: str, url: str) -> None:
    """Go on with the times of the schedule ID from now on."""
    with Client(url) as client:
        _show(client.resume_schedule(schedule_id))


@schedule.command(short_help="Start it now.")
@id_argument
@url_option
def trigger(schedule_id: str, url: str) -> None:
    """Start the flow of the schedule ID now, and print the id of the execution."""
    with Client(url) as client:
        output.show_text(client.trigger_schedule(schedule_id).execution_id)


@schedule.command(short_help="Check a schedule and show its next times.")
@file_argument
@count_option("--count", DEFAULT_PREVIEWED, MOST_PREVIEWED, "So many times.")
@as_json_option
def preview(file: Path, count: int, as_json: bool) -> None:
    """Check the schedule in FILE (- is standard input) and show its next times. Needs no service."""
    now = SystemClock().now()
    document = read_schedule(_read(file), now)
    times = times_after(document.rule, now, count)
    if as_json:
        output.show_json({"times": [format_time(each) for each in times]})
        return
    zone = zone_of(document.timezone or "UTC")
    rows = [(output.short_time(each), each.astimezone(zone).isoformat(sep=" ")) for each in times]
    output.show_table(("nominal time", f"in {document.timezone or 'UTC'}"), rows)


def _read(file: Path) -> Any:
    return read_json(sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes())


def _show(found: Schedule) -> None:
    facts: list[tuple[str, output.Cell]] = list(zip(_SHOWN, _row(found), strict=True))
    facts += [("then", format_time(each)) for each in found.next_times]
    output.show_facts(facts)


def _row(found: Schedule) -> list[str]:
    paused = "yes" if found.paused else "no"
    flow = "-" if found.schedule is None else found.schedule["flow_id"]
    next_time = "-" if found.next_time is None else format_time(found.next_time)
    return [found.id, str(found.version), paused, next_time, flow]

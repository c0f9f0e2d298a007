"""`flow-manager list`: which executions are stored, also while a server owns the file."""

from __future__ import annotations

from collections.abc import Sequence

import click

from flow_manager.cli import output
from flow_manager.cli.options import count_option, setting_options
from flow_manager.cli.source import open_search, url_option
from flow_manager.core.states import ExecutionStatus, WakeReason
from flow_manager.errors import InvalidRequest, Problem
from flow_manager.ports.filters import read_filter
from flow_manager.ports.search import DEFAULT_LISTED, MOST_LISTED, Filter, Page, Search, Summary


@click.command("list", short_help="List executions, the newest first.")
@count_option("--limit", DEFAULT_LISTED, MOST_LISTED, "At most so many.")
@click.option("--flow-id", metavar="ID", help="Only of this flow.")
@click.option("--version", metavar="NUMBER", help="Only of this published version of the flow.")
@click.option(
    "--status",
    type=click.Choice([status.value for status in ExecutionStatus]),
    help="Only with this status.",
)
@click.option(
    "--label", "labels", metavar="NAME:VALUE", multiple=True, help="Only with this label; repeatable."
)
@click.option("--since", metavar="TIME", help="Only those started at this time or later.")
@click.option("--until", metavar="TIME", help="Only those started before this time.")
@click.option(
    "--error", metavar="CODE", help="Only those that failed with this code, or with codes that begin so."
)
@click.option(
    "--reason",
    type=click.Choice([reason.value for reason in WakeReason]),
    help="Only those that this will move on.",
)
@click.option(
    "--q", metavar="TEXT", help="Only those with this in flow, labels or error, or with an id that begins so."
)
@click.option("--cursor", metavar="CURSOR", help="Go on after the page that showed this.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@url_option
@setting_options("database")
def list_executions(
    limit: int,
    labels: Sequence[str],
    cursor: str | None,
    as_json: bool,
    **options: str | None,
) -> None:
    """List executions, the newest first."""
    database, url = {"database": options.pop("database")}, options.pop("url")
    parts = {name: value for name, value in options.items() if value is not None}
    wanted = _read(parts, labels)
    with open_search(url, database, parts, labels) as search:
        page = _filled(search, wanted, cursor, limit)
    if as_json:
        output.show_json(page.to_json())
        return
    rows = [_row(each) for each in page.executions]
    output.show_table(("execution", "flow", "status", "started", "ended"), rows, empty="no executions")
    if page.cursor is not None:
        output.show_note(f"there are more: --cursor {page.cursor}")


def _read(parts: dict[str, str], labels: Sequence[str]) -> Filter:
    wanted, faults = read_filter(parts, labels)
    if faults:
        problems = [Problem(f"--{each.name.replace('_', '-')}", each.code, each.right) for each in faults]
        raise InvalidRequest("these options cannot be read", problems)
    return wanted


def _filled(search: Search, wanted: Filter, cursor: str | None, limit: int) -> Page:
    """A page that is short only if there is no more; each look has its bound, and nobody else waits."""
    page = search.page(wanted, cursor, limit)
    executions = list(page.executions)
    while len(executions) < limit and page.cursor is not None:
        page = search.page(wanted, page.cursor, limit - len(executions))
        executions += page.executions
    return Page(executions, page.cursor)


def _row(each: Summary) -> tuple[output.Cell, ...]:
    return (
        each.execution_id,
        each.flow_id,
        output.status_text(each.status.value),
        output.short_time(each.started_at),
        output.short_time(each.ended_at),
    )

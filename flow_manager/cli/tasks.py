"""`flow-manager tasks`."""

from __future__ import annotations

import click

from flow_manager.cli import output
from flow_manager.cli.options import setting_options
from flow_manager.cli.source import task_types_of, url_option


@click.command(short_help="List the registered task types.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the input schemas.")
@url_option
@setting_options("task_modules")
def tasks(as_json: bool, url: str | None, **options: object) -> None:
    """List the registered task types: their names are what `type` in a flow can say."""
    types = task_types_of(url, options)
    if as_json:
        output.show_json([each.to_json() for each in types])
        return
    rows = [(each.name, each.runs, each.origin, each.description) for each in types]
    output.show_table(
        ("task", "runs in", "code", "does"), rows, empty="no tasks; name a module with --task-module"
    )

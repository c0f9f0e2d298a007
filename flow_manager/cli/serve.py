"""`flow-manager serve`."""

from __future__ import annotations

import click

from flow_manager import bootstrap
from flow_manager.cli.options import setting_options, settings_from


@click.command(short_help="Start the service.")
@setting_options()
@click.pass_context
def serve(ctx: click.Context, /, **options: object) -> None:
    """Start the service and serve until SIGTERM or SIGINT.

    A stop lets running tasks end within the grace, records their results and releases the rest. A second
    signal ends the grace.
    """
    ctx.exit(bootstrap.serve(settings_from(options)))

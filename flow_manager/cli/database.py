"""`flow-manager db`: what an operator does with the database file."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from flow_manager import bootstrap
from flow_manager.cli import output
from flow_manager.cli.executions import as_json_option
from flow_manager.cli.options import setting_options, settings_from

_AGE: Final = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
MIB: Final = 1 << 20

_force = click.option("--force", is_flag=True, help="Also if the file exists already.")


class Age(click.ParamType[timedelta]):
    """How long ago: a number and a unit, as in 7d, 12h, 30m, 90s."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = _AGE.fullmatch(str(value))
        if found is None:
            self.fail(f"{str(value)[:32]!r} is not an age; write it as 7d, 12h, 30m or 90s", param, ctx)
        return timedelta(**{_UNITS[found[2]]: int(found[1])})


@click.group("db", short_help="Back up, restore, prune and upgrade the database.")
def database() -> None:
    """Back up, restore, prune and upgrade the database."""


@database.command(short_help="Make a verified copy, also while a service runs.")
@click.argument("target", type=click.Path(path_type=Path))
@_force
@as_json_option
@setting_options("database")
def backup(target: Path, force: bool, as_json: bool, **options: object) -> None:
    """Copy the database to the file TARGET, also while a service writes to it.

    TARGET appears when the copy is whole, verified and synced, or not at all.
    """
    copied = bootstrap.open_database(settings_from(options)).back_up(target, force=force)
    _show(copied, f"{copied.path}: {_size(copied.bytes)}, schema {copied.schema}, verified", as_json)


@database.command(short_help="Put a backup in the place of the database.")
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_force
@as_json_option
@setting_options("database")
def restore(source: Path, force: bool, as_json: bool, **options: object) -> None:
    """Put the backup SOURCE in the place of the database.

    No service may be running on it. With --force a database that is there is kept beside it, under
    another name. What was open in the backup goes on when the service starts.
    """
    copied = bootstrap.open_database(settings_from(options)).restore(source, force=force)
    text = f"{copied.path}: {_size(copied.bytes)}, schema {copied.schema}, verified"
    _show(copied, text if copied.kept is None else f"{text}\nkept: {copied.kept}", as_json)


@database.command(short_help="Remove ended executions and give the space back.")
@click.option(
    "--older-than",
    type=Age(),
    metavar="AGE",
    help="Those that ended longer ago, as in 7d. Default: the setting.",
)
@click.option("--dry-run", is_flag=True, help="Only say how many would go by their age.")
@as_json_option
@setting_options("database", "retention", "max_store")
def prune(older_than: timedelta | None, dry_run: bool, as_json: bool, **options: object) -> None:
    """Remove executions that ended long ago, and more while the database is too large.

    A running service does so by itself, and has to be stopped for this; a dry run works beside it.
    """
    settings = settings_from(options)
    retention, now = bootstrap.retention_of(settings), datetime.now(UTC)
    if older_than is not None:
        retention = msgspec.structs.replace(retention, keep=older_than)
    chosen = bootstrap.open_database(settings)
    shrunk = chosen.would_prune(now, retention) if dry_run else chosen.prune(now, retention)
    counted = "1 execution" if shrunk.executions == 1 else f"{shrunk.executions} executions"
    if dry_run:
        text = f"{counted} would go by their age; the file has {_size(shrunk.bytes_before)}"
    else:
        text = (
            f"{counted} went; the file had {_size(shrunk.bytes_before)} and has {_size(shrunk.bytes_after)}"
        )
    over = "it is larger than --max-store" + (": the oldest would go as well" if dry_run else "")
    _show(shrunk, f"{text}\n{over}" if shrunk.is_over else text, as_json)


@database.command(short_help="Bring the schema up to date.")
@as_json_option
@setting_options("database")
def upgrade(as_json: bool, **options: object) -> None:
    """Bring the schema of the database up to date. The service does so as well when it starts."""
    upgraded = bootstrap.open_database(settings_from(options)).upgrade()
    same = f"schema {upgraded.after}: nothing to do"
    text = same if upgraded.before == upgraded.after else f"schema {upgraded.before} -> {upgraded.after}"
    _show(upgraded, text, as_json)


def _show(value: msgspec.Struct, text: str, as_json: bool) -> None:
    if as_json:
        output.show_json(msgspec.to_builtins(value))
        return
    for line in text.splitlines():
        output.show_text(line)


def _size(number: int) -> str:
    return f"{number / MIB:.1f} MiB"

"""A running service, as the command line finds it and writes down what it says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import click
import msgspec

from flow_manager.client.client import DEFAULT_URL
from flow_manager.core.attempts import format_time
from flow_manager.settings import Settings

VARIABLE: Final = "FLOW_MANAGER_URL"
"""The environment twin of `--url`."""


def default_url() -> str:
    """The address of a service that was started on this machine with the same environment."""
    return f"http://127.0.0.1:{Settings.load({}, os.environ).port}"


url_option = click.option(
    "--url",
    metavar="URL",
    default=default_url,
    show_default=f"{DEFAULT_URL}, or the port of FLOW_MANAGER_PORT",
    envvar=VARIABLE,
    show_envvar=True,
    help="Address of the service.",
)


def told(answer: msgspec.Struct) -> dict[str, Any]:
    """An answer of the client as the service has written it."""
    written: dict[str, Any] = _with_times(msgspec.to_builtins(answer, builtin_types=(datetime,)))
    return written


def _with_times(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _with_times(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_with_times(each) for each in value]
    return format_time(value) if isinstance(value, datetime) else value

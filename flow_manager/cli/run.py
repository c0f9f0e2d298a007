"""`flow-manager run`: one execution in the embedded engine, no server needed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from flow_manager import bootstrap
from flow_manager.cli import flow_file, output
from flow_manager.cli.documents import show_report
from flow_manager.cli.exits import ExitCode
from flow_manager.cli.flow_file import FlowFile
from flow_manager.cli.json_option import read_object
from flow_manager.cli.options import setting_options, settings_from
from flow_manager.core.definition import Flow
from flow_manager.core.states import ExecutionStatus
from flow_manager.core.view import View
from flow_manager.errors import StoreLocked
from flow_manager.ports.backend import Backend
from flow_manager.settings import Settings


@click.command(short_help="Execute a flow here and now, without a server.")
@flow_file.argument
@click.option("--input", "input_text", metavar="JSON|@FILE", help="Input of the execution, an object.")
@setting_options("database", "task_modules", "durability", "seed", "log_format", "log_level")
@click.pass_context
def run(ctx: click.Context, /, file: Path, input_text: str | None, **options: object) -> None:
    """Execute the flow in FILE (- is standard input) here and now, without a server.

    FILE may hold `input` and `labels` beside `flow`, like the body of POST /flow/execute; --input takes the
    place of that input. On a terminal the execution is shown as it goes; in a pipe it is printed as one JSON
    object. Exits with 0 if it completed, 1 if it failed, 2 if the flow or its input is not valid.
    """
    settings = settings_from(_quieter_on_a_terminal(options))
    bootstrap.configure_logging(settings)
    checked = FlowFile.read(file, settings)
    flow = checked.report.flow
    if flow is None:
        show_report(checked)
        ctx.exit(ExitCode.INVALID)
    input = checked.input if input_text is None else read_object(input_text, "--input")
    with _backend(settings, checked.name) as backend:
        view = _execute(backend, flow, input, checked.labels)
    if not output.is_terminal():
        output.show_json(view.to_json())
    ctx.exit(ExitCode.OK if view.status is ExecutionStatus.COMPLETED else ExitCode.FAILED)


def _quieter_on_a_terminal(options: Mapping[str, object]) -> Mapping[str, object]:
    """Where the progress is shown, the log need not tell it again, unless it was asked to."""
    is_asked = options.get("log_level") is not None or "FLOW_MANAGER_LOG_LEVEL" in os.environ
    return options if is_asked or not output.is_terminal() else {**options, "log_level": "error"}


@contextlib.contextmanager
def _backend(settings: Settings, file: str) -> Iterator[Backend]:
    try:
        backend = bootstrap.open_backend(settings)
    except StoreLocked as error:
        raise StoreLocked(
            f"{error}\nRun on a file of its own with --database FILE, or let the server that uses this one "
            f"execute the flow:\n  curl -X POST http://{settings.host}:{settings.port}/flow/execute "
            f'-H "Content-Type: application/json" -d @{"-" if file == flow_file.STDIN else file}'
        ) from error
    grace = timedelta(0)  # an interruption does not wait: what was running goes on at the next start
    try:
        yield backend
        grace = settings.grace
    finally:
        backend.close(grace)


def _execute(backend: Backend, flow: Flow, input: Mapping[str, Any], labels: Mapping[str, str]) -> View:
    started = backend.execute(flow, input, labels=labels, wait=timedelta(0))
    if not output.is_terminal():
        for _ in backend.follow(started.execution_id):
            pass
        return backend.describe(started.execution_id)
    with output.Progress() as progress:
        for event in backend.follow(started.execution_id):
            progress.show(event)
    view = backend.describe(started.execution_id)
    progress.show_end(view)
    return view

"""`flow-manager whatif`: an edited flow against what executions have recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import click

from flow_manager import bootstrap
from flow_manager.cli import flow_file, output
from flow_manager.cli.documents import show_report
from flow_manager.cli.executions import as_json_option
from flow_manager.cli.exits import ExitCode
from flow_manager.cli.flow_file import FlowFile
from flow_manager.cli.options import count_option, setting_options, settings_from
from flow_manager.core.definition import Flow
from flow_manager.core.execution_id import read_execution_id
from flow_manager.core.simulation.whatif import Comparison, WhatIf, summary_of
from flow_manager.ports.search import Filter
from flow_manager.ports.store import Reader

DEFAULT_COMPARED: Final = 100
MOST_COMPARED: Final = 100_000


@click.command("whatif", short_help="Hold an edited flow against recorded executions.")
@flow_file.argument
@click.option(
    "--against", "ids", metavar="ID", multiple=True, help="A recorded execution; may be given again."
)
@click.option(
    "--flow",
    "flow_id",
    metavar="ID",
    help="The newest executions of this flow. Default: of the flow in FILE.",
)
@count_option("--limit", DEFAULT_COMPARED, MOST_COMPARED, "At most so many of them.")
@as_json_option
@setting_options("database")
@click.pass_context
def what_if(
    ctx: click.Context,
    /,
    file: Path,
    ids: Sequence[str],
    flow_id: str | None,
    limit: int,
    as_json: bool,
    **options: object,
) -> None:
    """Run the edited flow in FILE (- is standard input) with what executions have recorded.

    Shows how many take the same route, which take another and where, and which need a result that was
    never recorded. Nothing is executed, and nothing that is stored is changed.
    """
    checked = FlowFile.read(file, None)
    flow = checked.report.flow
    if flow is None:
        show_report(checked)
        ctx.exit(ExitCode.INVALID)
    with closing(bootstrap.open_reader(settings_from(options))) as reader:
        chosen = [read_execution_id(text) for text in ids] or _newest(reader, flow_id or flow.id, limit)
        compared = list(_compare(reader, flow, chosen))
    summary = summary_of(comparison for _, comparison in compared)
    if as_json:
        executions = [{"execution_id": each, **comparison.to_json()} for each, comparison in compared]
        output.show_json({"summary": summary, "executions": executions})
    else:
        _show_compared(compared, summary)


def _newest(reader: Reader, flow_id: str, limit: int) -> list[str]:
    wanted, ids = Filter(flow_id=flow_id), list[str]()
    found = reader.find(wanted, None, limit)
    ids += [each.execution_id for each in found.executions]
    while found.last is not None and len(ids) < limit:
        found = reader.find(wanted, found.last, limit - len(ids))
        ids += [each.execution_id for each in found.executions]
    return ids


def _compare(reader: Reader, flow: Flow, ids: Sequence[str]) -> Iterator[tuple[str, Comparison]]:
    edited = WhatIf(flow)
    for execution_id in ids:
        yield execution_id, edited.compare(reader.history(execution_id), execution_id)


def _show_compared(compared: Sequence[tuple[str, Comparison]], summary: Mapping[str, Any]) -> None:
    counted = "1 execution" if len(compared) == 1 else f"{len(compared)} executions"
    output.show_text(
        f"{counted}: same route {summary['same']}, another route {summary['differs']}, "
        f"a result missing {summary['needs']}"
    )
    rows = [
        (execution_id, comparison.outcome, _why(comparison))
        for execution_id, comparison in compared
        if comparison.outcome != "same"
    ]
    output.show_table(("execution", "outcome", "where"), rows, empty="no differences")


def _why(comparison: Comparison) -> str:
    words = []
    if comparison.difference is not None:
        each = comparison.difference
        after = f"after {each.task} (task run {each.run})" if each.run else "at the start"
        words.append(f"{after}: {each.recorded} was recorded, now {each.new}")
    if comparison.need is not None:
        words.append(f"no result of {comparison.need.task}, visit {comparison.need.visit}")
    return "; ".join(words)

"""`flow-manager validate`, `schema` and `graph`: flow files, without executing them."""

from __future__ import annotations

from pathlib import Path

import click

from flow_manager.cli import flow_file, output
from flow_manager.cli.exits import ExitCode
from flow_manager.cli.flow_file import FlowFile
from flow_manager.cli.options import setting_options, settings_from
from flow_manager.core.document import flow_schema
from flow_manager.core.graph import dot, mermaid
from flow_manager.core.routes import RouteReport, routes_of


@click.command(short_help="Check a flow and show every problem in it.")
@flow_file.argument
@click.option("--routes", "with_routes", is_flag=True, help="Show every way through the flow as well.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as POST /flow/validate answers.")
@setting_options("task_modules")
@click.pass_context
def validate(ctx: click.Context, /, file: Path, with_routes: bool, as_json: bool, **options: object) -> None:
    """Check the flow in FILE (- is standard input) and show every problem, each at its place.

    Exits with 2 if there are errors; warnings alone are fine.
    """
    checked = FlowFile.read(file, settings_from(options))
    report = checked.report
    if as_json:
        body: dict[str, object] = {"valid": report.is_valid}
        if report.errors:
            body["errors"] = [problem.to_json() for problem in report.errors]
        body["warnings"] = [problem.to_json() for problem in report.warnings]
        if report.flow is not None:
            body |= routes_of(report.flow).to_json()
        output.show_json(body)
    else:
        show_report(checked)
        if report.flow is not None:
            output.show_text(
                f"{checked.name} is valid: {report.flow.id}, tasks: {', '.join(report.flow.tasks)}"
            )
            if with_routes:
                _show_routes(routes_of(report.flow))
    ctx.exit(ExitCode.OK if report.is_valid else ExitCode.INVALID)


@click.command(short_help="Print the JSON Schema of flow documents.")
def schema() -> None:
    """Print the JSON Schema of flow documents, for editors and other tools."""
    output.show_json(flow_schema())


@click.command(short_help="Draw a flow as Mermaid or DOT text.")
@flow_file.argument
@click.option(
    "--format",
    "language",
    type=click.Choice(["mermaid", "dot"]),
    default="mermaid",
    show_default=True,
    help="Mermaid is drawn by many Markdown viewers, DOT by Graphviz.",
)
@setting_options("task_modules")
@click.pass_context
def graph(ctx: click.Context, /, file: Path, language: str, **options: object) -> None:
    """Draw the flow in FILE (- is standard input) as text for a drawing tool."""
    checked = FlowFile.read(file, settings_from(options))
    flow = checked.report.flow
    if flow is None:
        show_report(checked)
        ctx.exit(ExitCode.INVALID)
    output.show_text(mermaid(flow) if language == "mermaid" else dot(flow))


def _show_routes(report: RouteReport) -> None:
    for number, route in enumerate(report.routes, start=1):
        output.show_text(f"route {number}: {route}")
    if report.is_truncated:
        output.show_text("and more routes, which are not shown")
    for name in report.unhandled_failures:
        output.show_text(f"no condition expects that {name} fails: the execution is then failed")


def show_report(checked: FlowFile) -> None:
    """Every problem of the file, and their number."""
    report = checked.report
    output.show_problems(checked.name, checked.text, report.warnings, "warning")
    output.show_problems(checked.name, checked.text, report.errors, "error")
    if report.errors:
        output.show_error(f"{checked.name} is not a valid flow: {_counted(len(report.errors))}")


def _counted(errors: int) -> str:
    return "1 error" if errors == 1 else f"{errors} errors"

"""`flow-manager simulate` and `test`: what a flow would do, without doing it.

The code of the tasks is not needed, so task types are not checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
import orjson

from flow_manager.cli import flow_file, output
from flow_manager.cli.documents import show_report
from flow_manager.cli.executions import as_json_option
from flow_manager.cli.exits import ExitCode
from flow_manager.cli.flow_file import FlowFile
from flow_manager.cli.json_option import read_object
from flow_manager.core.attempts import format_time
from flow_manager.core.simulation.cases import CaseResult, Coverage, coverage_of, run_cases
from flow_manager.core.simulation.mocks import parse_simulation
from flow_manager.core.simulation.simulate import Simulated, simulate
from flow_manager.core.values import read_json
from flow_manager.errors import InvalidFlow

_WHOLE: Final = frozenset({"mocks", "signals", "faults"})
"""Members that tell a whole simulation from mocks by task."""


@click.command("simulate", short_help="Run a flow with mocks in place of its tasks.")
@flow_file.argument
@click.option("--input", "input_text", metavar="JSON|@FILE", help="Input of the execution, an object.")
@click.option(
    "--mocks",
    "mocks_text",
    metavar="JSON|@FILE",
    help="Mocks by task; or an object of mocks, signals and faults, as POST /v1/flows:simulate takes it.",
)
@click.option("--now", metavar="TIME", help="When it begins, in ISO 8601 with a zone.")
@click.option("--history", is_flag=True, help="With --json: print every event as well.")
@as_json_option
@click.pass_context
def simulate_flow(
    ctx: click.Context, /, file: Path, history: bool, as_json: bool, **told: str | None
) -> None:
    """Run the flow in FILE (- is standard input) with mocks in place of its tasks, in virtual time.

    Nothing is executed and nothing is stored. A task without a mock succeeds without data. Exits with
    0 also if the simulated execution fails, and with 2 if something cannot be simulated.
    """
    checked = FlowFile.read(file, None)
    flow = checked.report.flow
    if flow is None:
        show_report(checked)
        ctx.exit(ExitCode.INVALID)
    simulated = simulate(flow, parse_simulation(_told(checked, told), flow))
    if as_json:
        output.show_json(simulated.to_json(history=history))
    else:
        _show_simulated(simulated)


@click.command("test", short_help="Run the golden cases of flows.")
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True, path_type=Path),
)
@as_json_option
@click.pass_context
def test_flows(ctx: click.Context, /, files: Sequence[Path], as_json: bool) -> None:
    """Run the golden cases in each FILE (- is standard input), and show which ways they exercise.

    Exits with 0 if all cases pass, 1 if one fails, 2 if a flow or a case is not valid.
    """
    code = ExitCode.OK
    bodies = []
    for file in files:
        checked = FlowFile.read(file, None)
        results = _run_cases(checked)
        if results is None or checked.report.flow is None:
            code = ExitCode.INVALID
            continue
        coverage = coverage_of(checked.report.flow, results)
        bodies.append(_results_json(checked.name, results, coverage))
        if not as_json:
            _show_results(checked.name, results, coverage)
        if code is ExitCode.OK and not all(result.passed for result in results):
            code = ExitCode.FAILED
    if as_json:
        output.show_json(bodies)
    ctx.exit(code)


def _told(checked: FlowFile, options: Mapping[str, str | None]) -> dict[str, Any]:
    """What a file and the options say, as one simulation."""
    told: dict[str, Any] = {"input": checked.input, "labels": checked.labels}
    mocks, given = options.get("mocks_text"), options.get("input_text")
    if mocks is not None:
        value = read_object(mocks, "--mocks")
        told |= value if _WHOLE & value.keys() else {"mocks": value}
    if given is not None:
        told["input"] = read_object(given, "--input")
    if options.get("now") is not None:
        told["now"] = options["now"]
    return told


def _show_simulated(simulated: Simulated) -> None:
    view = simulated.view
    ended_at = view.ended_at or simulated.now
    took = ended_at - (view.started_at or ended_at)
    facts: list[tuple[str, output.Cell]] = [
        ("status", output.status_text(view.status.value)),
        ("route", " -> ".join(simulated.route)),
        ("ended", output.short_time(view.ended_at)),
        ("took", f"{took} of virtual time"),
    ]
    if view.error is not None:
        facts.append(("error", f"{view.error.code}: {view.error.message}"))
    if view.output is not None:
        facts.append(("output", orjson.dumps(view.output).decode()))
    facts += [("waits for", f"{each['task']}: {each['detail']}") for each in simulated.waiting]
    if simulated.stopped:
        facts.append(("stopped", simulated.stopped))
    if simulated.unmocked:
        facts.append(("without mock", ", ".join(simulated.unmocked)))
    output.show_facts(facts)
    rows = [
        (
            format_time(each.started_at),
            str(each.run),
            each.task,
            str(each.attempt),
            output.status_text(each.status),
            each.message,
        )
        for each in view.attempts
    ]
    output.show_table(
        ("started", "run", "task", "attempt", "status", "message"), rows, empty="no task has run"
    )


def _run_cases(checked: FlowFile) -> list[CaseResult] | None:
    flow = checked.report.flow
    if flow is None:
        show_report(checked)
        return None
    try:
        return run_cases(flow, ("flow", "tests") if _is_wrapped(checked.text) else ("tests",))
    except InvalidFlow as error:
        output.show_problems(checked.name, checked.text, error.problems, "error")
        output.show_error(f"{checked.name}: {error}")
        return None


def _is_wrapped(text: str) -> bool:
    document = read_json(text.encode())
    return isinstance(document, dict) and "flow" in document


def _show_results(name: str, results: Sequence[CaseResult], coverage: Coverage) -> None:
    for result in results:
        output.show_text(f"{'passed' if result.passed else 'FAILED'}  {name}: {result.name}")
        for each in result.differences:
            expected, actual = (orjson.dumps(value).decode() for value in (each.expected, each.actual))
            output.show_text(f"        {each.pointer}: expected {expected}, was {actual}")
    passed, ways = sum(result.passed for result in results), len(coverage.exercised)
    all_ways = ways + len(coverage.not_exercised)
    output.show_text(f"{name}: {passed} of {len(results)} cases passed, {ways} of {all_ways} ways exercised")
    for edge in coverage.not_exercised:
        output.show_text(f"        not exercised: {edge}")


def _results_json(name: str, results: Sequence[CaseResult], coverage: Coverage) -> dict[str, Any]:
    return {
        "file": name,
        "passed": all(result.passed for result in results),
        "cases": [result.to_json() for result in results],
        "coverage": coverage.to_json(),
    }

"""Golden cases: simulations that a flow carries with it, each with what is expected of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from flow_manager.core.definition import Flow
from flow_manager.core.document_words import Line
from flow_manager.core.findings import Findings
from flow_manager.core.misfits import find_unknown_names
from flow_manager.core.plain import Path, pointer_to, shown
from flow_manager.core.simulation.coverage import Edge, edges_of
from flow_manager.core.simulation.mocks import Simulation, places_of, read_known
from flow_manager.core.simulation.simulate import Simulated, simulate
from flow_manager.errors import InvalidFlow, InvalidRequest, Problem

EndStatus = Literal["completed", "failed", "waiting", "compensating", "quarantined"]
MOST_DIFFERENCES: Final = 20
"""Differences that are told of one case."""
NOTHING: Final = "nothing"
"""What is there in place of a member that is missing."""


class Expectation(BaseModel):
    """What is expected of a case. What is not named here may be anything."""

    model_config = ConfigDict(strict=True, extra="ignore")

    status: EndStatus = Field("completed", description="How it ends; waiting, if it waits for somebody.")
    route: list[str] | None = Field(None, description="The tasks of its task runs, in order.")
    output: Any = Field(None, description="Its output.")
    error: str | None = Field(None, description="The code of its error.")


class Case(Simulation):
    """A simulation with a name, and what is expected of it."""

    name: Line = Field(description="Name of the case.")
    expect: Expectation = Field(description="What is expected.")


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a case came out otherwise: a JSON Pointer into `expect`, what stands there, and what was."""

    pointer: str
    expected: Any
    actual: Any

    def to_json(self) -> dict[str, Any]:
        return {"pointer": self.pointer, "expected": self.expected, "actual": self.actual}


@dataclass(frozen=True, slots=True)
class CaseResult:
    """A case that was run."""

    name: str
    differences: tuple[Difference, ...]
    simulated: Simulated

    @property
    def passed(self) -> bool:
        return not self.differences

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "passed": self.passed,
            "differences": [each.to_json() for each in self.differences],
            "simulated": self.simulated.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Coverage:
    """The ways that the conditions of a flow can choose: those that its cases took, and the others."""

    exercised: tuple[Edge, ...]
    not_exercised: tuple[Edge, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "exercised": [edge.to_json() for edge in self.exercised],
            "not_exercised": [edge.to_json() for edge in self.not_exercised],
        }


def find_unfit_cases(flow: Flow, at: Path, errors: Findings) -> list[Case]:
    """The golden cases of a flow; what is wrong with them is told to `errors`, at places below `at`."""
    cases: list[Case] = []
    for index, written in enumerate(flow.cases):
        here = (*at, index)
        find_unknown_names(written, Case.model_fields, here, errors)
        find_unknown_names(written.get("expect"), Expectation.model_fields, (*here, "expect"), errors)
        case = read_known(Case, written, flow, here, errors)
        if case is not None:
            _find_unknown_route(case, flow, here, errors)
            cases.append(case)
    return cases


def run_cases(flow: Flow, at: Path = ("tests",), most_events: int | None = None) -> list[CaseResult]:
    """Run all golden cases of a flow, which stand at this place of its document; or those that come
    before the last events of so many. Raises `InvalidFlow` if one of them cannot be run."""
    errors = Findings()
    cases = find_unfit_cases(flow, at, errors)
    if errors:
        problems = errors.problems(None)
        raise InvalidFlow(
            f"the golden cases of flow {flow.id!r} cannot be run: {problems[0].detail}", problems
        )
    results: list[CaseResult] = []
    for index, case in enumerate(cases):
        if most_events is not None and most_events <= 0:
            break
        results.append(_run(flow, case, (*at, index)))
        if most_events is not None:
            most_events -= sum(len(each.events) for each in results[-1].simulated.executions)
    return results


def coverage_of(flow: Flow, results: Sequence[CaseResult]) -> Coverage:
    """What all cases together have exercised."""
    found = {edge for result in results for edge in result.simulated.taken}
    edges = list(edges_of(flow))
    return Coverage(
        tuple(edge for edge in edges if edge in found), tuple(edge for edge in edges if edge not in found)
    )


def _run(flow: Flow, case: Case, at: Path) -> CaseResult:
    try:
        simulated = simulate(flow, case)
    except InvalidRequest as error:
        problems = [
            Problem(pointer_to(at) + problem.pointer[1:], problem.code, problem.detail)
            for problem in error.problems
        ]
        raise InvalidFlow(f"the case {case.name!r} cannot be run: {error}", problems) from error
    differences = list(_differences(case.expect, simulated))
    return CaseResult(case.name, tuple(differences[:MOST_DIFFERENCES]), simulated)


def _find_unknown_route(case: Case, flow: Flow, at: Path, errors: Findings) -> None:
    for number, name in enumerate(case.expect.route or ()):
        if name not in flow.tasks:
            detail = f"there is no task {shown(name)}"
            here = (*at, "expect", "route", number)
            errors.add(here, "unknown-task", detail, like=(name, list(places_of(flow))))


def _differences(expected: Expectation, simulated: Simulated) -> Iterator[Difference]:
    view = simulated.view
    if simulated.stopped:
        yield Difference("#/status", expected.status, simulated.stopped)
    elif expected.status != view.status.value:
        yield Difference("#/status", expected.status, view.status.value)
    code = None if view.error is None else view.error.code
    if "error" in expected.model_fields_set and expected.error != code:
        yield Difference("#/error", expected.error, code)
    if expected.route is not None:
        yield from _first_of(expected.route, simulated.route)
    if "output" in expected.model_fields_set:
        yield from _within(expected.output, view.output, ("output",))


def _first_of(expected: Sequence[str], actual: Sequence[str]) -> Iterator[Difference]:
    """Where two routes part: what follows has no meaning."""
    for number in range(max(len(expected), len(actual))):
        wanted = expected[number] if number < len(expected) else NOTHING
        found = actual[number] if number < len(actual) else NOTHING
        if wanted != found:
            yield Difference(f"#/route/{number}", wanted, found)
            return


def _within(expected: Any, actual: Any, at: Path) -> Iterator[Difference]:
    """Where two values differ, as deep as can be told."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for name in [*expected, *(name for name in actual if name not in expected)]:
            if name in expected and name in actual:
                yield from _within(expected[name], actual[name], (*at, name))
            else:
                wanted, found = expected.get(name, NOTHING), actual.get(name, NOTHING)
                yield Difference(pointer_to((*at, name)), wanted, found)
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for index, (wanted, found) in enumerate(zip(expected, actual, strict=True)):
            yield from _within(wanted, found, (*at, index))
    elif not _same(expected, actual):
        yield Difference(pointer_to(at), expected, actual)


def _same(expected: Any, actual: Any) -> bool:
    """True is no number, though Python says that it is 1."""
    return expected == actual and isinstance(expected, bool) == isinstance(actual, bool)

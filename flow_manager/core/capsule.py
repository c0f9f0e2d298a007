"""A capsule: a recorded execution as one document, to be taken elsewhere and replayed there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from flow_manager.core.definition import Flow
from flow_manager.core.events import Event, ExecutionStarted
from flow_manager.core.parser import FlowParser
from flow_manager.core.plain import Path, pointer_to
from flow_manager.core.simulation.recording import Recording
from flow_manager.core.view import View
from flow_manager.errors import InvalidRequest, Problem

FORMAT: Final = "flow-manager-capsule/1"
_FAMILY: Final = "flow-manager-capsule/"

_NO_HISTORY: Final = (ValueError, LookupError, AttributeError, TypeError, AssertionError)
"""What folding events raises if they do not follow each other."""
_PLACE: Final = " - at `$"


class Capsule(NamedTuple):
    """What is replayed: the flow that the execution started with, and its history.

    `left_out` counts the events that the capsule was too small for.
    """

    execution_id: str
    flow: Flow
    history: Sequence[Event]
    input: Mapping[str, Any]
    left_out: int


def summary_json(view: View) -> dict[str, Any]:
    """How an execution stands, without its attempts: the history tells them."""
    body = view.to_json()
    del body["execution_history"]
    return body


def read_capsule(value: object) -> Capsule:
    """The capsule in a JSON value. Raises `InvalidRequest` for what is none, or is damaged: with the
    place of everything that is wrong."""
    if not isinstance(value, dict) or "format" not in value:
        raise _refusal([_problem(("format",), "required", f"a capsule has the member 'format': {FORMAT!r}")])
    _check_format(value["format"])
    problems: list[Problem] = []
    execution_id = _execution_id(value.get("execution"), problems)
    flow = _flow(value.get("definition"), problems)
    history = _history(value.get("history"), problems)
    left_out = value.get("left_out", {})
    events = left_out.get("events", 0) if isinstance(left_out, dict) else None
    if not isinstance(events, int) or isinstance(events, bool) or events < 0:
        problems.append(_problem(("left_out", "events"), "wrong-type", "this must be a whole number from 0"))
        events = 0
    if problems or flow is None:
        raise _refusal(problems)
    return Capsule(execution_id, flow, history, View.fold(execution_id, history[:1]).input, events)


def _refusal(problems: Sequence[Problem]) -> InvalidRequest:
    counted = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return InvalidRequest(f"this is no capsule that can be replayed: {counted}", problems)


def _problem(path: Path, code: str, detail: str, hint: str | None = None) -> Problem:
    return Problem(pointer_to(path), code, detail, hint)


def _check_format(found: object) -> None:
    if found == FORMAT:
        return
    is_newer = isinstance(found, str) and found.startswith(_FAMILY)
    detail = "a newer version wrote this capsule" if is_newer else "this is another kind of file"
    hint = "replay it with that version" if is_newer else f"a capsule says {FORMAT!r}"
    raise _refusal([_problem(("format",), "unknown-value", detail, hint)])


def _execution_id(execution: object, problems: list[Problem]) -> str:
    if not isinstance(execution, Mapping):
        problems.append(_problem(("execution",), "required", "a capsule tells how its execution stood"))
        return ""
    execution_id = execution.get("execution_id")
    if not isinstance(execution_id, str):
        problems.append(_problem(("execution", "execution_id"), "wrong-type", "this must be a text"))
        return ""
    return execution_id


def _flow(definition: object, problems: list[Problem]) -> Flow | None:
    """The code of the tasks is not needed, so task types are not checked."""
    report = FlowParser().check({"flow": definition})
    for each in report.errors:
        where = "#/definition" + each.pointer.removeprefix("#/flow").removeprefix("#")
        problems.append(Problem(where, each.code, each.detail, each.hint, offset=each.offset))
    return report.flow


def _history(written: object, problems: list[Problem]) -> list[Event]:
    if not isinstance(written, list) or not written:
        problems.append(_problem(("history",), "required", "a capsule holds a list of events"))
        return []
    events: list[Event] = []
    view = View("")
    for index, each in enumerate(written):
        try:
            event = msgspec.convert(each, Event)
        except msgspec.ValidationError as error:
            detail, _, place = str(error).partition(_PLACE)
            problems.append(_problem(("history", index, *_steps(place)), "wrong-type", f"no event: {detail}"))
            return []
        if isinstance(event, ExecutionStarted) != (index == 0):
            detail = "a history begins with execution_started, once"
            problems.append(_problem(("history", index, "type"), "order", detail))
            return []
        try:
            view.apply(event)
        except _NO_HISTORY:
            problems.append(_problem(("history", index), "order", "this event cannot follow those before it"))
            return []
        events.append(event)
    try:
        Recording(events)
    except _NO_HISTORY:
        problems.append(_problem(("history",), "order", "these events are no history of an execution"))
    return events


def _steps(place: str) -> Path:
    """The path that msgspec writes as `.run` or `.error.code`."""
    return tuple(step for step in place.rstrip("`").split(".") if step and step.isidentifier())

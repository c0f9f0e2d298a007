"""The operations on one execution: those that show it, and those that send something to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel

from flow_manager.api.control import Cancellation, ForkBody, Intervention, Reply, RerunBody, Signal, Skip
from flow_manager.api.operation import WRITING, Answer, Body, Operation
from flow_manager.api.problems import (
    ALREADY_ANSWERED,
    ALREADY_TERMINAL,
    CONCURRENCY_FULL,
    NOT_ASKED,
    NOT_FOUND,
    OVERLOADED,
    STATE_FORBIDS,
    TOO_MANY_SIGNALS,
    UNKNOWN_SIGNAL,
)
from flow_manager.api.schemas import HISTORY
from flow_manager.core.answers import Accepted, ChildList, Execution, OpenQuestion, Reason
from flow_manager.core.capsule_answers import Capsule

_SENT: Final = {202: Answer("It is on disk.", Accepted, ["Location"])}

_CONTROLS: Final[Sequence[tuple[str, str, type[BaseModel], dict[str, Any]]]] = (
    ("pause", "Hold an execution.", Intervention, {"reason": "look first", "by": "ada"}),
    ("resume", "Let a paused execution go on.", Intervention, {}),
    ("retry", "Have the failed task run go on with another attempt.", Intervention, {"reason": "up again"}),
    ("rerun", "Go on at another task.", RerunBody, {"from_task": "charge", "input": {"amount": 12}}),
    ("skip", "Give the result of the task that waits.", Skip, {"data": {"paid": True}}),
    ("fork", "Start another execution with the results so far.", ForkBody, {"from_task": "charge"}),
)


def _control(name: str, summary: str, body: type[BaseModel], example: dict[str, Any]) -> Operation:
    full = () if name == "pause" else (CONCURRENCY_FULL,)  # what has it go on may find its flow full
    return Operation(
        method="POST",
        path="/v1/executions/{execution_id}:" + name,
        name=name,
        summary=summary,
        area="executions",
        body=Body(body.model_json_schema, example),
        answers=_SENT,
        problems=[NOT_FOUND, ALREADY_TERMINAL, STATE_FORBIDS, *full, *WRITING],
    )


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/flow/status/{execution_id}",
        name="status",
        summary="An execution as it stands.",
        area="executions",
        answers={200: Answer("The execution.", Execution)},
        problems=[NOT_FOUND],
    ),
    Operation(
        method="GET",
        path="/v1/executions/{execution_id}",
        name="execution",
        summary="An execution as it stands, and what it asks.",
        area="executions",
        answers={200: Answer("The execution.", Execution)},
        problems=[NOT_FOUND],
    ),
    Operation(
        method="GET",
        path="/v1/executions/{execution_id}/history",
        name="history",
        summary="All events of an execution.",
        area="executions",
        answers={200: Answer("The events in order; `seq` counts them from 1.", HISTORY)},
        problems=[NOT_FOUND, OVERLOADED],
    ),
    Operation(
        method="GET",
        path="/v1/executions/{execution_id}/children",
        name="children",
        summary="The executions that an execution has started.",
        area="executions",
        answers={200: Answer("The first thousand, in the order of their start.", ChildList)},
        problems=[NOT_FOUND, OVERLOADED],
    ),
    Operation(
        method="GET",
        path="/v1/executions/{execution_id}/capsule",
        name="capsule",
        summary="An execution as one document, to be replayed elsewhere.",
        area="executions",
        answers={200: Answer("The flow, the history and the children, as far as they fit.", Capsule)},
        problems=[NOT_FOUND, OVERLOADED],
    ),
    Operation(
        method="POST",
        path="/v1/executions/{execution_id}:cancel",
        name="cancel",
        summary="Ask an execution to end.",
        area="executions",
        body=Body(
            Cancellation.model_json_schema, {"reason": "the customer called it off", "by": "ada@example.com"}
        ),
        answers=_SENT,
        problems=[NOT_FOUND, ALREADY_TERMINAL, *WRITING],
    ),
    Operation(
        method="POST",
        path="/v1/executions/{execution_id}:signal",
        name="signal",
        summary="Send a signal to an execution.",
        area="executions",
        body=Body(Signal.model_json_schema, {"name": "paid", "payload": {"amount": 12}}),
        answers=_SENT,
        problems=[NOT_FOUND, ALREADY_TERMINAL, UNKNOWN_SIGNAL, TOO_MANY_SIGNALS, *WRITING],
    ),
    *(_control(*each) for each in _CONTROLS),
    Operation(
        method="GET",
        path="/v1/executions/{execution_id}/why",
        name="why",
        summary="Why an execution is not moving.",
        area="executions",
        answers={200: Answer("What it waits for, and what will move it on.", Reason)},
        problems=[NOT_FOUND],
    ),
    Operation(
        method="GET",
        path="/v1/approvals/{token}",
        name="question",
        summary="The question that a link is for.",
        area="executions",
        answers={200: Answer("The question.", OpenQuestion)},
        problems=[NOT_FOUND, ALREADY_ANSWERED],
    ),
    Operation(
        method="POST",
        path="/v1/approvals/{token}",
        name="answer",
        summary="Answer the question, once.",
        area="executions",
        body=Body(Reply.model_json_schema, {"approved": True, "by": "ada@example.com"}),
        answers=_SENT,
        problems=[NOT_FOUND, NOT_ASKED, ALREADY_ANSWERED, ALREADY_TERMINAL, TOO_MANY_SIGNALS, *WRITING],
    ),
)

"""The operations on flow documents: those that execute, check and simulate them."""

from __future__ import annotations

from typing import Any, Final

from flow_manager.api.keys import MOST_KEY, REPLAYED
from flow_manager.api.operation import WRITING, Answer, Body, Operation, Parameter
from flow_manager.api.problems import (
    BAD_IDEMPOTENCY_KEY,
    CONCURRENCY_FULL,
    EXECUTION_PRUNED,
    IDEMPOTENCY_CONFLICT,
    INVALID_FLOW,
    NOT_FOUND,
)
from flow_manager.api.simulation import Against
from flow_manager.core.answers import Execution
from flow_manager.core.document import flow_schema
from flow_manager.core.flow_answers import Simulated, Tested, Validity, WhatIfAnswer
from flow_manager.core.simulation.mocks import Simulation

EXAMPLE: Final[dict[str, Any]] = {
    "flow": {
        "id": "greeting",
        "name": "Greeting",
        "start_task": "greet",
        "tasks": [{"name": "greet", "type": "transform", "input": {"text": "Hello, ${input.name}"}}],
        "conditions": [],
        "output": "${results.greet.data.text}",
    },
    "input": {"name": "Ada"},
}
KEY: Final = rf"^(?! *$)[ -+\--~]{{1,{MOST_KEY}}}$"
"""An idempotency key in a header: ASCII without a comma, and not just spaces."""
PREFER: Final = Parameter(
    "Prefer",
    "`wait=N`: wait for the end for N seconds, at most 3600. `respond-async`: answer 202 at once. "
    "What is not known is ignored (RFC 7240).",
    {"type": "string", "examples": ["wait=10", "respond-async"]},
    place="header",
)
IDEMPOTENCY_KEY: Final = Parameter(
    "Idempotency-Key",
    "One execution is started for each key, however often the request is sent.",
    {"type": "string", "pattern": KEY, "examples": ["order-7"]},
    place="header",
)
STARTED_ONCE: Final = (
    BAD_IDEMPOTENCY_KEY,
    IDEMPOTENCY_CONFLICT,
    EXECUTION_PRUNED,
    CONCURRENCY_FULL,
    *WRITING,
)
"""Problems of a start."""


def _beside_a_flow(beside: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object with a flow and these members, of which none has to be there."""
    of_flow = flow_schema()
    definitions = {**beside.pop("$defs", {}), **of_flow["$defs"]}
    return {
        **beside,
        "type": "object",
        "properties": {"flow": {"$ref": "#/$defs/FlowDocument"}, **beside["properties"]},
        "required": ["flow"],
        "additionalProperties": False,
        "patternProperties": {"^x-": True},
        "$defs": definitions,
    }


def simulation_body() -> dict[str, Any]:
    """The schema of a flow and what it is simulated with."""
    schema = _beside_a_flow(Simulation.model_json_schema())
    schema["properties"]["history"] = {
        "type": "boolean",
        "default": False,
        "description": "Whether every event is told as well.",
    }
    return {**schema, "title": "SimulationRequest"}


def what_if_body() -> dict[str, Any]:
    """The schema of an edited flow and what it is held against."""
    return {**_beside_a_flow(Against.model_json_schema()), "title": "WhatIfRequest"}


def flow_body() -> dict[str, Any]:
    """The schema of a flow document, bare or wrapped."""
    return {**flow_schema(), "title": "FlowRequest"}


_FLOW: Final = Body(flow_body, EXAMPLE)
_JUST_FLOW: Final = Body(flow_body, {"flow": EXAMPLE["flow"]})
_VALID: Final = {200: Answer("The flow is valid.", Validity)}

OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/flow/execute",
        name="execute",
        summary="Execute the flow in the body.",
        area="flows",
        parameters=[PREFER, IDEMPOTENCY_KEY],
        body=_FLOW,
        answers={
            200: Answer("It has ended; also if it failed.", Execution, ["Preference-Applied", REPLAYED]),
            202: Answer("It goes on.", Execution, ["Location", "Preference-Applied", REPLAYED]),
        },
        problems=[INVALID_FLOW, *STARTED_ONCE],
    ),
    Operation(
        method="POST",
        path="/flow/validate",
        name="validate",
        summary="Check a flow, and tell its routes.",
        area="flows",
        body=_FLOW,
        answers=_VALID,
        problems=[INVALID_FLOW],
        asks_store=False,
    ),
    Operation(
        method="POST",
        path="/v1/flows:validate",
        name="validate_flow",
        summary="The same as POST /flow/validate.",
        area="flows",
        body=_FLOW,
        answers=_VALID,
        problems=[INVALID_FLOW],
        asks_store=False,
    ),
    Operation(
        method="POST",
        path="/v1/flows:simulate",
        name="simulate",
        summary="Run a flow with mocks in place of its tasks, in virtual time.",
        area="flows",
        body=Body(simulation_body, EXAMPLE),
        answers={200: Answer("It was simulated; also if the simulated execution fails.", Simulated)},
        problems=[INVALID_FLOW],
        asks_store=False,
    ),
    Operation(
        method="POST",
        path="/v1/flows:test",
        name="test",
        summary="Run the golden cases of a flow.",
        area="flows",
        body=_JUST_FLOW,
        answers={200: Answer("They were run; `passed` tells whether all passed.", Tested)},
        problems=[INVALID_FLOW],
        asks_store=False,
    ),
    Operation(
        method="POST",
        path="/v1/flows:whatif",
        name="whatif",
        summary="Hold an edited flow against recorded executions.",
        area="flows",
        body=Body(what_if_body, {"flow": EXAMPLE["flow"], "limit": 10}),
        answers={200: Answer("They were compared.", WhatIfAnswer)},
        problems=[INVALID_FLOW, NOT_FOUND],
    ),
    Operation(
        method="GET",
        path="/v1/schema/flow",
        name="schema",
        summary="The JSON Schema of flow documents.",
        area="flows",
        answers={200: Answer("A JSON Schema (2020-12).", {"type": "object"})},
        asks_store=False,
    ),
)

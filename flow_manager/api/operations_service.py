"""The operations on the service itself."""

from __future__ import annotations

from typing import Final

from flow_manager.api.bodies import Nothing
from flow_manager.api.operation import WRITING, Answer, Body, Operation
from flow_manager.api.problems import NOT_READY, OVERLOADED
from flow_manager.core.answers import Diagnosis, Index, Repaired, ServiceHealth, TaskTypeList

OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/",
        name="index",
        summary="The name, the version, and what is here.",
        area="service",
        answers={200: Answer("The list of endpoints.", Index)},
        asks_store=False,
    ),
    Operation(
        method="GET",
        path="/health",
        name="health",
        summary="Whether the service lives, and what it can do.",
        area="service",
        answers={200: Answer("It lives.", ServiceHealth)},
        asks_store=False,
    ),
    Operation(
        method="GET",
        path="/health/ready",
        name="ready",
        summary="Whether new executions are accepted.",
        area="service",
        answers={200: Answer("They are.", ServiceHealth)},
        problems=[NOT_READY],
        asks_store=False,
    ),
    Operation(
        method="GET",
        path="/v1/tasks",
        name="tasks",
        summary="The registered task types, with their input schemas.",
        area="service",
        answers={200: Answer("The task types, by name.", TaskTypeList)},
        asks_store=False,
    ),
    Operation(
        method="GET",
        path="/v1/doctor",
        name="doctor",
        summary="Check that every open execution has what will move it on.",
        area="service",
        answers={200: Answer("What was found; also if a promise does not hold.", Diagnosis)},
        problems=[OVERLOADED],
    ),
    Operation(
        method="POST",
        path="/v1/doctor:repair",
        name="repair",
        summary="Mend what can be mended.",
        area="service",
        body=Body(Nothing.model_json_schema, {}),
        answers={200: Answer("What was mended, and what is left.", Repaired)},
        problems=WRITING,
    ),
    Operation(
        method="GET",
        path="/metrics",
        name="metrics",
        summary="What the engine does, for Prometheus.",
        area="service",
        answers={200: Answer("Figures as text.", content_type="text/plain")},
    ),
    Operation(
        method="GET",
        path="/openapi.json",
        name="openapi",
        summary="This document.",
        area="service",
        answers={200: Answer("An OpenAPI document.", {"type": "object"})},
        asks_store=False,
    ),
    Operation(
        method="GET",
        path="/docs",
        name="docs",
        summary="This document as a page to read.",
        area="service",
        answers={200: Answer("A page of HTML.", content_type="text/html")},
        asks_store=False,
    ),
)

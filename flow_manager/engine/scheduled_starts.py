"""The execution of a schedule for one of its times: made here, started by the store."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flow_manager.core.attempts import format_time
from flow_manager.core.definition import Flow
from flow_manager.core.events import ExecutionStarted
from flow_manager.core.plain import shown
from flow_manager.core.schedule_document import ScheduleDocument
from flow_manager.engine.flows import StoredFlows
from flow_manager.engine.inputs import accepted_input
from flow_manager.engine.recording import due_execution
from flow_manager.engine.terms import terms_of
from flow_manager.errors import InvalidRequest, InvalidSchedule, Problem
from flow_manager.ports.scheduling import ScheduleReader
from flow_manager.ports.starting import StartOptions
from flow_manager.ports.store import NewExecution, Terms


class ScheduledStarts:
    """Makes executions of published flows. For any thread; it reads the store."""

    def __init__(self, reader: ScheduleReader, flows: StoredFlows, most_input: int) -> None:
        self._reader = reader
        self._flows = flows
        self._most_input = most_input

    def flow(self, document: ScheduleDocument) -> Flow | None:
        """The flow that the schedule starts now; None if it is not there."""
        found = self._reader.flow(document.flow_id, document.version)
        return None if found is None else self._flows.of(*found)

    def execution(
        self, document: ScheduleDocument, flow: Flow, nominal: datetime, now: datetime
    ) -> NewExecution:
        """It is due at once, under the terms of its flow. Raises `InvalidRequest` if the flow does not accept
        the input."""
        given = accepted_input(flow, document.input, self._most_input)
        own = {"schedule": document.id, "nominal_time": format_time(nominal)}
        labels = {**flow.labels, **document.labels, **own}
        began = ExecutionStarted(now, flow.id, given, labels)
        return due_execution(flow, began, terms=_terms_of(flow, given))

    def check(self, document: ScheduleDocument) -> Flow:
        """The flow of a schedule. Raises `InvalidSchedule` if it is not there or refuses the input."""
        flow = self.flow(document)
        if flow is None:
            what = "" if document.version is None else f" in version {document.version}"
            detail = f"no flow {shown(document.flow_id)} is published{what}"
            raise InvalidSchedule(detail, [Problem("#/flow_id", "unknown-flow", detail)])
        try:
            _terms_of(flow, accepted_input(flow, document.input, self._most_input))
        except InvalidRequest as error:
            raise InvalidSchedule(str(error), error.problems) from error
        return flow


def _terms_of(flow: Flow, input: Mapping[str, Any]) -> Terms | None:
    """As if somebody had started the published flow. Raises `InvalidRequest` if the input gives no
    concurrency key."""
    return terms_of(flow, input, StartOptions(), is_published=True)

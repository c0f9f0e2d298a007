"""The execution of a schedule for one of its times: made here, started by the store."""

from __future__ import annotations

from datetime import datetime

from uuid_utils import uuid7

from flow_manager.core.attempts import format_time
from flow_manager.core.definition import Flow
from flow_manager.core.events import ExecutionStarted
from flow_manager.core.plain import shown
from flow_manager.core.schedule_document import ScheduleDocument
from flow_manager.core.states import ExecutionStatus, Wake, WakeReason
from flow_manager.engine.flows import StoredFlows
from flow_manager.engine.inputs import accepted_input
from flow_manager.engine.terms import terms_by_the_clock
from flow_manager.errors import InvalidRequest, InvalidSchedule, Problem
from flow_manager.ports.scheduling import ScheduleReader
from flow_manager.ports.store import NewExecution


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
        wake = Wake(WakeReason.DUE, now)
        return NewExecution(
            str(uuid7()),
            flow.id,
            flow.document,
            flow.digest,
            now,
            [began],
            wake,
            ExecutionStatus.RUNNING,
            terms=terms_by_the_clock(flow, given),
        )

    def check(self, document: ScheduleDocument) -> Flow:
        """The flow of a schedule. Raises `InvalidSchedule` if it is not there or refuses the input."""
        flow = self.flow(document)
        if flow is None:
            what = "" if document.version is None else f" in version {document.version}"
            detail = f"no flow {shown(document.flow_id)} is published{what}"
            raise InvalidSchedule(detail, [Problem("#/flow_id", "unknown-flow", detail)])
        try:
            terms_by_the_clock(flow, accepted_input(flow, document.input, self._most_input))
        except InvalidRequest as error:
            raise InvalidSchedule(str(error), error.problems) from error
        return flow

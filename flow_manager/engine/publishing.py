"""Publishing flows: the gate before the shelf, and reading what stands there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

from flow_manager.core.definition import Flow
from flow_manager.core.plain import Path, pointer_to, shown
from flow_manager.core.report import Report
from flow_manager.core.simulation.cases import CaseResult, run_cases
from flow_manager.engine.flows import StoredFlows
from flow_manager.errors import FlowUnknown, InvalidFlow, Problem, StoreReadOnly
from flow_manager.ports.clock import Clock
from flow_manager.ports.publishing import NewVersion, Publication, Shelf, ShelfReader, Version

MOST_EVENTS: Final = 200_000
"""Simulated events of the golden cases of a flow that is published; some seconds."""
NO_FLOW: Final = "no flow is published under this id"


class Complete(Protocol):
    """Runs something on the loop of the store and waits for its answer."""

    def __call__(self, make: Callable[[], Awaitable[Any]], /) -> Any: ...


class PublishedFlows:
    """Implements `ports.publishing.Flows` for a store that cannot be written."""

    def __init__(self, shelf: ShelfReader, flows: StoredFlows) -> None:
        self._shelf = shelf
        self._flows = flows

    def publish(
        self, flow_id: str, document: object, *, expected: str | None = None, by: str = ""
    ) -> Publication:
        raise StoreReadOnly("the database cannot be written, so nothing can be published; reading works")

    def delete(self, flow_id: str, *, expected: str | None = None) -> None:
        raise StoreReadOnly("the database cannot be written, so nothing can be deleted; reading works")

    def flows(self, *, limit: int = 50, after: str = "") -> Sequence[Version]:
        return self._shelf.published(limit, after)

    def flow(self, flow_id: str) -> Version:
        return self._startable(flow_id, None)

    def versions(self, flow_id: str, *, limit: int = 50, before: int | None = None) -> Sequence[Version]:
        found = self._shelf.versions_of(flow_id, limit, before)
        if not found and (before is None or self._shelf.version_of(flow_id, None) is None):
            raise FlowUnknown(f"{NO_FLOW}: {shown(flow_id)}")
        return found

    def version(self, flow_id: str, version: int | None = None) -> Flow:
        return self.startable(flow_id, version)[1]

    def startable(self, flow_id: str, version: int | None = None) -> tuple[Version, Flow]:
        found = self._startable(flow_id, version)
        digest = found.digest
        flow = self._flows.at_hand(digest) or self._flows.of(digest, self._shelf.document_of(digest))
        return found, flow

    def document(self, flow_id: str, version: int) -> tuple[Version, bytes]:
        found = self._shelf.version_of(flow_id, version)
        if found is None:
            raise FlowUnknown(f"there is no version {version} of a flow {shown(flow_id)}")
        return found, self._shelf.document_of(found.digest)

    def _startable(self, flow_id: str, version: int | None) -> Version:
        found = self._shelf.version_of(flow_id, version)
        if found is None and version is not None:
            raise FlowUnknown(f"there is no version {version} of a flow {shown(flow_id)}")
        if found is None or found.is_deleted:
            raise FlowUnknown(f"{NO_FLOW}: {shown(flow_id)}")
        return found


class FlowPublisher(PublishedFlows):
    """Implements `ports.publishing.Flows`. `check` says what is wrong with a document; `complete` runs
    something on the loop that the shelf belongs to."""

    def __init__(
        self,
        shelf: Shelf,
        flows: StoredFlows,
        clock: Clock,
        check: Callable[[object], Report],
        complete: Complete,
    ) -> None:
        super().__init__(shelf, flows)
        self._writer = shelf
        self._clock = clock
        self._check = check
        self._complete = complete

    def publish(
        self, flow_id: str, document: object, *, expected: str | None = None, by: str = ""
    ) -> Publication:
        flow = checked(flow_id, document, self._check(document))
        new = NewVersion(flow, self._clock.now(), by, expected)
        published: Publication = self._complete(lambda: self._writer.publish(new))
        return published

    def delete(self, flow_id: str, *, expected: str | None = None) -> None:
        self._complete(lambda: self._writer.unpublish(flow_id, self._clock.now(), expected))


def checked(flow_id: str, document: object, report: Report) -> Flow:
    """The flow of a document that may be published under this id. Raises `InvalidFlow` with all that is
    against it."""
    at: Path = ("flow",) if isinstance(document, dict) and "flow" in document else ()
    flow = report.flow
    if flow is None:
        raise InvalidFlow(f"the flow is not valid: {report.errors[0].detail}", report.errors)
    if flow.id != flow_id:
        detail = f"the id of the flow is {flow.id!r}, and that of the address {shown(flow_id)}"
        hint = "publish it under its own id"
        raise InvalidFlow(detail, [Problem(pointer_to((*at, "id")), "other-id", detail, hint)])
    results = run_cases(flow, (*at, "tests"), MOST_EVENTS)
    problems = [
        _problem((*at, "tests", index), result) for index, result in enumerate(results) if not result.passed
    ]
    if len(results) < len(flow.cases):
        detail = f"the golden cases have more than {MOST_EVENTS} events together; the rest was not run"
        problems.append(Problem(pointer_to((*at, "tests", len(results))), "too-many-events", detail))
    if problems:
        raise InvalidFlow(f"{problems[0].detail}, so the flow is not published", problems)
    return flow


def _problem(at: Path, result: CaseResult) -> Problem:
    first = result.differences[0]
    detail = (
        f"the golden case {result.name!r} fails: {first.pointer[2:]} should be {shown(str(first.expected))} "
        f"and is {shown(str(first.actual))}"
    )
    where = pointer_to((*at, "expect")) + first.pointer[1:]
    return Problem(where, "case-failed", detail, "change the flow, or what the case expects")

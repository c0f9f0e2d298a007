"""The parser: from a written document to a checked flow, or to everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from itertools import islice
from types import MappingProxyType
from typing import Any, Final

import orjson
from pydantic import BaseModel

from flow_manager.core.checks import Checks
from flow_manager.core.definition import Condition, Flow, RetryPolicy, Task
from flow_manager.core.document import FlowDocument, RetryDocument, TaskDocument
from flow_manager.core.findings import MOST_COLLECTED, Findings
from flow_manager.core.misfits import find_input_misfits, find_misfits, find_unknown_names
from flow_manager.core.plain import faults_of, is_plain
from flow_manager.core.report import Report
from flow_manager.core.values import canonical, read_json
from flow_manager.errors import InvalidFlow

MOST_UNITS: Final = 8 << 20
"""Members and characters of a document, at most: the hard cap of its size in bytes."""

_WRAPPER: Final = {"flow": None}
_ONCE: Final = RetryPolicy()


class FlowParser:
    """Reads flow documents, wrapped in `flow` or bare.

    `task_types` holds the input model of every registered task type, None where any input will
    do; it may grow. Without it types are not checked: for definitions that were checked before.
    """

    def __init__(self, task_types: Mapping[str, type[BaseModel] | None] | None = None) -> None:
        self._task_types = task_types

    def check(self, document: object) -> Report:
        """Everything that is wrong with a JSON value as a flow. Never raises."""
        errors, warnings = Findings(), Findings()
        flow = self._read(document, errors, warnings)
        return Report(
            errors.problems(document),
            warnings.problems(document),
            flow,
            truncated=errors.are_truncated,
        )

    def parse(self, document: object) -> Flow:
        """The flow of a JSON value, or of JSON text as `bytes` or `str`.

        Raises `InvalidFlow` with all problems, and what `read_json` raises for a text.
        """
        if isinstance(document, str):
            document = document.encode("utf-8", "surrogatepass")
        if isinstance(document, bytes):
            document = read_json(document)
        report = self.check(document)
        if report.flow is None:
            first = report.errors[0]
            number = "1 problem" if len(report.errors) == 1 else f"{len(report.errors)} problems"
            message = f"the flow is not valid, {number}: {first.detail} (at {first.pointer})"
            raise InvalidFlow(message, report.errors)
        return report.flow

    def _read(self, document: Any, errors: Findings, warnings: Findings) -> Flow | None:
        if not _check_plain(document, errors):
            return None
        body = document
        if isinstance(document, dict) and "flow" in document:
            find_unknown_names(document, _WRAPPER, (), errors)
            body = document["flow"]
            errors.below = warnings.below = ("flow",)
        if not isinstance(body, dict):
            errors.add((), "wrong-type", "a flow is an object")
            return None
        Checks(body, errors, warnings).run(self._task_types)
        written = find_misfits(body, errors)
        if written is not None:
            self._check_inputs(written, errors)
        return _flow(written, body) if written is not None and not errors else None

    def _check_inputs(self, written: FlowDocument, errors: Findings) -> None:
        if self._task_types is None:
            return
        for index, task in enumerate(written.tasks):
            model = self._task_types.get(task.type or task.name)
            if model is not None:
                find_input_misfits(model, task.input or {}, ("tasks", index, "input"), errors)


def _check_plain(document: Any, errors: Findings) -> bool:
    if is_plain(document, MOST_UNITS):
        try:
            if b"\\u0000" not in orjson.dumps(document):
                return True
        except (orjson.JSONEncodeError, RecursionError):
            pass
    for fault in islice(faults_of(document, MOST_UNITS), MOST_COLLECTED):
        errors.add(fault.path, fault.code, fault.detail)
    if not errors:
        errors.add((), "too-large", f"the document is larger than {MOST_UNITS >> 20} MiB")
    return False


def _flow(written: FlowDocument, body: dict[str, Any]) -> Flow:
    conditions: dict[str, list[Condition]] = {}
    for each in written.conditions:
        conditions.setdefault(each.source_task, []).append(
            Condition(
                each.name,
                each.source_task,
                each.description,
                each.outcome,
                each.target_task_success,
                each.target_task_failure,
            )
        )
    document = canonical(body)
    return Flow(
        id=written.id,
        name=written.name,
        start_task=written.start_task,
        tasks=MappingProxyType({each.name: _task(each) for each in written.tasks}),
        conditions_from=MappingProxyType({name: tuple(those) for name, those in conditions.items()}),
        description=written.description,
        labels=dict(written.labels),
        timeout=written.timeout,
        max_task_runs=written.max_task_runs,
        document=document,
        digest=sha256(document.encode()).hexdigest(),
    )


def _task(written: TaskDocument) -> Task:
    return Task(
        name=written.name,
        type=written.type or written.name,
        description=written.description,
        # A copy: whoever wrote the document may go on changing it.
        input=None if written.input is None else orjson.loads(orjson.dumps(written.input)),
        timeout=written.timeout,
        retry=_ONCE if written.retry is None else _retry(written.retry),
        on_lost=written.on_lost,
        optional=written.optional,
    )


def _retry(written: RetryDocument) -> RetryPolicy:
    longest = written.max_delay
    return RetryPolicy(
        max_attempts=written.max_attempts,
        delay=written.delay,
        backoff=written.backoff,
        max_delay=max(_ONCE.max_delay, written.delay) if longest is None else longest,
        jitter=written.jitter,
        budget=written.budget,
        retry_on=tuple(written.retry_on),
        never_on=tuple(written.never_on),
    )

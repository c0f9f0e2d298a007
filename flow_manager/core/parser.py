"""The parser: from a written document to a checked flow, or to everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from hashlib import sha256
from itertools import islice
from types import MappingProxyType
from typing import Any, Final

import orjson
from pydantic import BaseModel

from flow_manager.core.checks import Checks
from flow_manager.core.compiling import Compiler, Expressions
from flow_manager.core.definition import Concurrency, Condition, Flow, RetryPolicy, StartRate, Task, Webhook
from flow_manager.core.document import ConcurrencyDocument, FlowDocument, RetryDocument, TaskDocument
from flow_manager.core.expressions import Place
from flow_manager.core.findings import MOST_COLLECTED, Findings
from flow_manager.core.misfits import (
    find_input_misfits,
    find_misfits,
    find_unknown_names,
    holds_expressions,
)
from flow_manager.core.plain import Path, faults_of, is_plain, shown
from flow_manager.core.references import find_bad_references
from flow_manager.core.report import Report
from flow_manager.core.simulation.cases import find_unfit_cases
from flow_manager.core.steps import STEP_TYPES, WITH_CHILDREN
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
    `secrets` are the names of the secrets that there are; without it they are not checked either.
    """

    def __init__(
        self,
        task_types: Mapping[str, type[BaseModel] | None] | None = None,
        secrets: Container[str] | None = None,
    ) -> None:
        self._task_types = task_types
        self.secrets = secrets

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
        size = _size_of_plain(document, errors)
        return self._read_body(document, errors, warnings, Expressions(size)) if size else None

    def _read_body(
        self, document: Any, errors: Findings, warnings: Findings, expressions: Expressions
    ) -> Flow | None:
        body = document
        if isinstance(document, dict) and "flow" in document:
            find_unknown_names(document, _WRAPPER, (), errors)
            body = document["flow"]
            errors.below = warnings.below = (*errors.below, "flow")
        if not isinstance(body, dict):
            errors.add((), "wrong-type", "a flow is an object")
            return None
        known = None if self._task_types is None else {**self._task_types, **STEP_TYPES}
        Checks(body, errors, warnings).run(known)
        written = find_misfits(body, errors)
        if written is None:
            return None
        flow = _Reading(self, written, body, errors, warnings, expressions).flow()
        if errors:
            return None
        find_bad_references(flow, errors, warnings)
        if self._task_types is not None:
            find_unfit_cases(flow, ("tests",), errors)
        return None if errors else flow

    def read_nested(
        self, document: Any, at: Path, errors: Findings, warnings: Findings, expressions: Expressions
    ) -> Flow | None:
        """The flow of a child, which stands at `at` in the document of its parent."""
        outer = errors.below
        errors.below = warnings.below = (*outer, *at)
        before = len(errors)
        try:
            flow = self._read_body(document, errors, warnings, expressions)
        finally:
            errors.below = warnings.below = outer
        return flow if len(errors) == before else None

    def input_model(self, task_type: str) -> type[BaseModel] | None:
        """The model of the input of a task type, if it has one and types are checked."""
        step = STEP_TYPES.get(task_type)
        return step if step is not None or self._task_types is None else self._task_types.get(task_type)


class _Reading:
    """A flow made of its written form."""

    def __init__(
        self,
        parser: FlowParser,
        written: FlowDocument,
        body: dict[str, Any],
        errors: Findings,
        warnings: Findings,
        expressions: Expressions,
    ) -> None:
        self._parser = parser
        self._written = written
        self._body = body
        self._errors = errors
        self._warnings = warnings
        self._expressions = expressions
        self._compile = Compiler(errors, parser.secrets, expressions)

    def flow(self) -> Flow:
        written = self._written
        document = canonical(self._body)
        return Flow(
            id=written.id,
            name=written.name,
            start_task=written.start_task,
            tasks=MappingProxyType(
                {each.name: self._task(each, ("tasks", index)) for index, each in enumerate(written.tasks)}
            ),
            conditions_from=MappingProxyType(self._conditions()),
            description=written.description,
            labels=dict(written.labels),
            timeout=written.timeout,
            max_task_runs=written.max_task_runs,
            document=document,
            digest=sha256(document.encode()).hexdigest(),
            input_schema=self._compile.schema(written.input_schema, ("input_schema",)),
            output=self._compile.mapping(written.output, ("output",), Place.OUTPUT),
            cases=tuple(_copy(case) for case in written.tests),
            webhooks=self._webhooks(),
            concurrency=self._concurrency(written.concurrency),
            rate=None if written.rate is None else StartRate(written.rate.limit, written.rate.per),
        )

    def _concurrency(self, written: ConcurrencyDocument | None) -> Concurrency | None:
        if written is None:
            return None
        key = self._compile.mapping(written.key, ("concurrency", "key"), Place.CONCURRENCY_KEY)
        return Concurrency(written.limit, key, written.when_full)

    def _webhooks(self) -> tuple[Webhook, ...]:
        webhooks: dict[str, Webhook] = {}
        secrets = self._parser.secrets
        for index, each in enumerate(self._written.on_end.webhooks if self._written.on_end else ()):
            at: Path = ("on_end", "webhooks", index)
            if each.url in webhooks:
                self._errors.add((*at, "url"), "duplicate-name", "another webhook has this URL")
            if each.secret is not None and secrets is not None and each.secret not in secrets:
                detail = f"there is no secret named {shown(each.secret)}"
                self._errors.add((*at, "secret"), "unknown-secret", detail)
            webhooks[each.url] = Webhook(each.url, tuple(each.events), each.secret)
        return tuple(webhooks.values())

    def _conditions(self) -> dict[str, tuple[Condition, ...]]:
        conditions: dict[str, tuple[Condition, ...]] = {}
        for index, each in enumerate(self._written.conditions):
            condition = Condition(
                each.name,
                each.source_task,
                each.description,
                each.outcome,
                each.target_task_success,
                each.target_task_failure,
                self._compile.expression(each.when, ("conditions", index, "when"), Place.CONDITION),
                index,
            )
            conditions[each.source_task] = (*conditions.get(each.source_task, ()), condition)
        return conditions

    def _task(self, written: TaskDocument, at: Path) -> Task:
        kind, given = written.type or written.name, written.input
        child = None
        if kind in WITH_CHILDREN and given is not None and "flow" in given:
            child = self._child(given["flow"], (*at, "input", "flow"))
            given = {name: value for name, value in given.items() if name != "flow"}
        self._check_input(kind, written.input, at)
        return Task(
            name=written.name,
            type=kind,
            description=written.description,
            input=self._compile.mapping(_copy(given), (*at, "input"), _place_of_input(kind)),
            timeout=written.timeout,
            retry=_ONCE if written.retry is None else _retry(written.retry),
            on_lost=written.on_lost,
            optional=written.optional,
            heartbeat_timeout=written.heartbeat_timeout,
            run_when=self._compile.expression(written.run_when, (*at, "run_when"), Place.RUN_WHEN),
            output_schema=self._compile.schema(written.output_schema, (*at, "output_schema")),
            compensate_with=written.compensate_with,
            child=child,
        )

    def _child(self, document: object, at: Path) -> Flow | None:
        if isinstance(document, str):
            self._errors.add(at, "unknown-flow", "flows cannot be named yet: write the document of the flow")
            return None
        return self._parser.read_nested(document, at, self._errors, self._warnings, self._expressions)

    def _check_input(self, kind: str, given: dict[str, Any] | None, at: Path) -> None:
        model = self._parser.input_model(kind)
        if model is not None:
            find_input_misfits(model, given or {}, (*at, "input"), self._errors)
        form = (given or {}).get("form")
        if kind == "approval" and isinstance(form, dict) and not holds_expressions(form):
            self._compile.schema(form, (*at, "input", "form"))


def _size_of_plain(document: Any, errors: Findings) -> int:
    """The bytes of a plain document; 0 if it is none."""
    if is_plain(document, MOST_UNITS):
        try:
            text = orjson.dumps(document)
            if b"\\u0000" not in text:
                return len(text)
        except (orjson.JSONEncodeError, RecursionError):
            pass
    for fault in islice(faults_of(document, MOST_UNITS), MOST_COLLECTED):
        errors.add(fault.path, fault.code, fault.detail)
    if not errors:
        errors.add((), "too-large", f"the document is larger than {MOST_UNITS >> 20} MiB")
    return 0


def _place_of_input(task_type: str) -> Place:
    """What a task without a body is given is recorded, so that no secret may be in it."""
    return Place.STEP_INPUT if task_type in STEP_TYPES else Place.TASK_INPUT


def _copy(value: Any) -> Any:
    """Whoever wrote the document may go on changing it."""
    return None if value is None else orjson.loads(orjson.dumps(value))


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

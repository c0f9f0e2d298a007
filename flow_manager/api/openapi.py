"""`/openapi.json` and `/docs`: what the service can do, for machines and for people.

The document is made from the table of operations and from the models that validate the requests, once,
when it is asked for first.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from typing import Any, Final

import orjson
from flask import Flask, Response, render_template

from flow_manager import __version__
from flow_manager.api.answers import JSON
from flow_manager.api.operation import Answer, Operation
from flow_manager.api.operations import OPERATIONS
from flow_manager.api.problems import PROBLEM_JSON, Kind
from flow_manager.api.requests import read_parameters
from flow_manager.api.schema_words import members_of, words_of
from flow_manager.api.schemas import Components, problem_schema
from flow_manager.core.answers import Execution

HTML: Final = "text/html"

HEADERS: Final[dict[str, dict[str, Any]]] = {
    "ETag": {
        "description": "What to send as `If-Match`, so that the change of nobody else is lost.",
        "schema": {"type": "string"},
    },
    "Idempotency-Replayed": {
        "description": "`true` if an earlier request with the same key has started it.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "Location": {"description": "Where to ask for the execution.", "schema": {"type": "string"}},
    "Preference-Applied": {
        "description": "Which preferences were followed.",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "Try again after so many seconds.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "X-Request-Id": {
        "description": "The id of the request, as the log names it.",
        "schema": {"type": "string"},
    },
}


def openapi(operations: Sequence[Operation] = OPERATIONS) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these operations."""
    answers = [answer.of for each in operations for answer in each.answers.values()]
    components = Components(answer for answer in answers if isinstance(answer, type))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        written = _operation(operation, components)
        if "{execution_id}" not in operation.path:
            _link(operation, written, operations)
        paths.setdefault(operation.path, {})[operation.method.lower()] = written
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Flow Manager",
            "version": __version__,
            "description": "Runs flows: JSON documents of tasks and conditions, one durable step after "
            "another.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": components.schemas, "headers": HEADERS},
    }


def _operation(operation: Operation, components: Components) -> dict[str, Any]:
    written: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.area],
    }
    if operation.description:
        written["description"] = operation.description
    if operation.all_parameters:
        written["parameters"] = [parameter.to_json() for parameter in operation.all_parameters]
    if operation.body is not None:
        content: dict[str, Any] = {"schema": components.of_body(operation.body.schema())}
        if operation.body.example is not None:
            content["example"] = operation.body.example
        written["requestBody"] = {"required": True, "content": {JSON: content}}
    written["responses"] = {
        **{str(status): _answer(answer, components) for status, answer in operation.answers.items()},
        **{str(status): _problem(kinds) for status, kinds in operation.all_problems.items()},
    }
    return written


def _link(operation: Operation, written: dict[str, Any], operations: Sequence[Operation]) -> None:
    """Where an execution is answered, tell what can be done with it."""
    links = {
        each.name: {"operationId": each.name, "parameters": {"execution_id": "$response.body#/execution_id"}}
        for each in operations
        if [parameter.name for parameter in each.all_parameters if parameter.place == "path"]
        == ["execution_id"]
    }
    for status, answer in operation.answers.items():
        if answer.of is Execution:
            written["responses"][str(status)]["links"] = links


def _answer(answer: Answer, components: Components) -> dict[str, Any]:
    written = {"description": answer.description, "headers": _headers(*answer.headers)}
    if answer.of is None:
        return written
    schema = components.of_answer(answer.of) if answer.content_type == JSON else {"type": "string"}
    return {**written, "content": {answer.content_type: {"schema": schema}}}


def _problem(kinds: Sequence[Kind]) -> dict[str, Any]:
    headers = ["Retry-After"] if any(kind.retry_after is not None for kind in kinds) else []
    return {
        "description": "; or ".join(kind.title for kind in kinds) + ".",
        "headers": _headers(*headers),
        "content": {PROBLEM_JSON: {"schema": problem_schema(kinds)}},
    }


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*names, "X-Request-Id")}


class DocumentRoutes:
    """The two endpoints. What they answer never changes while the process lives."""

    def add_to(self, app: Flask) -> None:
        app.add_url_rule("/openapi.json", view_func=self.openapi)
        app.add_url_rule("/docs", view_func=self.docs)

    def openapi(self) -> Response:
        read_parameters()
        return Response(self._document, content_type=JSON)

    def docs(self) -> Response:
        """A page without scripts, and without anything from elsewhere."""
        read_parameters()
        text, style = self._page
        policy = (
            f"default-src 'none'; style-src '{style}'; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        )
        headers = [("Content-Security-Policy", policy), ("X-Content-Type-Options", "nosniff")]
        return Response(text, 200, headers, content_type=f"{HTML}; charset=utf-8")

    @cached_property
    def _document(self) -> bytes:
        return orjson.dumps(openapi())

    @cached_property
    def _page(self) -> tuple[str, str]:
        """The page, and the hash of its style sheet."""
        style = render_template("openapi-page.css")
        text = render_template(
            "openapi-page.html",
            document=openapi(),
            members_of=members_of,
            words_of=words_of,
            written=_written,
        )
        return text, "sha256-" + b64encode(sha256(style.encode()).digest()).decode()


def _written(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()

"""`/v1/flows/{id}/executions`: starting published flows, one execution or many."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

from flask import Flask, Response, request
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from flow_manager.api.answers import answer
from flow_manager.api.bodies import read_model
from flow_manager.api.execution_request import label_problems
from flow_manager.api.flows import read_flow_id
from flow_manager.api.keys import fingerprint_of, idempotency_key, is_key, replayed
from flow_manager.api.preferences import Preferences
from flow_manager.api.problems import problem_of
from flow_manager.api.requests import read_body, read_parameters
from flow_manager.api.room import Room
from flow_manager.api.settings import ApiSettings
from flow_manager.api.waiting import WaitingRoom
from flow_manager.errors import FlowManagerError, InvalidRequest, Problem
from flow_manager.ports.backend import Backend
from flow_manager.ports.starting import (
    MOST_STARTED,
    Accepted,
    Start,
    StartOptions,
    StartRequest,
)

PRIORITIES: Final = {"low": -1, "normal": 0, "high": 1}
MOST_VERSION: Final = 999_999_999

_TIME: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)


class Item(BaseModel):
    """One of several executions to be started."""

    model_config = ConfigDict(strict=True, extra="ignore")

    input: dict[str, Any] = {}
    labels: dict[str, str] = {}
    key: str | None = None

    @field_validator("key")
    @classmethod
    def _plain(cls, key: str | None) -> str | None:
        if key is not None and not is_key(key):
            raise PydanticCustomError("bad-key", "a key has 1 to 255 characters of ASCII, no control ones")
        return key


class StartBody(BaseModel):
    """The body of a start."""

    model_config = ConfigDict(strict=True, extra="ignore")

    input: dict[str, Any] = {}
    labels: dict[str, str] = {}
    version: int | None = Field(None, ge=1, le=MOST_VERSION)
    priority: Literal["low", "normal", "high"] = "normal"
    start_at: str | None = None


class BatchBody(BaseModel):
    """The body of a start of several."""

    model_config = ConfigDict(strict=True, extra="ignore")

    items: list[dict[str, Any]] = Field(min_length=1, max_length=MOST_STARTED)
    version: int | None = Field(None, ge=1, le=MOST_VERSION)


class StartRoutes:
    """Requests take a place in `room`, and those that wait for a result one of `waiting`."""

    def __init__(self, backend: Backend, settings: ApiSettings, room: Room, waiting: WaitingRoom) -> None:
        self._backend = backend
        self._max_body = settings.max_body
        self._room = room
        self._waiting = waiting

    def add_to(self, app: Flask) -> None:
        app.add_url_rule("/v1/flows/<flow_id>/executions", view_func=self.start, methods=["POST"])
        app.add_url_rule("/v1/flows/<flow_id>/executions:batch", view_func=self.batch, methods=["POST"])

    def start(self, flow_id: str) -> Response:
        """201 when the execution has ended, 202 if it goes on, 200 if the same request has started it
        before."""
        read_parameters()
        with self._room:
            read_flow_id(flow_id)
            key = idempotency_key()
            body = read_model(StartBody, read_body(self._max_body))
            start_at = _start_at(body.start_at)
            _check_labels(body.labels)
            version, flow = self._backend.flows.startable(flow_id, body.version)
            options = StartOptions(
                key,
                b"" if key is None else fingerprint_of(flow_id, body.model_dump(exclude_defaults=True)),
                PRIORITIES[body.priority],
                start_at,
                version.version,
            )
            preferences = Preferences.parse(request.environ.get("HTTP_PREFER"))
            with self._waiting.patience(preferences, may_wait=start_at is None) as patience:
                start = self._backend.start(flow, body.input, options, labels=body.labels, wait=patience.wait)
        return _answer_start(start, preferences.applied(waited=patience.is_as_wanted))

    def batch(self, flow_id: str) -> Response:
        """200 with one answer for each item, in their order: also if none was started."""
        read_parameters()
        with self._room:
            read_flow_id(flow_id)
            body = read_model(BatchBody, read_body(self._max_body))
            version, flow = self._backend.flows.startable(flow_id, body.version)
            asked = [_request(flow_id, item, body.version, version.version) for item in body.items]
            requests = [each for each in asked if isinstance(each, StartRequest)]
            answers = iter(self._backend.start_all(flow, requests) if requests else ())
            told = [next(answers) if isinstance(each, StartRequest) else each for each in asked]
        items = [_item(each, index) for index, each in enumerate(told)]
        accepted = sum("execution_id" in item for item in items)
        return answer({"accepted": accepted, "refused": len(items) - accepted, "items": items})


def _answer_start(start: Start, applied: str) -> Response:
    view = start.view
    headers = [("Location", f"/v1/executions/{view.execution_id}")]
    if applied:
        headers.append(("Preference-Applied", applied))
    if not start.is_new:
        return replayed(answer(view.to_json(), 200, headers))
    return answer(view.to_json(), 201 if view.is_ended else 202, headers)


def _request(
    flow_id: str, item: Mapping[str, Any], asked_version: int | None, version: int
) -> StartRequest | FlowManagerError:
    """An item with a key asks for the same as a single start with that key."""
    try:
        body = read_model(Item, item)
        _check_labels(body.labels)
    except InvalidRequest as refusal:
        return refusal
    if body.key is None:
        return StartRequest(body.input, body.labels, StartOptions(version=version))
    same = StartBody(input=body.input, labels=body.labels, version=asked_version)
    fingerprint = fingerprint_of(flow_id, same.model_dump(exclude_defaults=True))
    return StartRequest(body.input, body.labels, StartOptions(body.key, fingerprint, version=version))


def _item(told: Accepted | FlowManagerError, index: int) -> dict[str, Any]:
    if isinstance(told, Accepted):
        return {"index": index, "execution_id": told.execution_id, "is_new": told.is_new}
    return {"index": index, "problem": problem_of(told)}


def _check_labels(labels: Mapping[str, str]) -> None:
    problems = list(label_problems(labels))
    if problems:
        raise InvalidRequest(problems[0].detail, problems)


def _start_at(text: str | None) -> datetime | None:
    if text is None:
        return None
    moment = _moment(text)
    if moment is None:
        detail = "a time in ISO 8601 with its zone"
        hint = 'as "2026-07-01T09:00:00+02:00"'
        raise InvalidRequest(detail, [Problem("#/start_at", "bad-time", detail, hint)])
    return moment


def _moment(text: str) -> datetime | None:
    if not _TIME.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None

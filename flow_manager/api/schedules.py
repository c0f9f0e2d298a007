"""The schedules under `/v1/schedules`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from flask import Flask, Response, request
from pydantic import BaseModel, Field

from flow_manager.api.answers import answer
from flow_manager.api.bodies import BODY, Nothing, read_model
from flow_manager.api.problems import INVALID_REQUEST, Refusal
from flow_manager.api.requests import parameter_error, read_body, read_parameters
from flow_manager.api.room import Room
from flow_manager.api.settings import ApiSettings
from flow_manager.core.attempts import format_time
from flow_manager.core.schedule_document import Time
from flow_manager.ports.backend import DEFAULT_LISTED, MOST_LISTED, Backend
from flow_manager.ports.scheduling import (
    DEFAULT_BACKFILLED,
    DEFAULT_PREVIEWED,
    MOST_BACKFILLED,
    MOST_PREVIEWED,
    Schedules,
    ScheduleView,
)

_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_VERSION: Final = re.compile(r'"([0-9]{1,9})"')
_NO_VERSION: Final = -1
"""What no schedule has: for an `If-Match` that is no version."""


class BackfillBody(BaseModel):
    """The body of a backfill."""

    model_config = BODY

    since: Time
    until: Time
    limit: int = Field(DEFAULT_BACKFILLED, ge=1, le=MOST_BACKFILLED)


class ScheduleRoutes:
    """The endpoints of schedules."""

    def __init__(self, backend: Backend, settings: ApiSettings, room: Room) -> None:
        self._backend = backend
        self._max_body = settings.max_body
        self._room = room
        self._long_reads = Room.for_long_reads(settings.handler_threads)

    def add_to(self, app: Flask) -> None:
        one, post = "/v1/schedules/<schedule_id>", ["POST"]
        app.add_url_rule("/v1/schedules", "schedules", self.all)
        app.add_url_rule("/v1/schedules:preview", "preview_schedule", self.preview, methods=post)
        app.add_url_rule(one, "schedule", self.get)
        app.add_url_rule(one, "put_schedule", self.put, methods=["PUT"])
        app.add_url_rule(one, "delete_schedule", self.delete, methods=["DELETE"])
        app.add_url_rule(f"{one}/preview", "schedule_preview", self.next_times)
        app.add_url_rule(f"{one}/fires", "schedule_fires", self.fires)
        app.add_url_rule(f"{one}:pause", "pause_schedule", self.pause, methods=post)
        app.add_url_rule(f"{one}:resume", "resume_schedule", self.resume, methods=post)
        app.add_url_rule(f"{one}:trigger", "trigger_schedule", self.trigger, methods=post)
        app.add_url_rule(f"{one}:backfill", "backfill_schedule", self.backfill, methods=post)

    @property
    def _schedules(self) -> Schedules:
        return self._backend.schedules

    # -- reading

    def all(self) -> Response:
        """In the order of their ids."""
        parameters = read_parameters("limit", "after")
        limit = _number(parameters.get("limit"), "limit", DEFAULT_LISTED, MOST_LISTED)
        with self._long_reads:
            found = self._schedules.all(after=parameters.get("after", ""), limit=limit)
            return answer({"schedules": [each.to_json() for each in found]})

    def get(self, schedule_id: str) -> Response:
        read_parameters()
        return _answer(self._schedules.get(schedule_id))

    def next_times(self, schedule_id: str) -> Response:
        """The next nominal times of a schedule."""
        count = _number(read_parameters("count").get("count"), "count", DEFAULT_PREVIEWED, MOST_PREVIEWED)
        return _times(self._schedules.next_times(schedule_id, count))

    def fires(self, schedule_id: str) -> Response:
        """What became of its times, the latest first."""
        limit = _number(read_parameters("limit").get("limit"), "limit", DEFAULT_LISTED, MOST_LISTED)
        with self._long_reads:
            found = self._schedules.fires(schedule_id, limit)
            return answer({"fires": [each.to_json() for each in found]})

    def preview(self) -> Response:
        """The next nominal times of the schedule in the body, which is not stored."""
        count = _number(read_parameters("count").get("count"), "count", DEFAULT_PREVIEWED, MOST_PREVIEWED)
        with self._room:
            return _times(self._schedules.preview(read_body(self._max_body), count))

    # -- changing

    def put(self, schedule_id: str) -> Response:
        read_parameters()
        with self._room:
            view, is_new = self._schedules.put(schedule_id, read_body(self._max_body), _seen())
            return _answer(view, 201 if is_new else 200)

    def delete(self, schedule_id: str) -> Response:
        """204: it starts nothing more. What it has started goes on."""
        read_parameters()
        with self._room:
            self._schedules.delete(schedule_id, _seen())
            return Response(status=204)

    def pause(self, schedule_id: str) -> Response:
        return self._changed(self._schedules.pause, schedule_id)

    def resume(self, schedule_id: str) -> Response:
        return self._changed(self._schedules.resume, schedule_id)

    def trigger(self, schedule_id: str) -> Response:
        """Start it now."""
        read_parameters()
        with self._room:
            read_model(Nothing, read_body(self._max_body))
            execution_id = self._schedules.trigger(schedule_id)
            body = {"execution_id": execution_id, "accepted": True}
            return answer(body, 202, [("Location", f"/v1/executions/{execution_id}")])

    def backfill(self, schedule_id: str) -> Response:
        """Start the times of the past that have not been started."""
        read_parameters()
        with self._room:
            body = read_model(BackfillBody, read_body(self._max_body))
            done = self._schedules.backfill(schedule_id, body.since, body.until, body.limit)
            return answer(done.to_json(), 202)

    def _changed(self, change: Callable[[str], ScheduleView], schedule_id: str) -> Response:
        read_parameters()
        with self._room:
            read_model(Nothing, read_body(self._max_body))
            return _answer(change(schedule_id))


def _answer(view: ScheduleView, status: int = 200) -> Response:
    return answer(view.to_json(), status, [("ETag", f'"{view.schedule.version}"')])


def _times(times: Sequence[datetime]) -> Response:
    return answer({"times": [format_time(each) for each in times]})


def _seen() -> int | None:
    """The version that is meant to be replaced, as the headers say; 0 if there is meant to be none."""
    if request.headers.get("If-None-Match") == "*":
        return 0
    given = request.headers.get("If-Match")
    if given is None:
        return None
    found = _VERSION.fullmatch(given.strip())
    return int(found[1]) if found else _NO_VERSION


def _number(text: str | None, name: str, default: int, most: int) -> int:
    if text is None:
        return default
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= most:
        errors: list[dict[str, Any]] = [
            parameter_error(name, "out-of-range", f"a whole number from 1 to {most}")
        ]
        raise Refusal(INVALID_REQUEST, "a query parameter is not valid", errors=errors)
    return int(text)

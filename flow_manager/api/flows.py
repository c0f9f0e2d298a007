"""`/v1/flows`: publishing flows, and what is published."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson
from flask import Flask, Response, request

from flow_manager.api.answers import answer
from flow_manager.api.problems import INVALID_REQUEST, NOT_FOUND, PRECONDITION_FAILED, Refusal
from flow_manager.api.requests import parameter_error, read_body, read_parameters
from flow_manager.api.room import Room
from flow_manager.api.settings import ApiSettings
from flow_manager.core.document_words import ID
from flow_manager.ports.backend import DEFAULT_LISTED, MOST_LISTED, Backend
from flow_manager.ports.publishing import ANY_VERSION, Version

AT_ONCE: Final = 2
"""Documents that are checked at once: their golden cases keep a core busy."""

_ID: Final = re.compile(ID)
_VERSION: Final = re.compile(r"[1-9][0-9]{0,8}")
_LIMIT: Final = re.compile(r"[0-9]{1,9}")
_TAG: Final = re.compile(r'"([\x21\x23-\x7e]{1,64})"')


class PublishingRoutes:
    """Changing a published flow takes an `If-Match` with the `ETag` of its newest version. Requests that may
    take a while have a place in `room`; of those that publish only a few are in work at once."""

    def __init__(self, backend: Backend, settings: ApiSettings, room: Room) -> None:
        self._backend = backend
        self._max_body = settings.max_body
        self._room = room
        self._checks = Room(AT_ONCE)

    def add_to(self, app: Flask) -> None:
        one = "/v1/flows/<flow_id>"
        app.add_url_rule("/v1/flows", view_func=self.flows)
        app.add_url_rule(one, view_func=self.flow)
        app.add_url_rule(one, view_func=self.publish, methods=["PUT"])
        app.add_url_rule(one, view_func=self.delete, methods=["DELETE"])
        app.add_url_rule(f"{one}/versions", view_func=self.versions)
        app.add_url_rule(f"{one}/versions/<version>", view_func=self.version)

    def publish(self, flow_id: str) -> Response:
        """201 with a new version, 200 if the newest one has the same document."""
        read_parameters()
        with self._room, self._checks:
            read_flow_id(flow_id)
            expected = _expected()
            document = read_body(self._max_body)
            published = self._backend.flows.publish(flow_id, document, expected=expected)
        where = ("Location", f"/v1/flows/{flow_id}/versions/{published.version.version}")
        return _described(published.version, 201 if published.is_new else 200, [where])

    def flows(self) -> Response:
        """By id."""
        parameters = read_parameters("limit", "after")
        limit = _limit(parameters.get("limit"))
        with self._room:
            found = self._backend.flows.flows(limit=limit, after=parameters.get("after", ""))
            return answer({"flows": [each.to_json() for each in found]})

    def flow(self, flow_id: str) -> Response:
        """The newest version, with its document."""
        read_parameters()
        newest = self._backend.flows.flow(read_flow_id(flow_id))
        return self._with_document(flow_id, newest.version)

    def versions(self, flow_id: str) -> Response:
        """The newest first."""
        parameters = read_parameters("limit", "before")
        limit, before = _limit(parameters.get("limit")), _number(parameters.get("before"))
        with self._room:
            found = self._backend.flows.versions(read_flow_id(flow_id), limit=limit, before=before)
            return answer({"versions": [each.to_json() for each in found]})

    def version(self, flow_id: str, version: str) -> Response:
        read_parameters()
        if not _VERSION.fullmatch(version):
            raise Refusal(NOT_FOUND, "the number of a version is a whole number from 1 on")
        return self._with_document(read_flow_id(flow_id), int(version))

    def delete(self, flow_id: str) -> Response:
        """Let it be started no more."""
        read_parameters()
        self._backend.flows.delete(read_flow_id(flow_id), expected=_expected())
        return answer({"id": flow_id, "deleted": True})

    def _with_document(self, flow_id: str, number: int) -> Response:
        version, text = self._backend.flows.document(flow_id, number)
        return _described(version, 200, [], {"flow": orjson.Fragment(text)})


def read_flow_id(text: str) -> str:
    """Raises `Refusal` for what can be no id of a flow."""
    if not _ID.fullmatch(text):
        raise Refusal(NOT_FOUND, "no flow has such an id")
    return text


def _described(
    version: Version,
    status: int,
    headers: list[tuple[str, str]],
    more: dict[str, Any] | None = None,
) -> Response:
    return answer(version.to_json() | (more or {}), status, [("ETag", f'"{version.tag}"'), *headers])


def _expected() -> str | None:
    """The tag in `If-Match`. One that nobody gave out is the tag of no version."""
    given = request.environ.get("HTTP_IF_MATCH")
    if given is None or given.strip() == ANY_VERSION:
        return None if given is None else ANY_VERSION
    match = _TAG.fullmatch(given.strip())
    if match is None:
        raise Refusal(
            PRECONDITION_FAILED, 'If-Match takes the ETag of the newest version, as "1-0123456789abcdef"'
        )
    return match[1]


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LISTED
    if not _LIMIT.fullmatch(text) or not 1 <= int(text) <= MOST_LISTED:
        raise _bad("limit", f"a whole number from 1 to {MOST_LISTED}")
    return int(text)


def _number(text: str | None) -> int | None:
    if text is not None and not _VERSION.fullmatch(text):
        raise _bad("before", "the number of a version")
    return None if text is None else int(text)


def _bad(name: str, detail: str) -> Refusal:
    errors = [parameter_error(name, "out-of-range", detail)]
    return Refusal(INVALID_REQUEST, "1 of the query parameters is not valid", errors=errors)

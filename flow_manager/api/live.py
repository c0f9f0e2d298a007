"""Server-sent events: what happens to executions, as it happens.

Each client holds a thread of the web server as long as it listens. So they have a room of their own, and the
server has as many threads more (`api.server`). What a client does not take is not kept for it: the next thing
is read when the last one has gone out, and a client that takes nothing at all is dropped by the system
(`CLIENT_SILENCE` of `api.server`).
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
from flask import Flask, Response, request

from flow_manager.api.problems import BAD_REQUEST, Refusal
from flow_manager.api.requests import EVENT_STREAM, read_parameters
from flow_manager.api.room import Room
from flow_manager.core.execution_id import read_execution_id
from flow_manager.errors import ExecutionUnknown, ShuttingDown, StoreError
from flow_manager.ports.backend import Backend
from flow_manager.ports.live import Changes, News

log = logging.getLogger(__name__)

HEARTBEAT: Final = 15.0
"""Seconds after which a client that was told nothing gets a comment."""
_HEADERS: Final = [("Content-Type", EVENT_STREAM), ("Cache-Control", "no-store"), ("X-Accel-Buffering", "no")]
_COMMENT: Final = b":\n\n"

encode = msgspec.json.Encoder().encode


class LiveRoutes:
    def __init__(self, backend: Backend, room: Room, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._live = backend.live
        self._room = room
        self._monotonic = monotonic

    def add_to(self, app: Flask) -> None:
        app.add_url_rule("/v1/executions/<text>/events", view_func=self.events)
        app.add_url_rule("/v1/executions:events", view_func=self.changes)

    def events(self, text: str) -> Response:
        """The events of an execution, from the first or from the one after `Last-Event-ID`. One who has had
        the last one is answered with 204: a browser then asks no more."""
        read_parameters()
        execution_id, after = read_execution_id(text), _last_seq()
        with _Place(self._room) as place:
            told = self._live.events(execution_id, after)
            first = next(told, None)
            if first is None:
                raise ShuttingDown("the service is stopping")
            if first.is_over and not first.events:
                return Response(status=204)
            texts = _of_execution(itertools.chain([first], told), after)
            return place.keep(Response(self._told(texts), 200, _HEADERS))

    def changes(self) -> Response:
        """One event for each change of the status of any execution."""
        read_parameters()
        with _Place(self._room) as place:
            told = self._live.changes(request.headers.get("Last-Event-ID"))
            return place.keep(Response(self._told(_of_changes(told)), 200, _HEADERS))

    def _told(self, texts: Iterator[bytes]) -> Iterator[bytes]:
        """The texts that are not empty, and a heartbeat when there was none for long. What goes wrong ends
        the answer: the client comes back and is told."""
        yield _COMMENT
        told_at = self._monotonic()
        try:
            for text in texts:
                if not text and self._monotonic() - told_at < HEARTBEAT:
                    continue
                yield text or _COMMENT
                told_at = self._monotonic()
        except (StoreError, ExecutionUnknown, ShuttingDown) as error:
            log.warning("a client that follows executions is let go: %s", error)


class _Place:
    """A place in a room, given back when the answer that keeps it is closed; at once if none does."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._is_kept = False

    def __enter__(self) -> _Place:
        self._room.__enter__()
        return self

    def keep(self, response: Response) -> Response:
        self._is_kept = True
        response.call_on_close(self._room.give_back)
        return response

    def __exit__(self, *_: object) -> None:
        if not self._is_kept:
            self._room.give_back()


def _last_seq() -> int:
    text = request.headers.get("Last-Event-ID", "0")
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise Refusal(BAD_REQUEST, "Last-Event-ID is the seq of the last event that was told, or left out")
    return int(text)


def _of_execution(told: Iterator[News], seq: int) -> Iterator[bytes]:
    for news in told:
        if not news.events:
            yield b""
        for event in news.events:
            seq += 1
            body: dict[str, Any] = {"seq": seq, **msgspec.to_builtins(event)}
            yield _event(body["type"], body, str(seq))


def _of_changes(told: Iterator[Changes]) -> Iterator[bytes]:
    """Of what comes together only the last has an id: who breaks off before it is told all of it again."""
    known = ""
    for each in told:
        if each.is_reset:
            yield _event("reset", {}, each.position)
        elif each.changes:
            *before, last = [change.to_json() for change in each.changes]
            yield b"".join(_event("status", body) for body in before) + _event("status", last, each.position)
        else:
            yield b"" if each.position == known else b"id: %b\n\n" % each.position.encode()
        known = each.position


def _event(name: str, body: dict[str, Any], position: str | None = None) -> bytes:
    place = b"" if position is None else b"id: %b\n" % position.encode()
    return b"event: %b\n%bdata: %b\n\n" % (name.encode(), place, encode(body))

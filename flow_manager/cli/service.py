"""A running service, as the command line talks to it."""

from __future__ import annotations

import http.client
import os
from typing import IO, Any, Final, NamedTuple
from urllib.parse import urlsplit

import click
import orjson

from flow_manager.cli import output
from flow_manager.cli.exits import ExitCode
from flow_manager.core.values import read_json
from flow_manager.errors import InvalidInput, Problem
from flow_manager.settings import Settings

EXAMPLE: Final = "http://127.0.0.1:5000"
PATIENCE: Final = 60.0
"""Seconds to wait for an answer."""
MOST_ANSWER: Final = 16 << 20


def default_url() -> str:
    """The address of a service that was started on this machine with the same environment."""
    return f"http://127.0.0.1:{Settings.load({}, os.environ).port}"


url_option = click.option(
    "--url",
    metavar="URL",
    default=default_url,
    show_default=f"{EXAMPLE}, or the port of FLOW_MANAGER_PORT",
    help="Where the service is.",
)


class Unreachable(click.ClickException):
    """No service answers, or it cannot do what was asked now."""

    exit_code = ExitCode.UNAVAILABLE

    def show(self, file: IO[Any] | None = None) -> None:
        output.show_error(self.message)


class Reply(NamedTuple):
    status: int
    tag: str | None
    """The `ETag`."""
    body: Any


class ServiceClient:
    """Sends one request at a time. Answers that refuse a request raise `InvalidInput` with its problems."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise click.UsageError(f"--url takes an address as {EXAMPLE}, and not {url!r}")
        kind = http.client.HTTPConnection if parts.scheme == "http" else http.client.HTTPSConnection
        self._connection = kind(parts.netloc, timeout=PATIENCE)
        self._url, self._folder = url, parts.path.rstrip("/")

    def get(self, path: str) -> Reply | None:
        """None if there is nothing."""
        reply = self._ask("GET", path)
        return None if reply.status == 404 else _good(reply)

    def put(self, path: str, body: bytes, tag: str | None) -> Reply:
        """`tag` is that of what it takes the place of."""
        headers = {"Content-Type": "application/json"}
        return _good(self._ask("PUT", path, body, headers if tag is None else headers | {"If-Match": tag}))

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        try:
            self._connection.request(method, self._folder + path, body, headers or {})
            response = self._connection.getresponse()
            content = response.read(MOST_ANSWER + 1)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"no service answers at {self._url}: {error}") from error
        finally:
            self._connection.close()
        try:
            return Reply(response.status, response.headers.get("ETag"), read_json(content))
        except InvalidInput as error:
            raise Unreachable(f"what answers at {self._url} is no Flow Manager") from error


def _good(reply: Reply) -> Reply:
    if reply.status < 400:
        return reply
    problem = reply.body if isinstance(reply.body, dict) else {}
    detail = str(problem.get("detail", f"the service answered {reply.status}"))
    if reply.status >= 500 or reply.status == 429:
        raise Unreachable(detail)
    errors = [each for each in problem.get("errors", ()) if isinstance(each, dict)]
    problems = [
        Problem(str(each.get("pointer", "#")), str(each.get("code", "")), str(each.get("detail", "")))
        for each in errors
    ]
    raise InvalidInput(detail, problems)


def text_of(value: Any) -> str:
    """A value of a document, on one line."""
    return orjson.dumps(value).decode()

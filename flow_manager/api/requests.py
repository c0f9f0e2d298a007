"""Requests: what each must satisfy before anything is done for it, and how its parts are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import uuid_utils
from flask import request
from werkzeug.datastructures import MIMEAccept
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.http import parse_accept_header

from flow_manager.api.answers import JSON
from flow_manager.api.problems import (
    BAD_HOST,
    BAD_REQUEST,
    CROSS_ORIGIN,
    INVALID_REQUEST,
    METHOD_NOT_ALLOWED,
    NOT_ACCEPTABLE,
    PROBLEM_JSON,
    REQUEST_ID,
    UNSUPPORTED_MEDIA_TYPE,
    Refusal,
    allowed_by,
)
from flow_manager.api.settings import ApiSettings
from flow_manager.core.addresses import is_loopback
from flow_manager.core.problems import nearest
from flow_manager.core.values import read_json
from flow_manager.errors import Problem, TooLarge

READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing and have no body."""

OTHER_TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "/docs": ("text/html",),
    "/metrics": ("text/plain", "application/openmetrics-text", JSON),
}
"""What can be asked for at paths whose answer is not JSON. Those who scrape ask as they do everywhere, so
figures are given to those who ask for JSON as well."""
EVENT_STREAM: Final = "text/event-stream"
EVENTS: Final = ("/events", ":events")
"""The ends of the addresses whose answers are such streams."""

_JSON_TYPES: Final = (JSON, PROBLEM_JSON)
_CLOSE: Final = ("Connection", "close")
"""What is left of a body that nobody read is no next request."""
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_JSON_TYPE: Final = re.compile(r"application/(?:[!#$&^_.+a-z0-9-]+\+)?json")


class Guard:
    """Refuses requests that another web page, or a name that leads here by mistake, has sent."""

    def __init__(self, settings: ApiSettings) -> None:
        self._own_name = settings.host.lower()
        self._any_name = settings.allow_unauthenticated and not is_loopback(self._own_name)
        self._is_allowed_host = lru_cache(maxsize=256)(self._check_host)

    def check(self) -> None:
        """Called before every request. Raises `Refusal`."""
        environ = request.environ
        environ[REQUEST_ID] = name_of_request(environ)
        host = environ.get("HTTP_HOST", "")
        if not self._is_allowed_host(host):
            raise Refusal(BAD_HOST, "the Host header must name this service by the address it listens on")
        if environ["REQUEST_METHOD"] not in READING:
            _refuse_other_origins(environ, host)
        elif environ.get("CONTENT_LENGTH", "0") not in ("", "0") or "HTTP_TRANSFER_ENCODING" in environ:
            raise _needless_body(request.routing_exception)
        accept = environ.get("HTTP_ACCEPT")
        path = environ["PATH_INFO"]
        types = (EVENT_STREAM,) if path.endswith(EVENTS) else OTHER_TYPES.get(path, _JSON_TYPES)
        if accept is not None and not _accepts(accept, types):
            raise Refusal(NOT_ACCEPTABLE, f"the Accept header excludes {types[0]}")

    def _check_host(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        if not match:
            return False
        name = match[1].lower().strip("[]")
        return self._any_name or name == self._own_name or is_loopback(name)


def _needless_body(unrouted: Exception | None) -> Refusal:
    if isinstance(unrouted, MethodNotAllowed):
        allowed = allowed_by(unrouted)
        return Refusal(METHOD_NOT_ALLOWED, f"allowed here: {allowed}", headers=[("Allow", allowed), _CLOSE])
    return Refusal(BAD_REQUEST, "a request of this method has no body", headers=[_CLOSE])


def name_of_request(environ: Mapping[str, Any]) -> str:
    """The id that it came with, or a new one."""
    given: str | None = environ.get("HTTP_X_REQUEST_ID")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return str(uuid_utils.uuid7())


def _refuse_other_origins(environ: Mapping[str, Any], host: str) -> None:
    """Browsers say where a request comes from; programs, who have no cookies to abuse, need not."""
    origin = environ.get("HTTP_ORIGIN")
    is_foreign = origin is not None and origin.lower().partition("://")[2] != host.lower()
    if is_foreign or environ.get("HTTP_SEC_FETCH_SITE") in ("cross-site", "same-site"):
        raise Refusal(
            CROSS_ORIGIN, "requests that change something are taken from pages of this service alone"
        )


@lru_cache(maxsize=256)
def _accepts(header: str, types: tuple[str, ...]) -> bool:
    header = header[:1024]
    # Of a text, the parameters are left out: they say which version, and there is one for everybody.
    if types != _JSON_TYPES and any(
        part.partition(";")[0].strip().lower() in types for part in header.split(",")
    ):
        return True
    return parse_accept_header(header, MIMEAccept).best_match(types) is not None


def read_body(limit: int) -> object:
    """The JSON value in the body of the request.

    Raises `Refusal` for a body of another type, `TooLarge` beyond `limit` bytes (reading no more than
    that), and what `read_json` raises.
    """
    environ = request.environ
    content_type = environ.get("CONTENT_TYPE", "")
    if content_type != JSON and not _is_json(content_type):
        raise _unsupported("content-type", f"the Content-Type of the body must be {JSON}, in UTF-8")
    if environ.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        raise _unsupported("content-encoding", "bodies are not decompressed here; send it as it is")
    if environ.get("HTTP_TRANSFER_ENCODING", "chunked").lower() != "chunked":
        raise _unsupported("transfer-encoding", "the only transfer encoding here is chunked")
    return read_json(_content(environ, limit))


def _is_json(content_type: str) -> bool:
    essence, _, parameters = content_type.lower().partition(";")
    if not _JSON_TYPE.fullmatch(essence.strip()):
        return False
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name == "charset" and value.strip('"') not in ("utf-8", "utf8"):
            return False
    return True


def _unsupported(code: str, detail: str) -> Refusal:
    return Refusal(
        UNSUPPORTED_MEDIA_TYPE,
        detail,
        errors=[{"header": code.title(), "code": code, "detail": detail}],
        headers=[("Accept", JSON), _CLOSE],
        members={"accept": [JSON]},
    )


def _content(environ: Mapping[str, Any], limit: int) -> bytes:
    """The bytes of the body, however they are framed.

    Werkzeug's own reader would cut a chunked body at the limit and call the rest of it read.
    """
    given = environ.get("CONTENT_LENGTH", "")
    if not given and not environ.get("wsgi.input_terminated"):
        return b""
    expected = int(given) if given else limit + 1
    if given and expected > limit:
        raise _too_large(limit)
    read = environ["wsgi.input"].read
    content: bytes = read(expected)
    while len(content) < expected and (more := read(expected - len(content))):
        content += more
    if len(content) > limit:
        raise _too_large(limit)
    if given and len(content) < expected:
        raise Refusal(BAD_REQUEST, "the body ended before its Content-Length")
    return content


def _too_large(limit: int) -> TooLarge:
    detail = f"the body is larger than {limit} bytes"
    return TooLarge(detail, [Problem("#", "too-large", detail)])


def read_parameters(*known: str, repeatable: tuple[str, ...] = ()) -> dict[str, str]:
    """The query parameters by name. Raises `Refusal` for any that is unknown, or given twice and not
    `repeatable`."""
    if not request.environ.get("QUERY_STRING"):
        return {}
    errors = []
    for name, values in request.args.lists():
        if name not in known:
            errors.append(parameter_error(name[:64], "unknown-parameter", _known(name, known)))
        elif len(values) > 1 and name not in repeatable:
            errors.append(parameter_error(name, "repeated", "give it once"))
    if errors:
        raise Refusal(INVALID_REQUEST, f"{len(errors)} of the query parameters are not valid", errors=errors)
    return request.args.to_dict()


def _known(name: str, known: tuple[str, ...]) -> str:
    if not known:
        return "there are no query parameters here"
    likely = nearest(name, known)
    return f"did you mean {likely}?" if likely else f"the parameters here are {', '.join(known)}"


def parameter_error(name: str, code: str, detail: str) -> dict[str, Any]:
    """A member of `errors` about a query parameter."""
    return {"parameter": name, "code": code, "detail": detail}

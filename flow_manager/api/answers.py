"""Answers in JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson
from flask import Response

JSON: Final = "application/json"


def answer(body: Any, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> Response:
    """An answer with this body. Header values are ASCII: the web server knows no others."""
    return json_response(body, status, [("Content-Type", JSON), *headers])


def json_response(body: Any, status: int, headers: Sequence[tuple[str, str]]) -> Response:
    # Passed through directly the body stays a list, which the web server sends at once. An iterator it
    # calls for each part, taking the interpreter's lock each time: 15 % fewer requests per second.
    return Response(orjson.dumps(body), status, headers, direct_passthrough=True)

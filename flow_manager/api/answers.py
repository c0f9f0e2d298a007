"""Answers in JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson
from flask import Response

JSON: Final = "application/json"


def answer(body: Any, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> Response:
    """An answer with this body. Header values are ASCII: the web server knows no others."""
    # The list of pairs spares the work that Flask does for other forms of headers.
    return Response(orjson.dumps(body), status, [("Content-Type", JSON), *headers])

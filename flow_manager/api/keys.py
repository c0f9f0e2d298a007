"""The `Idempotency-Key` header: one execution for each key, however often a request is sent."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any, Final

import orjson
from flask import Response, request

from flow_manager.api.problems import BAD_IDEMPOTENCY_KEY, Refusal

MOST_KEY: Final = 255
REPLAYED: Final = "Idempotency-Replayed"
"""The header of an answer about an execution that an earlier request has started."""

_KEY: Final = re.compile(rf"[\x20-\x7e]{{1,{MOST_KEY}}}")


def is_key(text: str) -> bool:
    """Whether a text can be an idempotency key: visible ASCII, 1 to 255 characters, not all spaces."""
    return _KEY.fullmatch(text) is not None and not text.isspace()


def idempotency_key() -> str | None:
    """The key of the request. Raises `Refusal` for one that is empty, too long, not plain, or given twice."""
    given = request.environ.get("HTTP_IDEMPOTENCY_KEY")
    if given is None:
        return None
    key: str = given.strip()
    if not is_key(key) or "," in key:  # a header that is given twice comes as one, with a comma
        detail = f"one key of 1 to {MOST_KEY} characters of ASCII, no comma and no control characters"
        raise Refusal(BAD_IDEMPOTENCY_KEY, detail)
    return key


def fingerprint_of(*asked: Any) -> bytes:
    """The SHA-256 of what is asked for; the order of members does not count."""
    return sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).digest()


def replayed(response: Response) -> Response:
    """The answer of a request whose execution was there already."""
    response.headers[REPLAYED] = "true"
    return response

"""The connection to a service: one request, sent again where that is safe."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec

from flow_manager.client.failures import failure_of, retry_after_of
from flow_manager.errors import FlowManagerError, InvalidRequest, ServiceUnreachable, SettingsError

FIRST_PAUSE: Final = 0.1
"""Longest pause before the second try, in seconds; each further one is twice as long,"""
LONGEST_PAUSE: Final = 5.0
"""but no longer than this."""
MOST_RETRY_AFTER: Final = 30
"""Seconds of `Retry-After` beyond which nobody waits for the next try."""

MOST_HOST: Final = 254
"""Characters of the name of a host; so many, and it is none."""

_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""What happens before anything of a request was sent."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request. It `is_repeatable` if doing it twice is as doing it once. `patience` is how long the
    service may take on purpose, in seconds; `unknown` the error if there is nothing of the name."""

    method: str
    path: str
    body: Any = None
    parameters: Mapping[str, str | int | Sequence[str]] | None = None
    headers: Mapping[str, str] | None = None
    is_repeatable: bool = True
    patience: float = 0.0
    unknown: type[FlowManagerError] | None = None


class Connection:
    """Sends requests, at most `tries` times each.

    A request that may be repeated is sent again if there was no answer, or one of 429 or 503 that says when
    to try again; any other only if it was never sent. Before each try is a pause of random length.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        tries: int,
        transport: httpx.BaseTransport | None = None,
        pause: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        check_address(url)
        self._url = url
        self._timeout = timeout
        self._tries = tries
        self._pause = pause
        self._chance = chance
        self._http = httpx.Client(base_url=url, headers={"Accept": "application/json"}, transport=transport)

    def close(self) -> None:
        self._http.close()

    def pause(self, seconds: float) -> None:
        self._pause(seconds)

    def send(self, call: Call) -> httpx.Response:
        """The answer, of 2xx. Raises `ServiceUnreachable`, `InvalidRequest` and the error of a problem."""
        tried = 0
        while True:
            tried += 1
            try:
                response = self._try(call)
            except httpx.TransportError as error:
                may_repeat = call.is_repeatable or isinstance(error, _NOT_SENT)
                if not may_repeat or tried >= self._tries:
                    raise ServiceUnreachable(self._silence(call, error)) from error
                least = 0
            else:
                if response.is_success:
                    return response
                failure = failure_of(response, call.unknown)
                after = _pause_asked_for(response) if call.is_repeatable else None
                if after is None or tried >= self._tries:
                    raise failure
                least = after
            self._pause(least + self._jitter(tried))

    def _try(self, call: Call) -> httpx.Response:
        try:
            return self._http.send(self._request(call))
        except UnicodeEncodeError as error:
            raise InvalidRequest(
                f"{error.object[:64]!r} is no text: it cannot be written in UTF-8"
            ) from error

    def _request(self, call: Call) -> httpx.Request:
        headers = dict(call.headers or {})
        content = None
        if call.method != "GET":
            content = msgspec.json.encode({} if call.body is None else call.body)
            headers["Content-Type"] = "application/json"
        return self._http.build_request(
            call.method,
            call.path,
            content=content,
            params=dict(call.parameters) if call.parameters else None,
            headers=headers,
            timeout=httpx.Timeout(self._timeout, read=self._timeout + call.patience),
        )

    def _jitter(self, tried: int) -> float:
        return self._chance() * min(LONGEST_PAUSE, math.ldexp(FIRST_PAUSE, tried - 1))

    def _silence(self, call: Call, error: httpx.TransportError) -> str:
        if call.is_repeatable or isinstance(error, _NOT_SENT):
            return silence(self._url, error)
        what = f"{call.method} {call.path}, which may have happened"
        return f"{self._url} gave no answer to {what}: {_reason(error)}"


def check_address(url: str) -> None:
    """Raises `SettingsError` if it is no address of a service."""
    try:
        parts = urlsplit(url)
        host = httpx.URL(url).raw_host
        is_one = parts.scheme in ("http", "https") and 0 < len(host) < MOST_HOST and parts.port != 0
    except (ValueError, httpx.InvalidURL):
        is_one = False
    if not is_one:
        raise SettingsError(f"{url[:256]!r} is no address of a service; one is http://127.0.0.1:5000")


def silence(url: str, error: httpx.TransportError) -> str:
    """That nobody answers at an address, in a sentence."""
    return f"{url} does not answer: {_reason(error)}; is the service running there?"


def _reason(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__


def _pause_asked_for(response: httpx.Response) -> int | None:
    """The seconds after which the service asks to be tried again; None if it should not be."""
    if response.status_code not in (429, 503):
        return None
    after = retry_after_of(response)
    if after is None and response.status_code == 429:
        return 0
    return None if after is None or after > MOST_RETRY_AFTER else after

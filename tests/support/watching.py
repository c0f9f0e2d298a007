"""Asking a service the same again and again, to see how long it takes while something else goes on."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

import httpx

from tests.support.service import Service

Ask = Callable[[httpx.Client], httpx.Response]


def health(client: httpx.Client) -> httpx.Response:
    return client.get("/health")


class Watch:
    """Asks at least once, and as long as it is the context. Every answer has to be a 200; `seconds` is how
    long each took."""

    def __init__(self, service: Service, ask: Ask = health, *, pause: float = 0.02) -> None:
        self.seconds: list[float] = []
        self._others: list[int] = []
        self._ask = ask
        self._pause = pause
        self._client = httpx.Client(base_url=service.client.base_url, timeout=60.0)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        self._client.close()
        if error is None:
            assert self._others == []
            assert self.seconds

    def _run(self) -> None:
        while not (self.seconds or self._others) or not self._stopping.wait(self._pause):
            began = time.monotonic()
            answer = self._ask(self._client)
            self.seconds.append(time.monotonic() - began)
            if answer.status_code != 200:
                self._others.append(answer.status_code)


def p99(numbers: Sequence[float]) -> float:
    return sorted(numbers)[math.ceil(len(numbers) * 0.99) - 1]


def most_at_once(spans: Iterable[tuple[str, str]]) -> int:
    """How many of these went on at the same time; each has the text of its beginning and of its end."""
    changes = [change for began, ended in spans for change in ((began, 1), (ended, -1))]
    most = now = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most

"""The client: the calls of the HTTP API as methods with typed results."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

import httpx

from flow_manager.client.connection import Connection
from flow_manager.client.executions import ExecutionCalls
from flow_manager.client.flows import FlowCalls
from flow_manager.client.schedules import ScheduleCalls
from flow_manager.core.answers import (
    Diagnosis,
    Repaired,
    ServiceHealth,
    TaskTypeLine,
    TaskTypeList,
)

DEFAULT_URL: Final = "http://127.0.0.1:5000"


class Client(FlowCalls, ExecutionCalls, ScheduleCalls):
    """A client of the service at `url`, for one thread or many.

    `timeout` is how long an answer may take, in seconds, beyond a wait that is asked for. What can safely
    be sent again is sent up to `tries` times. All methods raise `ServiceUnreachable`, and what the service
    refuses as the error of `flow_manager.errors` that it is; its cause is then the `ProblemError` with all
    that the service said. `transport` is how httpx gets there, if not by itself. As a context it is closed
    at the end.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout: float = 30.0,
        tries: int = 5,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._connection = Connection(url, timeout=timeout, tries=tries, transport=transport)

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- the service

    def tasks(self) -> Sequence[TaskTypeLine]:
        """The registered task types, and those that need no code."""
        return self._get("/v1/tasks", TaskTypeList).tasks

    def doctor(self) -> Diagnosis:
        """Whether every open execution has what will move it on."""
        return self._get("/v1/doctor", Diagnosis)

    def repair(self) -> Repaired:
        """Mend what can be mended of what `doctor` finds."""
        return self._post("/v1/doctor:repair", {}, Repaired)

    def health(self) -> ServiceHealth:
        """What the service can do now."""
        return self._get("/health", ServiceHealth)

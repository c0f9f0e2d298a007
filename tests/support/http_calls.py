"""Calls of the `http` task, as a worker makes them, of servers that misbehave."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

from flow_manager.core.results import TaskError
from flow_manager.ports.worker import AttemptResult
from flow_manager.tasks.builtin.allow_list import AllowList
from flow_manager.tasks.builtin.guard import Resolve, look_up
from flow_manager.tasks.builtin.http import HttpClient, http_task
from flow_manager.tasks.context import Cancellation, TaskContext
from flow_manager.tasks.outcome import from_return
from tests.support.fault_server import Behaviour, FaultServer, fault_server
from tests.support.orders import order

OK: Final = b"HTTP/1.1 200 OK\r\n"
JSON: Final = {"Content-Type": "application/json"}
LOOPBACK: Final = ("127.0.0.1",)

Call = Callable[[dict[str, Any]], Coroutine[Any, Any, AttemptResult]]
Scenario = Callable[[FaultServer, Call], Awaitable[None]]


def caller(
    allow: Sequence[str] = LOOPBACK, resolve: Resolve = look_up, tls: ssl.SSLContext | None = None
) -> Call:
    """Runs the task as a worker does, on the loop that it is called on."""
    task = http_task(HttpClient(AllowList.parse(allow), resolve=resolve, tls=tls))

    async def call(task_input: dict[str, Any]) -> AttemptResult:
        context = TaskContext(order("http", task_input), Cancellation())
        return from_return(await task().execute(context), 1 << 20)

    return call


def play(behaviour: Behaviour, scenario: Scenario, call: Call | None = None) -> FaultServer:
    async def run() -> FaultServer:
        async with fault_server(behaviour) as server:
            await scenario(server, call or caller())
        return server

    return asyncio.run(run())


def result_of(behaviour: Behaviour, **task_input: Any) -> AttemptResult:
    """What comes of one call of a server that behaves like this."""
    results: list[AttemptResult] = []

    async def scenario(server: FaultServer, call: Call) -> None:
        results.append(await call({"url": server.url("/v1?secret=1"), **task_input}))

    play(behaviour, scenario)
    return results[0]


def error_of(result: AttemptResult) -> TaskError:
    assert result.outcome == "failure"
    assert result.error is not None
    return result.error

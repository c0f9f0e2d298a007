"""The task type `http`: one call of a web service."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, ClassVar, Final
from weakref import WeakKeyDictionary

import orjson
from pydantic import BaseModel, ValidationError

from flow_manager import __version__
from flow_manager.core.results import TaskExecutionResult
from flow_manager.tasks.builtin.allow_list import AllowList
from flow_manager.tasks.builtin.answer import Answer, read_answer, read_start
from flow_manager.tasks.builtin.circuit import Circuits
from flow_manager.tasks.builtin.connections import Connections
from flow_manager.tasks.builtin.failures import AttemptFailed, bad_input
from flow_manager.tasks.builtin.guard import Guard, Resolve, look_up
from flow_manager.tasks.builtin.http_input import IDEMPOTENT, MOST_RESPONSE, HttpDocument, HttpInput
from flow_manager.tasks.builtin.line import Request
from flow_manager.tasks.context import TaskContext
from flow_manager.tasks.executor import TaskExecutor

_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
"""Methods whose request says how long its body is even if there is none."""

MOST_BESIDE_BODY: Final = 64 << 10
"""Bytes that the head of an answer and its framing may have, together with what TLS adds."""


class HttpClient:
    """Makes calls. What is at hand for a loop is made when the first call on that loop needs it."""

    def __init__(
        self,
        allowed: AllowList,
        *,
        most_response: int = MOST_RESPONSE,
        resolve: Resolve = look_up,
        tls: ssl.SSLContext | None = None,
        circuits: Circuits | None = None,
    ) -> None:
        self._allowed = allowed
        self._most_response = most_response
        self._resolve = resolve
        self._given_tls = tls
        self._circuits = circuits or Circuits()
        self._connections: WeakKeyDictionary[asyncio.AbstractEventLoop, Connections] = WeakKeyDictionary()

    async def call(self, call: HttpInput, idempotency_key: str, *, is_first: bool) -> Answer:
        """Make the call, of a first attempt or a retry, and read its answer. Raises `AttemptFailed` for
        whatever goes wrong."""
        host = (call.target.scheme, call.target.host, call.target.port)
        self._circuits.enter(host, is_first=is_first)
        try:
            answer = await self._in_time(call, idempotency_key)
        except AttemptFailed as failure:
            self._circuits.failed(host, failure.error)
            raise
        except BaseException:
            self._circuits.left(host)
            raise
        self._circuits.succeeded(host)
        return answer

    async def _in_time(self, call: HttpInput, idempotency_key: str) -> Answer:
        seconds = call.read_timeout.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                return await self._call(call, idempotency_key)
        except TimeoutError:
            raise AttemptFailed("http.timeout", f"there was no whole answer within {seconds:g} s") from None

    async def _call(self, call: HttpInput, idempotency_key: str) -> Answer:
        most = min(call.max_response, self._most_response)
        request = request_of(call, idempotency_key)
        connect_seconds = call.connect_timeout.total_seconds()
        connections = self._of_this_loop()
        async with connections.open(request, most + MOST_BESIDE_BODY, connect_seconds) as (head, body):
            if call.expects(head.status_code):
                return await read_answer(head, body, most)
            answer = await read_start(head, body)
        raise answer.unexpected(datetime.now(UTC))

    async def status_of(self, call: HttpInput, idempotency_key: str) -> int:
        """Make the call; the status of its answer, whatever it is. Raises `AttemptFailed`."""
        seconds = call.read_timeout.total_seconds()
        request, connect_seconds = request_of(call, idempotency_key), call.connect_timeout.total_seconds()
        try:
            async with (
                asyncio.timeout(seconds),
                self._of_this_loop().open(request, MOST_BESIDE_BODY, connect_seconds) as (head, body),
            ):
                return (await read_start(head, body)).status
        except TimeoutError:
            raise AttemptFailed("http.timeout", f"there was no answer within {seconds:g} s") from None

    def _of_this_loop(self) -> Connections:
        loop = asyncio.get_running_loop()
        connections = self._connections.get(loop)
        if connections is None:
            connections = Connections(Guard(self._allowed, self._resolve), lambda: self._tls)
            self._connections[loop] = connections
        return connections

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Trusts whom the system trusts, or the file that SSL_CERT_FILE names."""
        return self._given_tls or ssl.create_default_context()


def request_of(call: HttpInput, idempotency_key: str) -> Request:
    """The request, with the headers that follow from the call. Those that the author sets win."""
    content = _content_of(call)
    headers = {
        "host": call.target.authority,
        "user-agent": f"flow-manager/{__version__}",
        "accept": "*/*",
        "accept-encoding": "gzip",
    }
    if call.has_json:
        headers["content-type"] = "application/json"
    elif call.body is not None:
        headers["content-type"] = "text/plain; charset=utf-8"
    if call.method not in IDEMPOTENT:
        headers["idempotency-key"] = idempotency_key
    headers |= {name.lower(): value for name, value in call.headers.items()}
    if content is not None or call.method in _WITH_BODY:
        headers["content-length"] = str(len(content or b""))
    return Request(call.method, call.target, headers, content or b"")


def _content_of(call: HttpInput) -> bytes | None:
    if call.has_json:
        return orjson.dumps(call.json_body)
    return None if call.body is None else call.body.encode()


class HttpTask(TaskExecutor):
    """Calls a web service over HTTP."""

    input_model: ClassVar[type[BaseModel] | None] = HttpDocument
    checks_its_input: ClassVar[bool] = True
    client: ClassVar[HttpClient] = HttpClient(AllowList())

    async def execute(self, context: TaskContext) -> TaskExecutionResult | dict[str, Any]:
        try:
            call = HttpInput.model_validate(context.task_input)
        except ValidationError as error:
            return bad_input("http.bad_input", error).result()
        try:
            answer = await self.client.call(call, context.idempotency_key, is_first=context.attempt == 1)
            body = answer.body
        except AttemptFailed as failure:
            return failure.result()
        url = call.target.without_query
        return {"status": answer.status, "headers": answer.headers, "body": body, "url": url}


def http_task(client: HttpClient) -> type[HttpTask]:
    """The task that calls through this client."""

    class Configured(HttpTask):
        __doc__ = HttpTask.__doc__
        __qualname__ = HttpTask.__qualname__

    Configured.client = client
    return Configured

"""A web service for flows to call: it answers each path from a script, and notes what it was asked."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self


class Answer(NamedTuple):
    status: int
    body: Any = None
    headers: Mapping[str, str] = {}


class StubApi:
    """Answers `METHOD /path` with the next answer of its script; the last one repeats."""

    def __init__(self, scripts: Mapping[str, Sequence[Answer]]) -> None:
        self._scripts = scripts
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self._counts: dict[str, int] = defaultdict(int)
        self._lock = threading.Lock()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                text = self.rfile.read(length)
                asked = f"{self.command} {self.path}"
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = stub.take(asked, headers, json.loads(text) if text else None)
                content = json.dumps(answer.body).encode()
                self.send_response(answer.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = _answer

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def take(self, asked: str, headers: dict[str, str], body: Any) -> Answer:
        with self._lock:
            self.asked.append((asked, headers, body))
            script = self._scripts.get(asked, [Answer(404)])
            number = self._counts[asked]
            self._counts[asked] += 1
        return script[min(number, len(script) - 1)]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

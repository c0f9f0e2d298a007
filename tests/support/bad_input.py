"""A running service that is sent what it must refuse, and what holds for each refusal and for all."""

from __future__ import annotations

import contextlib
import json
import statistics
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import orjson
import psutil

from tests.support.raw_http import Answer, ask, ask_until_closed, post
from tests.support.service import Service

FLOW_PATHS: Final = ("/flow/execute", "/flow/validate")

MOST_ECHOED: Final = 64
"""Characters of an input that an answer repeats."""
MOST_SECONDS: Final = 1.0
"""For one answer, on a machine that does other things too."""
MOST_SECONDS_USUALLY: Final = 0.25
MOST_GROWTH: Final = 64 << 20
"""Bytes of memory that all refusals together may leave behind."""


@contextlib.contextmanager
def refusing_service(folder: Path) -> Iterator[Refusing]:
    """`flow-manager serve`; at the end it must be alive and well, and have executed what is in
    `executed` and nothing else."""
    journal = folder / "journal"
    with Service(folder, environment={"TASK_JOURNAL": str(journal)}) as service:
        refusing = Refusing(service, journal)
        yield refusing
        refusing.check_what_is_left()


class Refusing:
    """What is asked of a running service, and what must hold for each of its refusals and for all."""

    def __init__(self, service: Service, journal: Path) -> None:
        self.service = service
        self.executed: list[str] = []
        self._journal = journal
        self._seconds: list[float] = []
        for path in FLOW_PATHS * 5:  # what is made at the first request is no growth
            self.refused(post(path, b""))
        self._memory = self._process.memory_info().rss

    @property
    def port(self) -> int:
        port = self.service.client.base_url.port
        assert port is not None
        return port

    @property
    def _process(self) -> psutil.Process:
        assert self.service.process is not None
        return psutil.Process(self.service.process.pid)

    def refused(self, content: bytes) -> dict[str, Any]:
        """The problem that these bytes are answered with."""
        return self.problem(ask(self.port, content), content)

    def refused_and_closed(self, content: bytes) -> dict[str, Any]:
        """The same, where the connection must be closed behind the answer."""
        answer, rest = ask_until_closed(self.port, [content])
        assert rest == b""
        return self.problem(answer, content)

    def problem(self, answer: Answer | None, content: bytes) -> dict[str, Any]:
        """The problem in an answer, after a look at what every problem must have."""
        assert answer is not None, "the connection was closed without an answer"
        assert 400 <= answer.status < 500, (answer.status, answer.body[:200])
        assert answer.headers["content-type"] == "application/problem+json"
        problem: dict[str, Any] = answer.json()
        assert problem["type"].startswith("/problems/")
        assert problem["status"] == answer.status
        assert problem["title"]
        assert problem["detail"]
        assert answer.headers["x-request-id"]
        assert problem["instance"] == "/requests/" + answer.headers["x-request-id"]
        for error in problem.get("errors", ()):
            assert error["code"]
            assert error["detail"]
            assert len(error.keys() & {"pointer", "parameter", "header"}) == 1
            if problem["type"] == "/problems/malformed-json":
                assert (error["line"] > 0, error["column"] > 0, error["offset"] >= 0) == (True, True, True)
        assert len(problem.get("errors", ())) <= 100
        self._check_text(answer, content)
        self._seconds.append(answer.seconds)
        assert answer.seconds <= MOST_SECONDS
        return problem

    def _check_text(self, answer: Answer, content: bytes) -> None:
        lower = answer.body.lower()
        for word in (b"<html", b"<!doctype", b"traceback", b'file \\"', b"site-packages"):
            assert word not in lower
        assert not any(byte < 0x20 for byte in answer.body)
        given = content.decode("utf-8", "replace")
        for text in _texts(answer.json()):
            assert not _is_echo(text, given), f"too much of the input comes back: {text}"

    def accepted(self, content: bytes, status: int = 200) -> Any:
        """The body of the answer to a request that looks bad and is not. What it executes is noted."""
        answer = ask(self.port, content)
        assert answer is not None
        assert answer.status == status, answer.body
        body = answer.json()
        if "execution_id" in body and content.startswith(b"POST"):
            self.executed.append(body["execution_id"])
        return body

    def check_what_is_left(self) -> None:
        assert self.service.process is not None
        assert self.service.process.poll() is None, self.service.log()
        health = self.service.client.get("/health").json()
        assert (health["status"], health["accepts_work"], health["open_executions"]) == ("ok", True, 0)
        listed = self.service.client.get("/v1/executions?limit=1000").json()["executions"]
        assert sorted(each["execution_id"] for each in listed) == sorted(self.executed)
        bodies = self._journal.read_text().splitlines() if self._journal.exists() else []
        assert {line.split()[1] for line in bodies} <= set(self.executed)
        assert self.service.violations() == []
        assert statistics.median(self._seconds) <= MOST_SECONDS_USUALLY
        assert self._process.memory_info().rss - self._memory <= MOST_GROWTH
        check_log(self.service.log())


def check_log(text: str) -> None:
    """Every line is one JSON object without control characters, and none tells of a fault of the service."""
    for line in text.split("\n")[:-1]:
        assert all(character >= " " for character in line), line[:200]
        assert json.loads(line)["level"] not in ("error", "critical"), line


def codes_of(problem: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Place and code of each of the errors."""
    return [
        (error.get("pointer") or error.get("parameter") or error["header"], error["code"])
        for error in problem.get("errors", ())
    ]


def kind_of(problem: Mapping[str, Any]) -> tuple[int, str]:
    """The status and the last word of the type."""
    return problem["status"], problem["type"].removeprefix("/problems/")


def as_body(document: object) -> bytes:
    return orjson.dumps(document)


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)


def _is_echo(text: str, given: str) -> bool:
    """Whether more than `MOST_ECHOED` characters in a row stand in both."""
    length = MOST_ECHOED + 1
    windows = (text[start : start + length] for start in range(len(text) - length + 1))
    return any(window in given for window in windows)

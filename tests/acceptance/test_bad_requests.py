"""Addresses, methods, headers and framing that a running service must refuse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.bad_input import FLOW_PATHS, Refusing, as_body, codes_of, kind_of, refusing_service
from tests.support.documents import document, task
from tests.support.raw_http import ask, head, post, request

EXECUTION_PATHS = ("/flow/status/{}", "/v1/executions/{}", "/v1/executions/{}/history")
UNKNOWN = "0198c0de-0000-7000-8000-00000000ffff"
FLOW = as_body(document(task("nothing")))
JSON = {"Content-Type": "application/json"}

both_paths = pytest.mark.parametrize("path", FLOW_PATHS)


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Refusing]:
    with refusing_service(tmp_path_factory.mktemp("bad-requests")) as refusing:
        yield refusing


# -- hosts and origins


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:5000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "localhost,evil.example",
        "evil@localhost",
        "localhost/..",
        "localhost:99999999",
        "localhost:-1",
        "0.0.0.0",
        "2130706433",
        "[::2]",
        "[::1",
        "::1",
        "",
        "a" * 10_000,
    ],
    ids=lambda host: host[:30],
)
def test_c04_a_host_that_is_not_ours_is_refused(refusing: Refusing, host: str) -> None:
    reading = refusing.refused(head("GET", "/health", host=host))
    writing = refusing.refused(head("POST", "/flow/execute", "Content-Length: 0", host=host))

    assert kind_of(reading) == kind_of(writing) == (400, "bad-host")


@pytest.mark.parametrize(
    ("case", "content"),
    [
        ("no host", b"GET /health HTTP/1.1\r\n\r\n"),
        ("no host, HTTP/1.0", b"GET /health HTTP/1.0\r\n\r\n"),
        ("two hosts", head("GET", "/health", "Host: evil.example")),
        ("the same host twice", head("GET", "/health", "Host: localhost")),
        (
            "an address that names us, a host that does not",
            head("GET", "http://localhost/health", host="evil.example"),
        ),
    ],
)
def test_c04_a_request_has_one_host(refusing: Refusing, case: str, content: bytes) -> None:
    assert kind_of(refusing.refused(content)) == (400, "bad-host")


def test_c04_of_an_address_that_is_a_whole_url_only_the_host_header_counts(refusing: Refusing) -> None:
    assert refusing.accepted(head("GET", "http://evil.example/health"))["status"] == "ok"


@both_paths
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://localhost:1"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://" + "a" * 10_000},
        {"Origin": "https://evil.example", "Content-Type": "application/x-www-form-urlencoded"},
        {"Origin": "https://evil.example", "Content-Type": "text/plain"},
    ],
    ids=lambda headers: " ".join(headers.values())[:60],
)
def test_c05_a_page_of_another_origin_changes_nothing(
    refusing: Refusing, path: str, headers: dict[str, str]
) -> None:
    problem = refusing.refused(post(path, FLOW, headers))

    assert kind_of(problem) == (403, "cross-origin")


@both_paths
@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"]
)
def test_c05_what_a_form_can_send_is_not_taken(refusing: Refusing, path: str, content_type: str) -> None:
    problem = refusing.refused(request("POST", path, {"Content-Type": content_type}, FLOW))

    assert kind_of(problem) == (415, "unsupported-media-type")


# -- addresses and methods


@pytest.mark.parametrize(
    "path",
    [
        "/api/executions/x/health",
        "/api/flows/configs",
        "/v1//executions",
        "//evil.example/v1/executions",
        "/health/",
        "/health.",
        "/health;a=b",
        "/Health",
        "/V1/executions",
        "/flow/../health",
        "/flow/%2e%2e/health",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/flow/execute/",
        "/flow\\execute",
        "/flow/status",
        "/flow/status/",
        "/static/app.py",
        "/.git/config",
        "/v1/executions/",
        "/v1/executions/%0d%0aSet-Cookie:%20a=b",
        "/%3Cscript%3Ealert(1)%3C/script%3E",
        "/%ff%fe",
        "/%",
        "/{{7*7}}",
        "/${jndi:ldap://evil.example}",
        "*",
        "/" + "a/" * 5000,
    ],
    ids=lambda path: path[:40],
)
def test_c06_an_address_that_only_looks_like_one_of_ours_is_nowhere(refusing: Refusing, path: str) -> None:
    problem = refusing.refused(request("GET", path))

    assert kind_of(problem) == (404, "not-found")
    assert len(as_body(problem)) < 400


def test_c06_an_address_that_is_written_otherwise_is_the_real_one(refusing: Refusing) -> None:
    for path in ("//health", "/%68ealth"):
        assert refusing.accepted(request("GET", path))["status"] == "ok"
    for path in ("/flow%2fexecute", "//flow/execute"):
        assert kind_of(refusing.refused(request("GET", path))) == (405, "method-not-allowed")


def test_c06_headers_name_neither_another_method_nor_another_address(refusing: Refusing) -> None:
    headers = {
        "X-HTTP-Method-Override": "POST",
        "X-Original-URL": "/v1/doctor",
        "X-Rewrite-URL": "/v1/doctor",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Prefix": "/evil",
        "Forwarded": "host=evil.example",
    }

    assert list(refusing.accepted(request("GET", "/v1/tasks", headers))) == ["tasks"]
    assert kind_of(refusing.refused(request("GET", "/flow/execute", headers)))[0] == 405


READ, SENT = {"GET", "HEAD", "OPTIONS"}, {"POST", "OPTIONS"}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        (method, path, allowed)
        for path, allowed in [
            ("/flow/execute", SENT),
            ("/flow/validate", SENT),
            (f"/flow/status/{UNKNOWN}", READ),
            (f"/v1/executions/{UNKNOWN}/history", READ),
            ("/v1/executions", READ),
            ("/health", READ),
        ]
        for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "NONSENSE")
        if method not in allowed
    ],
)
def test_c07_another_method_is_told_those_allowed(
    refusing: Refusing, method: str, path: str, allowed: set[str]
) -> None:
    content = request(method, path)

    answer = ask(refusing.port, content)

    assert answer is not None
    assert answer.status == 405
    assert set(answer.headers["allow"].split(", ")) == allowed
    if method != "HEAD":  # an answer to HEAD has no body
        assert kind_of(refusing.problem(answer, content)) == (405, "method-not-allowed")


@pytest.mark.parametrize("path", ["/health", "/v1/executions", "/flow/execute", "/nowhere"])
@pytest.mark.parametrize(
    ("line", "body"),
    [
        ("Content-Length: 2", b"{}"),
        ("Content-Length: 10737418240", b"{}"),
        ("Transfer-Encoding: chunked", b"2\r\n{}\r\n0\r\n\r\n"),
    ],
)
def test_c07_a_request_that_reads_has_no_body(refusing: Refusing, path: str, line: str, body: bytes) -> None:
    problem = refusing.refused_and_closed(head("GET", path, line) + body)

    is_sent_to = path == "/flow/execute"
    assert kind_of(problem) == ((405, "method-not-allowed") if is_sent_to else (400, "bad-request"))


NO_IDS = [
    "..",
    "%00",
    "%2e%2e%2fhealth",
    "a" * 10_000,
    "1'%20OR%20'1'='1",
    "x';DROP%20TABLE%20executions;--",
    "01ARZ3NDEKTSV4RRFFQ69G5FAU",
    "{0198c0de-0000-7000-8000-00000000ffff}",
    "urn:uuid:0198c0de-0000-7000-8000-00000000ffff",
    "0198c0de00007000800000000000ffff",
    "0198c0de-0000-7000-8000-00000000fffg",
    "0198c0de-0000-7000-8000-00000000fff%D9%A3",
    "0198c0de-0000-7000-8000-00000000ffff%0A",
    "-1",
    "null",
    "%25s%25n",
    "%3Cscript%3E",
]


@pytest.mark.parametrize("name", [UNKNOWN, *NO_IDS], ids=lambda name: name[:40])
@pytest.mark.parametrize("path", EXECUTION_PATHS)
def test_c08_what_names_no_execution_is_not_found(refusing: Refusing, path: str, name: str) -> None:
    problem = refusing.refused(request("GET", path.format(name)))

    assert kind_of(problem) == (404, "not-found")
    assert len(as_body(problem)) < 400


@pytest.mark.parametrize(
    ("query", "parameter", "code"),
    [
        ("limit=0", "limit", "out-of-range"),
        ("limit=-1", "limit", "out-of-range"),
        ("limit=1000000000", "limit", "out-of-range"),
        ("limit=1001", "limit", "out-of-range"),
        ("limit=1e3", "limit", "out-of-range"),
        ("limit=0x10", "limit", "out-of-range"),
        ("limit=%D9%A3", "limit", "out-of-range"),
        ("limit=1%00", "limit", "out-of-range"),
        ("limit=" + "9" * 10_000, "limit", "out-of-range"),
        ("limit=", "limit", "out-of-range"),
        ("limit", "limit", "out-of-range"),
        ("limit=1&limit=1", "limit", "repeated"),
        ("limit=1&status=failed&limit=2", "limit", "repeated"),
        ("status=failed'%20OR%201=1--", "status", "unknown-status"),
        ("status=%25", "status", "unknown-status"),
        ("status=Failed", "status", "unknown-status"),
        ("status=" + "x" * 10_000, "status", "unknown-status"),
        ("status=", "status", "unknown-status"),
        ("sort=password", "sort", "unknown-parameter"),
        ("limt=3", "limt", "unknown-parameter"),
        ("limit%5B%5D=3", "limit[]", "unknown-parameter"),
        ("LIMIT=3", "LIMIT", "unknown-parameter"),
        ("flow_id=a'%20OR%201=1--", "flow_id", "bad-name"),
        ("flow_id=%25", "flow_id", "bad-name"),
        ("flow_id=a&version=%D9%A3", "version", "out-of-range"),
        ("label=team", "label", "bad-label"),
        ("label=te'am:a", "label", "bad-label"),
        ("since=yesterday", "since", "bad-time"),
        ("until=2026-01-01T00:00:00", "until", "bad-time"),
        ("error=%25", "error", "bad-name"),
        ("reason=hope", "reason", "unknown-reason"),
        ("q=", "q", "bad-text"),
        ("q=a%00b", "q", "bad-text"),
        ("q=" + "x" * 10_000, "q", "bad-text"),
        ("access_token=x", "access_token", "unknown-parameter"),
        ("x" * 10_000 + "=1", "x" * 64, "unknown-parameter"),
        ("%3Cscript%3E=1", "<script>", "unknown-parameter"),
    ],
    ids=lambda text: text[:30],
)
def test_c09_a_wrong_query_parameter_is_named(
    refusing: Refusing, query: str, parameter: str, code: str
) -> None:
    problem = refusing.refused(request("GET", f"/v1/executions?{query}"))

    assert kind_of(problem) == (422, "invalid-request")
    assert codes_of(problem) == [(parameter, code)]


@pytest.mark.parametrize(
    "cursor",
    ["forged", "", "%00", "0" * 32 + "." + "0" * 32, "x" * 10_000, "%27%20OR%201=1--", "%D9%A3" * 65],
    ids=lambda cursor: cursor[:30],
)
def test_c10_a_forged_cursor_is_refused(refusing: Refusing, cursor: str) -> None:
    problem = refusing.refused(request("GET", f"/v1/executions?cursor={cursor}"))

    assert kind_of(problem) == (400, "invalid-cursor")


def test_c09_at_most_a_hundred_unknown_parameters_are_told(refusing: Refusing) -> None:
    query = "&".join(f"p{number}=1" for number in range(2000))

    problem = refusing.refused(request("GET", f"/v1/executions?{query}"))

    assert len(problem["errors"]) == 100
    assert problem["errors_truncated"] is True


@pytest.mark.parametrize(
    "content",
    [
        *(request("GET", f"{path}?token=x") for path in ("/v1/tasks", "/v1/doctor", "/v1/schema/flow")),
        *(request("GET", f"{path.format(UNKNOWN)}?token=x") for path in EXECUTION_PATHS),
        *(post(f"{path}?token=x", FLOW) for path in FLOW_PATHS),
    ],
    ids=lambda content: content.split()[1].decode(),
)
def test_c09_where_there_are_no_parameters_all_are_unknown(refusing: Refusing, content: bytes) -> None:
    problem = refusing.refused(content)

    assert kind_of(problem) == (422, "invalid-request")
    assert codes_of(problem) == [("token", "unknown-parameter")]


# -- what is sent to executions

UNDO = {"name": "undo", "type": "hold"}
FORM = {
    "type": "object",
    "properties": {
        "copies": {"type": "integer", "minimum": 1},
        "a/b": {"type": "array", "items": {"enum": ["x", "y"]}},
    },
    "required": ["copies"],
    "additionalProperties": False,
}
GO = {"name": "go"}
SENT_TO: dict[str, dict[str, object]] = {
    "/v1/executions/{}:cancel": {},
    "/v1/executions/{}:signal": {"name": "go"},
    "/v1/approvals/{}": {"approved": True},
}
"""Where something can be sent, and what."""


def started(refusing: Refusing, flow: Mapping[str, Any]) -> str:
    """The id of an execution that waits for something by now."""
    execution_id: str = refusing.service.execute(flow, "respond-async").json()["execution_id"]
    refusing.executed.append(execution_id)
    refusing.service.await_status(execution_id, "waiting")
    return execution_id


def ended(refusing: Refusing, execution_id: str) -> dict[str, Any]:
    """How it stands after it was cancelled, if it had not ended before."""
    refusing.service.client.post(f"/v1/executions/{execution_id}:cancel", json={})
    return refusing.service.await_status(execution_id, "completed", "failed", "cancelled")


def sent(action: str, execution_id: str, body: object) -> bytes:
    return post(f"/v1/executions/{execution_id}:{action}", as_body(body))


@pytest.fixture
def waiting(refusing: Refusing) -> Iterator[str]:
    """An execution that will take a signal up in an hour."""
    execution_id = started(refusing, document(task("wait", {"for": "1h"}), task("signal", GO)))
    yield execution_id
    assert ended(refusing, execution_id)["status"] == "cancelled"


@pytest.fixture
def asking(refusing: Refusing) -> Iterator[str]:
    """The path of a question that two people may answer; the execution goes on behind it."""
    question = {"question": "How many?", "form": FORM, "answer_by": ["ada", "bob"]}
    execution_id = started(refusing, document(task("approval", question), task("wait", {"for": "1h"})))
    shown = refusing.accepted(request("GET", f"/v1/executions/{execution_id}"))
    yield shown["questions"][0]["url"]
    ended(refusing, execution_id)


@pytest.mark.parametrize("name", [UNKNOWN, *NO_IDS], ids=lambda name: name[:40])
@pytest.mark.parametrize(("path", "body"), SENT_TO.items())
def test_c15_what_is_sent_to_nobody_is_not_found(
    refusing: Refusing, path: str, body: object, name: str
) -> None:
    problem = refusing.refused(post(path.format(name), as_body(body)))

    assert kind_of(problem) == (404, "not-found")


@pytest.mark.parametrize(
    "name", ["x", UNKNOWN, "a.b.c.d", f"{UNKNOWN}.1.1.{'0' * 32}", f"{UNKNOWN}.1.1.%D9%A3"]
)
def test_c15_a_link_that_nobody_gave_out_leads_nowhere(refusing: Refusing, name: str) -> None:
    for content in (
        request("GET", f"/v1/approvals/{name}"),
        post(f"/v1/approvals/{name}", as_body({"approved": True})),
    ):
        assert kind_of(refusing.refused(content)) == (404, "not-found")


def test_c15_a_link_of_which_anything_is_changed_leads_nowhere(refusing: Refusing, asking: str) -> None:
    for place in range(len("/v1/approvals/"), len(asking)):
        other = "1" if asking[place] == "0" else "0"
        forged = asking[:place] + other + asking[place + 1 :]

        assert kind_of(refusing.refused(post(forged, as_body({"approved": True})))) == (404, "not-found")


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_c05_a_page_of_another_origin_sends_nothing(
    refusing: Refusing, waiting: str, asking: str, headers: dict[str, str]
) -> None:
    for path, body in [
        (f"/v1/executions/{waiting}:cancel", {}),
        (f"/v1/executions/{waiting}:signal", GO),
        (asking, {"approved": True, "answer": {"copies": 1}, "by": "ada"}),
    ]:
        assert kind_of(refusing.refused(post(path, as_body(body), headers))) == (403, "cross-origin")
    assert refusing.service.status(waiting)["status"] == "waiting"


@pytest.mark.parametrize("path", SENT_TO)
def test_c09_nothing_is_sent_with_a_query(refusing: Refusing, path: str) -> None:
    problem = refusing.refused(post(path.format(UNKNOWN) + "?force=1", b"{}"))

    assert codes_of(problem) == [("force", "unknown-parameter")]


@pytest.mark.parametrize(
    ("action", "body", "errors"),
    [
        ("signal", [], [("#", "wrong-type")]),
        ("signal", None, [("#", "wrong-type")]),
        ("signal", {}, [("#/name", "required")]),
        ("signal", {"name": 1}, [("#/name", "wrong-type")]),
        ("signal", {"name": None}, [("#/name", "wrong-type")]),
        ("signal", {"name": "a b"}, [("#/name", "bad-name")]),
        ("signal", {"name": ""}, [("#/name", "bad-name")]),
        ("signal", {"name": "x" * 129}, [("#/name", "bad-name")]),
        ("signal", {"name": "x" * 100_000}, [("#/name", "bad-name")]),
        ("signal", {**GO, "by": 1}, [("#/by", "wrong-type")]),
        ("signal", {**GO, "by": "a\r\nb"}, [("#/by", "bad-text")]),
        ("signal", {**GO, "by": "\x1b[31m"}, [("#/by", "bad-text")]),
        ("signal", {**GO, "paylod": 1}, [("#/paylod", "unknown-field")]),
        ("signal", {**GO, "__class__": 1}, [("#/__class__", "unknown-field")]),
        ("signal", {**GO, "<script>": 1}, [("#/%3Cscript%3E", "unknown-field")]),
        ("signal", {**GO, "payload": "x" * 262_143}, [("#/payload", "too-large")]),
        ("signal", {"nam": "go"}, [("#/nam", "unknown-field"), ("#/name", "required")]),
        ("cancel", [], [("#", "wrong-type")]),
        ("cancel", {"reason": 1}, [("#/reason", "wrong-type")]),
        ("cancel", {"reason": "a\nb"}, [("#/reason", "bad-text")]),
        ("cancel", {"reason": "a" * 257}, [("#/reason", "too-long")]),
        ("cancel", {"reasons": "a"}, [("#/reasons", "unknown-field")]),
        ("cancel", {"by": ["ada"]}, [("#/by", "wrong-type")]),
    ],
    ids=lambda value: str(value)[:50],
)
def test_c15_what_is_sent_in_another_shape_is_refused(
    refusing: Refusing, waiting: str, action: str, body: object, errors: list[tuple[str, str]]
) -> None:
    problem = refusing.refused(sent(action, waiting, body))

    assert kind_of(problem) == (422, "invalid-request")
    assert codes_of(problem) == errors
    assert refusing.service.status(waiting)["status"] == "waiting"


@pytest.mark.parametrize("name", ["gone", "Go", "go.", "task2", "x" * 128])
def test_c15_a_signal_that_nothing_waits_for_is_refused(refusing: Refusing, waiting: str, name: str) -> None:
    problem = refusing.refused(sent("signal", waiting, {"name": name}))

    assert kind_of(problem) == (422, "unknown-signal")


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_c15_an_execution_that_has_ended_takes_nothing(refusing: Refusing, status: str) -> None:
    last = {"completed": task("signal", GO), "failed": task("flop"), "cancelled": task("wait", {"for": "1h"})}
    flow = document(task("signal", GO, run_when="false"), last[status])
    execution_id = refusing.service.execute(flow, "respond-async").json()["execution_id"]
    refusing.executed.append(execution_id)
    if status == "completed":
        refusing.service.await_status(execution_id, "waiting")
        refusing.service.client.post(f"/v1/executions/{execution_id}:signal", json=GO)
    if status == "cancelled":
        ended(refusing, execution_id)
    before = refusing.service.await_status(execution_id, status)

    for content in (sent("signal", execution_id, GO), sent("cancel", execution_id, {})):
        for _ in range(2):
            assert kind_of(refusing.refused(content)) == (409, "already-terminal")
    assert refusing.service.status(execution_id) == before


def test_c16_a_cancellation_can_be_sent_again_until_the_end(refusing: Refusing, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    flow = document(task("transform", compensate_with="undo"), task("signal", GO))
    flow["flow"]["tasks"].append({**UNDO, "input": {"path": str(gate)}})
    execution_id = started(refusing, flow)
    client = refusing.service.client

    answers = [client.post(f"/v1/executions/{execution_id}:cancel", json={"reason": "no"}) for _ in range(2)]
    refusing.service.await_status(execution_id, "compensating")
    answers += [
        client.post(f"/v1/executions/{execution_id}:cancel", json={"reason": "again"}),
        client.post(f"/v1/executions/{execution_id}:signal", json=GO),
    ]
    gate.touch()
    body = refusing.service.await_status(execution_id, "cancelled")

    assert [answer.status_code for answer in answers] == [202] * 4
    assert answers[0].json() == answers[1].json() == answers[2].json()
    assert (body["error"]["code"], body["error"]["message"]) == ("execution.cancelled", "no")
    assert [entry["task_name"] for entry in body["execution_history"]] == ["task1", "task2", "undo"]
    assert kind_of(refusing.refused(sent("cancel", execution_id, {}))) == (409, "already-terminal")


def test_c15_the_2001st_signal_that_nobody_has_taken_up_is_refused(refusing: Refusing, waiting: str) -> None:
    def signal(number: int) -> int:
        answer = refusing.service.client.post(
            f"/v1/executions/{waiting}:signal", json={**GO, "payload": number}
        )
        return answer.status_code

    with ThreadPoolExecutor(8) as senders:
        statuses = [*senders.map(signal, range(2_000))]
    content = sent("signal", waiting, GO)
    answer = ask(refusing.port, content)

    assert set(statuses) == {202}
    assert kind_of(refusing.problem(answer, content)) == (429, "too-many-signals")
    assert answer is not None
    assert int(answer.headers["retry-after"]) > 0
    assert refusing.service.status(waiting)["status"] == "waiting"


# -- answers


def answer_of(**members: object) -> dict[str, object]:
    return {"approved": True, "answer": {"copies": 2}, "by": "ada", **members}


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ([], [("#", "wrong-type")]),
        ({}, [("#/approved", "required")]),
        (answer_of(approved=1), [("#/approved", "wrong-type")]),
        (answer_of(approved="yes"), [("#/approved", "wrong-type")]),
        (answer_of(approved=None), [("#/approved", "wrong-type")]),
        (answer_of(answer=[]), [("#/answer", "wrong-type")]),
        (answer_of(answer=None), [("#/answer", "wrong-type")]),
        (answer_of(by=1), [("#/by", "wrong-type")]),
        (answer_of(by="a\nb"), [("#/by", "bad-text")]),
        (answer_of(anser={}), [("#/anser", "unknown-field")]),
        (answer_of(answer={}), [("#/answer", "schema")]),
        (answer_of(answer={"copies": 0}), [("#/answer/copies", "schema")]),
        (answer_of(answer={"copies": "2"}), [("#/answer/copies", "schema")]),
        (answer_of(answer={"copies": 1, "a/b": ["x", "z"]}), [("#/answer/a~1b/1", "schema")]),
        (answer_of(answer={"copies": 1, "m~ <n>": 1}), [("#/answer/m~0%20%3Cn%3E", "schema")]),
        (answer_of(answer={"copies": 1, "long": "x" * 262_143}), [("#/answer", "too-large")]),
    ],
    ids=lambda value: str(value)[:60],
)
def test_c15_an_answer_that_does_not_fit_is_refused(
    refusing: Refusing, asking: str, body: object, errors: list[tuple[str, str]]
) -> None:
    problem = refusing.refused(post(asking, as_body(body)))

    assert kind_of(problem) == (422, "invalid-request")
    assert codes_of(problem) == errors


@pytest.mark.parametrize("by", ["", "eve", "Ada", "ada ", "ada,bob", "x" * 255])
@pytest.mark.parametrize("is_yes", [True, False])
def test_c15_somebody_who_was_not_asked_has_no_say(
    refusing: Refusing, asking: str, by: str, is_yes: bool
) -> None:
    problem = refusing.refused(post(asking, as_body(answer_of(by=by, approved=is_yes))))

    assert kind_of(problem) == (403, "not-asked")


def test_c15_a_question_is_answered_once(refusing: Refusing, asking: str) -> None:
    execution_id = refusing.executed[-1]

    first = refusing.service.client.post(asking, json=answer_of())
    refused = [refusing.refused(post(asking, as_body(answer_of(by="bob", approved=False))))]
    refusing.service.await_status(execution_id, "waiting")
    refused += [
        refusing.refused(post(asking, as_body(answer_of()))),
        refusing.refused(request("GET", asking)),
    ]
    body = ended(refusing, execution_id)
    refused.append(refusing.refused(post(asking, as_body(answer_of()))))

    assert first.status_code == 202
    assert {kind_of(problem) for problem in refused} == {(409, "already-answered")}
    assert body["execution_history"][0]["data"] == answer_of()


# -- inputs that do not fit their schema


@pytest.mark.parametrize(
    ("given", "errors"),
    [
        ({}, [("#/input", "schema")]),
        ({"copies": 0}, [("#/input/copies", "schema")]),
        ({"copies": "2"}, [("#/input/copies", "schema")]),
        ({"copies": 1, "a/b": {}}, [("#/input/a~1b", "schema")]),
        (
            {"copies": 1, "a/b": ["x", "z", "y", 1]},
            [("#/input/a~1b/1", "schema"), ("#/input/a~1b/3", "schema")],
        ),
        ({"copies": 1, "m~ <n>": 1}, [("#/input/m~0%20%3Cn%3E", "schema")]),
        ({"copies": 1, "x" * 100: 1}, [("#/input/" + "x" * 61 + "...", "schema")]),
        ({"copies": None, "copy": 1}, [("#/input/copies", "schema"), ("#/input/copy", "schema")]),
        ([], [("#/input", "wrong-type")]),
        (None, [("#/input", "wrong-type")]),
        ("copies", [("#/input", "wrong-type")]),
    ],
    ids=lambda value: str(value)[:50],
)
def test_an_input_that_does_not_fit_its_schema_is_refused(
    refusing: Refusing, given: object, errors: list[tuple[str, str]]
) -> None:
    flow = document(task("nothing"), input_schema=FORM)

    problem = refusing.refused(post("/flow/execute", as_body({**flow, "input": given})))

    assert kind_of(problem) == (422, "invalid-request")
    assert codes_of(problem) == errors


def test_an_input_that_is_missing_does_not_fit_its_schema(refusing: Refusing) -> None:
    flow = document(task("nothing"), input_schema=FORM)

    for body in (flow, flow["flow"]):
        problem = refusing.refused(post("/flow/execute", as_body(body)))

        assert codes_of(problem) == [("#/input", "schema")]


MANY_MISFITS = {**document(task("nothing"), input_schema=FORM), "input": {"copies": 1, "a/b": ["z"] * 20_000}}


def test_at_most_a_hundred_misfits_of_an_input_are_told(refusing: Refusing) -> None:
    problem = refusing.refused(post("/flow/execute", as_body(MANY_MISFITS)))

    assert len(problem["errors"]) == 100
    assert {code for _, code in codes_of(problem)} == {"schema"}


def test_that_there_are_more_misfits_is_told(refusing: Refusing) -> None:
    problem = refusing.refused(post("/flow/execute", as_body(MANY_MISFITS)))

    assert problem["errors_truncated"] is True


# -- what comes back


@pytest.mark.parametrize(
    "accept",
    [
        "application/xml",
        "text/html",
        "text/html, application/xml",
        "application/json;q=0",
        "image/*",
        "text/plain, */*;q=0",
        "a" * 10_000,
    ],
    ids=lambda accept: accept[:30],
)
@pytest.mark.parametrize(
    "content",
    [("GET", "/health"), ("GET", "/nowhere"), ("POST", "/flow/execute"), ("POST", "/flow/validate")],
    ids=" ".join,
)
def test_c19_who_does_not_accept_json_is_told_so_in_json(
    refusing: Refusing, content: tuple[str, str], accept: str
) -> None:
    method, path = content
    body = FLOW if method == "POST" else b""

    problem = refusing.refused(request(method, path, {**JSON, "Accept": accept}, body))

    assert kind_of(problem) == (406, "not-acceptable")


def test_c19_browsers_get_problems_as_json_too(refusing: Refusing) -> None:
    headers = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}

    assert kind_of(refusing.refused(request("GET", "/nowhere", headers))) == (404, "not-found")


@pytest.mark.parametrize(
    "given",
    ["", "a" * 65, "a b", "a/b", "<script>", "\xe9", "=cmd()", "../..", "a\tb"],
    ids=ascii,
)
def test_c20_an_odd_request_id_does_not_come_back(refusing: Refusing, given: str) -> None:
    problem = refusing.refused(request("GET", "/nowhere", {"X-Request-Id": given}))

    assert not given or given not in problem["instance"].removeprefix("/requests/")


@both_paths
@pytest.mark.parametrize(
    "poison",
    [
        "a\r\nSet-Cookie: a=b",
        "\x1b[31m\x07",
        "<script>alert(1)</script>",
        "=cmd()",
        "x" * 900_000,
        "\u202e\u2028",
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_c20_what_comes_back_of_a_bad_name_is_short_and_escaped(
    refusing: Refusing, path: str, poison: str
) -> None:
    problem = refusing.refused(post(path, as_body({**document(task("nothing")), poison: 1})))

    assert kind_of(problem) == (422, "invalid-request")
    assert len(as_body(problem)) < 1000
    assert problem["errors"][0]["pointer"].isprintable()
    assert problem["errors"][0]["detail"].isprintable()

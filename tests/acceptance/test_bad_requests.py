"""Addresses, methods, headers and framing that a running service must refuse."""

from __future__ import annotations

from collections.abc import Iterator

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

    assert kind_of(problem) == (400, "bad-request")


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
        ("cursor=forged", "cursor", "unknown-parameter"),
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

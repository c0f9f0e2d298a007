from __future__ import annotations

import io
import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from flow_manager.api.app import create_app
from flow_manager.settings import Settings
from tests.support.fake_backend import EXECUTION, FakeBackend
from tests.unit.api.conftest import client_of, codes_of, kind_of, problem_of

STATUS = f"/flow/status/{EXECUTION}"
JSON = {"Content-Type": "application/json"}


UNREADABLE = [
    ("A01 nothing", b"", "#", "empty-body"),
    ("A01 only spaces", b" \n", "#", "empty-body"),
    ("A02 cut off", b'{"a":1', "#", "syntax"),
    ("A02 single quotes", b"{'a':1}", "#", "syntax"),
    ("A03 two values", b"{}{}", "#", "trailing-data"),
    ("A04 too deep", b"[" * 100_000, "#", "too-deep"),
    ("A06 not finite", b'{"a":NaN}', "#/a", "number-not-finite"),
    ("A07 too long", b'{"a":1' + b"0" * 5000 + b"}", "#/a", "number-too-long"),
    ("A09 a name twice", b'{"a":1,"a":2}', "#/a", "duplicate-key"),
    ("A10 Latin-1", b'{"a":"\xe9"}', "#", "not-utf8"),
    ("A10 UTF-16", '{"a":1}'.encode("utf-16"), "#", "not-utf8"),
    ("A11 byte order mark", b"\xef\xbb\xbf{}", "#", "bom"),
]
INVALID = [
    ("A08 beyond 64 bits", b'{"a":9223372036854775808}', "#/a", "integer-out-of-range"),
    ("A12 NUL", b'{"a":"\\u0000"}', "#/a", "nul-character"),
    ("A13 half a pair", b'{"a":"\\ud800"}', "#/a", "lone-surrogate"),
    ("A19 an array", b"[1]", "#", "wrong-type"),
    ("A19 a text", b'"flow"', "#", "wrong-type"),
    ("A19 a number", b"1", "#", "wrong-type"),
    ("A19 null", b"null", "#", "wrong-type"),
]


@pytest.mark.parametrize("row", UNREADABLE, ids=lambda row: row[0])
@pytest.mark.parametrize("path", ["/flow/execute", "/flow/validate"])
def test_bytes_that_are_no_acceptable_json_are_refused(
    client: FlaskClient, backend: FakeBackend, path: str, row: tuple[str, bytes, str, str]
) -> None:
    _, content, pointer, code = row

    response = client.post(path, data=content, headers=JSON)

    assert kind_of(response) == (400, "malformed-json")
    assert code in [found for place, found in codes_of(response) if place.startswith(pointer)]
    assert backend.checked == []


@pytest.mark.parametrize("row", INVALID, ids=lambda row: row[0])
@pytest.mark.parametrize("path", ["/flow/execute", "/flow/validate"])
def test_values_that_cannot_be_kept_are_refused_at_their_place(
    client: FlaskClient, backend: FakeBackend, path: str, row: tuple[str, bytes, str, str]
) -> None:
    _, content, pointer, code = row

    response = client.post(path, data=content, headers=JSON)

    assert kind_of(response) == (422, "invalid-request")
    assert codes_of(response) == [(pointer, code)]
    assert backend.checked == []


def test_a14_names_that_mean_something_to_programs_are_plain_data(
    client: FlaskClient, backend: FakeBackend
) -> None:
    given = {"__proto__": {"a": 1}, "constructor": 1, "__class__": "x"}

    response = client.post("/flow/execute", json={"flow": {}, "input": given})

    assert response.status_code == 200
    assert backend.starts[0].input == given


@pytest.mark.parametrize("path", ["/flow/execute", "/flow/validate"])
@pytest.mark.parametrize("size", [1025, 10 << 30])
def test_a15_a_body_beyond_the_limit_is_refused_before_it_is_read(
    backend: FakeBackend, path: str, size: int
) -> None:
    stream = io.BytesIO(b" " * 2048)
    client = client_of(backend, Settings(max_body=1024))

    response = client.post(
        path, input_stream=stream, headers=JSON, environ_overrides={"CONTENT_LENGTH": str(size)}
    )

    assert kind_of(response) == (413, "too-large")
    assert response.headers["Connection"] == "close"
    assert stream.tell() == 0


@pytest.mark.parametrize(
    ("size", "kind"), [(1024, "malformed-json"), (1025, "too-large"), (1 << 20, "too-large")]
)
def test_a15_no_more_than_the_limit_is_read_of_a_chunked_body(
    backend: FakeBackend, size: int, kind: str
) -> None:
    stream = io.BytesIO(b" " * size)
    client = client_of(backend, Settings(max_body=1024))

    response = client.post(
        "/flow/validate",
        input_stream=stream,
        headers={**JSON, "Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": ""},
    )

    assert kind_of(response)[1] == kind
    assert stream.tell() <= 1025


def test_a_body_that_ends_too_early_is_no_request(client: FlaskClient, backend: FakeBackend) -> None:
    response = client.post(
        "/flow/execute", data=b"{}", headers=JSON, environ_overrides={"CONTENT_LENGTH": "3"}
    )

    assert kind_of(response) == (400, "bad-request")
    assert backend.checked == []


def test_the_only_transfer_encoding_is_chunked(client: FlaskClient) -> None:
    headers = {**JSON, "Transfer-Encoding": "gzip, chunked"}

    response = client.post("/flow/execute", data=b"{}", headers=headers)

    assert codes_of(response) == [("Transfer-Encoding", "transfer-encoding")]


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "deflate", "identity, gzip"])
def test_a17_bodies_are_not_decompressed(client: FlaskClient, encoding: str) -> None:
    response = client.post("/flow/execute", data=b"{}", headers={**JSON, "Content-Encoding": encoding})

    assert kind_of(response) == (415, "unsupported-media-type")
    assert codes_of(response) == [("Content-Encoding", "content-encoding")]


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        None,
        "application/json; charset=latin1",
        "application/json; charset=utf-16",
        "multipart/form-data; boundary=a",
        "application/x-www-form-urlencoded",
        "application/yaml",
        "application/x-python-pickle",
        "application/jsonp",
        "text/json",
        "application/xml+jsonx",
        "json",
    ],
)
def test_a18_a_body_of_another_type_is_refused(client: FlaskClient, content_type: str | None) -> None:
    response = client.post("/flow/execute", data=b"{}", content_type=content_type)

    assert kind_of(response) == (415, "unsupported-media-type")
    assert problem_of(response)["accept"] == ["application/json"]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        'application/json; charset="UTF-8"',
        "application/json; version=1",
        "application/vnd.flow+json",
    ],
)
def test_json_may_be_called_by_any_of_its_names(client: FlaskClient, content_type: str) -> None:
    response = client.post("/flow/validate", data=b"{}", content_type=content_type)

    assert response.status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "",
        "localhost,evil.example",
        "localhost.evil.example",
        "evil.example:5000",
        "127.0.0.1.evil.example",
        "128.0.0.1",
        "[::2]",
        "localhost:5000@evil.example",
        "localhost:123456",
        "localhost:x",
        "local host",
        "[::1",
        "\xe9",
    ],
)
def test_c04_a_host_that_is_not_ours_is_refused(client: FlaskClient, host: str) -> None:
    response = client.get("/health", environ_overrides={"HTTP_HOST": host})

    assert kind_of(response) == (400, "bad-host")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8080", "127.0.0.1:5000", "127.8.9.10", "[::1]", "[::1]:5000", "::1"]
)
def test_c04_this_machine_is_known_by_all_its_names(client: FlaskClient, host: str) -> None:
    response = client.get("/health", environ_overrides={"HTTP_HOST": host})

    assert response.status_code == (400 if host == "::1" else 200)


@pytest.mark.parametrize(
    ("settings", "host", "status"),
    [
        (Settings(host="127.0.0.2"), "flows.example", 400),
        (Settings(host="localhost"), "localhost", 200),
        (Settings(host="localhost", allow_unauthenticated=True), "flows.example", 400),
        (Settings(host="10.0.0.1", allow_unauthenticated=True), "flows.example:80", 200),
        (Settings(host="0.0.0.0", allow_unauthenticated=True), "flows.example", 200),
        (Settings(host="0.0.0.0", allow_unauthenticated=True), "", 400),
        (Settings(host="0.0.0.0", allow_unauthenticated=True), "a,b", 400),
    ],
)
def test_beyond_this_machine_only_what_stands_in_front_knows_the_name(
    backend: FakeBackend, settings: Settings, host: str, status: int
) -> None:
    response = client_of(backend, settings).get("/health", environ_overrides={"HTTP_HOST": host})

    assert response.status_code == status


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9999"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example", "Content-Type": "application/x-www-form-urlencoded"},
    ],
)
def test_c05_a_page_of_another_origin_changes_nothing(
    client: FlaskClient, backend: FakeBackend, headers: dict[str, str]
) -> None:
    response = client.post("/flow/execute", data=b"{}", headers={**JSON, **headers})

    assert kind_of(response) == (403, "cross-origin")
    assert backend.checked == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://localhost"},
        {"Origin": "https://LOCALHOST"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {},
    ],
)
def test_c05_our_own_pages_and_programs_may(client: FlaskClient, headers: dict[str, str]) -> None:
    response = client.post("/flow/execute", data=b"{}", headers={**JSON, **headers})

    assert response.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/api/executions/x/health",
        "/health/",
        "/Health",
        "/health;a=b",
        "/health.",
        "/flow/%2e%2e/health",
        "/flow/execute/x",
        "/flow/status",
        "/flow/status/",
        "/v1//executions",
        "/v1/executions/",
        f"{STATUS}/",
        f"/v1/executions/{EXECUTION}/picture",
        "/static/app.py",
    ],
)
def test_c06_an_address_that_only_looks_like_ours_is_nowhere(client: FlaskClient, path: str) -> None:
    response = client.get(path)

    assert kind_of(response) == (404, "not-found")


def test_c06_headers_name_neither_another_method_nor_another_address(client: FlaskClient) -> None:
    headers = {
        "X-HTTP-Method-Override": "DELETE",
        "X-Original-URL": "/v1/doctor",
        "X-Rewrite-URL": "/v1/doctor",
    }

    response = client.get("/v1/tasks", headers=headers)

    assert list(response.get_json()) == ["tasks"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/flow/execute", {"POST", "OPTIONS"}),
        ("DELETE", STATUS, {"GET", "HEAD", "OPTIONS"}),
        ("TRACE", "/health", {"GET", "HEAD", "OPTIONS"}),
        ("TRACE", "/flow/execute", {"POST", "OPTIONS"}),
        ("PROPFIND", "/v1/executions", {"GET", "HEAD", "OPTIONS"}),
        ("NONSENSE", "/flow/validate", {"POST", "OPTIONS"}),
    ],
)
def test_c07_another_method_is_told_those_allowed(
    client: FlaskClient, method: str, path: str, allowed: set[str]
) -> None:
    response = client.open(path, method=method)

    assert kind_of(response) == (405, "method-not-allowed")
    assert set(response.headers["Allow"].split(", ")) == allowed


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_c07_a_request_that_reads_has_no_body(client: FlaskClient, method: str) -> None:
    with_length = client.open("/health", method=method, data=b"{}")
    chunked = client.open("/health", method=method, headers={"Transfer-Encoding": "chunked"})

    assert with_length.status_code == chunked.status_code == 400


NO_IDS = [
    "..",
    "%00",
    "a" * 10_000,
    "1' OR '1'='1",
    "01ARZ3NDEKTSV4RRFFQ69G5FAU",
    "{0198c0de-0000-7000-8000-000000000001}",
    "0198c0de00007000800000000000000a",
    "0198c0de-0000-7000-8000-00000000000g",
    "urn:uuid:0198c0de-0000-7000-8000-000000000001",
    "0198c0de-0000-7000-8000-00000000000٣",
    "0198c0de-0000-7000-8000-000000000001%0A",
]


@pytest.mark.parametrize("name", [*NO_IDS, "0198c0de-0000-7000-8000-00000000ffff"])
@pytest.mark.parametrize("path", ["/flow/status/{}", "/v1/executions/{}", "/v1/executions/{}/history"])
def test_c08_what_is_no_id_of_an_execution_is_not_found(client: FlaskClient, path: str, name: str) -> None:
    response = client.get(path.format(name))

    assert kind_of(response) == (404, "not-found")
    assert len(response.data) < 400


def test_an_id_may_be_written_in_capitals(client: FlaskClient) -> None:
    response = client.get(f"/flow/status/{EXECUTION.upper()}")

    assert response.get_json()["execution_id"] == EXECUTION


@pytest.mark.parametrize(
    ("query", "parameter", "code"),
    [
        ("limit=0", "limit", "out-of-range"),
        ("limit=-1", "limit", "out-of-range"),
        ("limit=1000000000", "limit", "out-of-range"),
        ("limit=1001", "limit", "out-of-range"),
        ("limit=1e3", "limit", "out-of-range"),
        ("limit=%D9%A3", "limit", "out-of-range"),
        ("limit=", "limit", "out-of-range"),
        ("limit=1&limit=2", "limit", "repeated"),
        ("sort=password", "sort", "unknown-parameter"),
        ("limt=3", "limt", "unknown-parameter"),
        ("status=done", "status", "unknown-status"),
        ("status=failed'%25", "status", "unknown-status"),
        ("status=", "status", "unknown-status"),
    ],
)
def test_c09_a_wrong_query_parameter_is_named(
    client: FlaskClient, backend: FakeBackend, query: str, parameter: str, code: str
) -> None:
    response = client.get(f"/v1/executions?{query}")

    assert kind_of(response) == (422, "invalid-request")
    assert codes_of(response) == [(parameter, code)]
    assert backend.listed == []


@pytest.mark.parametrize("path", [STATUS, f"/v1/executions/{EXECUTION}", "/v1/tasks", "/v1/doctor"])
def test_c09_where_there_are_no_parameters_all_are_unknown(client: FlaskClient, path: str) -> None:
    response = client.get(f"{path}?x=1")

    assert codes_of(response) == [("x", "unknown-parameter")]


@pytest.mark.parametrize(
    "accept",
    ["application/xml", "text/html", "text/html, application/xml", "application/json;q=0", "image/*"],
)
@pytest.mark.parametrize("path", ["/health", "/nowhere"])
def test_c19_who_does_not_accept_json_is_told_so_in_json(client: FlaskClient, path: str, accept: str) -> None:
    response = client.get(path, headers={"Accept": accept})

    assert kind_of(response) == (406, "not-acceptable")


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "application/*",
        "application/json",
        "application/problem+json",
        "text/html,application/xhtml+xml,*/*;q=0.8",
        "application/xml, application/json;q=0.1",
    ],
)
def test_c19_json_is_answered_where_it_is_accepted(client: FlaskClient, accept: str) -> None:
    response = client.get("/health", headers={"Accept": accept})

    assert response.status_code == 200


def test_c20_what_comes_back_in_a_problem_is_short_and_escaped(client: FlaskClient) -> None:
    poison = "\x1b[31m<script>\r\nSet-Cookie: a=b" + "x" * 5000

    response = client.post("/flow/execute", json={"flow": {}, poison: 1})

    assert kind_of(response) == (422, "invalid-request")
    assert len(response.data) < 1000
    assert b"\x1b" not in response.data
    assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize("given", ["abc-123_X.y", "a" * 64])
def test_a_request_may_bring_its_own_id(client: FlaskClient, given: str) -> None:
    response = client.get("/nowhere", headers={"X-Request-Id": given})

    assert response.headers["X-Request-Id"] == given
    assert problem_of(response)["instance"] == f"/requests/{given}"


@pytest.mark.parametrize("given", [None, "", "a" * 65, "a b", "a\tb", "é", "a/b", "<b>"])
@pytest.mark.parametrize("path", ["/health", "/nowhere", "/flow/execute"])
def test_every_answer_has_an_id_of_its_own_otherwise(
    client: FlaskClient, path: str, given: str | None
) -> None:
    headers: dict[str, Any] = {} if given is None else {"X-Request-Id": given}

    first, second = (client.get(path, headers=headers).headers["X-Request-Id"] for _ in range(2))

    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", first)
    assert first != second


def test_the_application_is_made_without_asking_the_backend(backend: FakeBackend) -> None:
    backend.error = RuntimeError("not yet")

    app = create_app(backend, Settings())

    assert app.url_map.is_endpoint_expecting("status", "text")

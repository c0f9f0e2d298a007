"""What the `http` task takes: the tables of URLs, methods, headers and literal credentials."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flow_manager.tasks.builtin.http_input import (
    METHODS,
    HttpDocument,
    HttpInput,
    check_header,
    check_literal_header,
    check_literal_url,
    check_method,
    check_url,
)
from flow_manager.tasks.builtin.templates import constant_errors, holds_expression
from flow_manager.tasks.builtin.url import LONGEST_URL, parse_url

URL = "https://api.example/v1"
CREDENTIALS = [
    "Bearer abcdef123456",
    "Basic dXNlcjpwYXNz",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_0123456789abcdefghij",
    "xoxb-1234567890-abc",
    "sk_live_0123456789abcdef",
    "-----BEGIN RSA PRIVATE KEY-----",
]


def problems(given: dict[str, Any], model: type[HttpInput] = HttpDocument) -> list[tuple[str, str]]:
    """Place and code of each error, but for those about what is unknown before the run."""
    try:
        model.model_validate({"url": URL, **given})
    except ValidationError as error:
        return [(".".join(map(str, each["loc"])), each["type"]) for each in constant_errors(error)]
    return []


# -- B18: URLs


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example",
        "/v1",
        "//api.example",
        "http:",
        "http:/api.example",
        "http://",
        "http:///v1",
        "https:api.example",
        "file:///etc/passwd",
        "gopher://api.example",
        "ftp://api.example",
        "javascript:alert(1)",
        "HTTPX://api.example",
        " http://api.example",
        "http://api.example ",
        "http://user@api.example",
        "http://user:password@api.example",
        "http://@api.example",
        "http://127.0.0.1#@example.com",
        "http://example.com#x",
        "http://127.0.0.1\\@example.com",
        "http://api.example\\v1",
        "http://api.example:0",
        "http://api.example:99999",
        "http://api.example:65536",
        "http://api.example:",
        "http://api.example:80:80",
        "http://api.example:-1",
        "http://api.example:8o",
        "http://:80",
        "http://api.example/\r\nHost: other",
        "http://api.example/\nx",
        "http://api.example/\tx",
        "http://api\t.example",
        "http://api.example/\0",
        "http://api.example/\x7f",
        "http://api.example/\u200b",
        "http://api.example/\u00a0",
        "http://api.example/a b",
        "http://[::1",
        "http://::1]",
        "http://[::1]x",
        "http://[::1]:0",
        "http://[]",
        "http://[api.example]",
        "http://[127.0.0.1]",
        "http://[::1%25eth0]",
        "http://[fe80::1%eth0]",
        "http://[v1.x]",
        "http://api[.example",
        "http://ex\u0430mple.com",
        "http://\u4f8b.example",
        "http://\uff11\uff12\uff17.0.0.1",
        "http://127\u30020.0.1",
        "http://api%2eexample",
        "http://api..example",
        "http://.example",
        "http://-api.example",
        "http://api-.example",
        "http://api.example..",
        "http://" + "a" * 64 + ".example",
        "http://" + ".".join(["a" * 63] * 4) + ".example",
        "http://256.0.0.1",
        "http://1.2.3.4.5",
        "http://0x",
        "http://api.1",
        "http://4294967296",
        "http://api!.example",
        "http://api.example/%",
        "http://api.example/%zz",
        "http://api.example/?a=%1",
        URL + "/" + "a" * LONGEST_URL,
        URL + "/" + "\u00fc" * (LONGEST_URL // 2),
    ],
)
def test_a_url_that_readers_would_disagree_about_is_refused(url: str) -> None:
    error = check_url(url)

    assert error is not None
    assert error.type == "bad-url"
    assert problems({"url": url}) == problems({"url": url}, HttpInput) == [("url", "bad-url")]


@pytest.mark.parametrize(
    ("url", "authority", "target"),
    [
        ("http://api.example", "api.example", "/"),
        ("HTTP://API.Example/V1", "api.example", "/V1"),
        ("https://api.example:443/v1", "api.example", "/v1"),
        ("http://api.example:443/v1", "api.example:443", "/v1"),
        ("https://api.example.:8443", "api.example:8443", "/"),
        ("http://my_service:8080/", "my_service:8080", "/"),
        ("http://xn--bcher-kva.example/", "xn--bcher-kva.example", "/"),
        ("http://[2001:DB8::0:1]:8080/", "[2001:db8::1]:8080", "/"),
        ("http://127.1/", "127.0.0.1", "/"),
        ("http://0x7f.0.0.1/", "127.0.0.1", "/"),
        ("http://2130706433/", "127.0.0.1", "/"),
        ("http://api.example?a=b", "api.example", "/?a=b"),
        ("http://api.example/a?b=c?d/e", "api.example", "/a?b=c?d/e"),
        ("http://api.example/../a/./b//c", "api.example", "/../a/./b//c"),
        ("http://api.example/a%20b?c=%C3%BC", "api.example", "/a%20b?c=%C3%BC"),
        ("http://api.example/\u00fc?\u00fc=<>", "api.example", "/%C3%BC?%C3%BC=%3C%3E"),
        ("http://api.example/?filter[a]=b@c", "api.example", "/?filter[a]=b@c"),
        ("http://api.example/@user:x", "api.example", "/@user:x"),
    ],
)
def test_a_url_is_read_into_its_parts(url: str, authority: str, target: str) -> None:
    parts = parse_url(url)

    assert (parts.authority, parts.target) == (authority, target)
    assert problems({"url": url}) == []


@given(st.text())
def test_any_text_is_either_read_or_refused_and_what_is_read_is_ascii_without_space(text: str) -> None:
    for url in (text, f"http://{text}", f"http://api.example/{text}", f"http://api.example?{text}"):
        with suppress(ValueError):
            parts = parse_url(url)
            line = parts.authority + parts.target
            assert line.isascii()
            assert line.isprintable()
            assert " " not in line
            assert parse_url(str(parts.without_query)).authority == parts.authority


def test_no_sentence_repeats_the_url() -> None:
    error = check_url("http://user:hunter2@api.example")

    assert error is not None
    assert "hunter2" not in error.message()


# -- B19: methods and headers


@pytest.mark.parametrize(
    "method", ["CONNECT", "TRACE", "GET\r\nX", "GET ", "get", "", "PROPFIND", "GET\0", "G\u0130T"]
)
def test_a_method_that_is_none_of_ours_is_refused(method: str) -> None:
    assert check_method(method) is not None
    assert problems({"method": method}) == [("method", "bad-method")]


@pytest.mark.parametrize("method", METHODS)
def test_a_method_that_is_ours_is_taken(method: str) -> None:
    assert check_method(method) is None
    assert problems({"method": method}) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Host", "other.example"),
        ("HOST", "other.example"),
        ("Content-Length", "5"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "trailers"),
        ("Trailer", "X"),
        ("Upgrade", "websocket"),
        ("Expect", "100-continue"),
        ("X-A", "a\r\nHost: other"),
        ("X-A", "a\nb"),
        ("X-A", "a\rb"),
        ("X-A", "a\0b"),
        ("X-A", "a\x7fb"),
        ("X-A", "\u00fc"),
        ("X-A", " a"),
        ("X-A", "a "),
        ("X-A", "a" * 8193),
        ("X-A\r\nHost", "a"),
        ("X A", "a"),
        ("X-A:", "a"),
        (":authority", "a"),
        ("", "a"),
        ("\u00fc", "a"),
    ],
)
def test_a_header_that_could_change_the_meaning_of_the_request_is_refused(name: str, value: str) -> None:
    error = check_header(name, value)

    assert error is not None
    assert error.type == "forbidden-header"
    assert problems({"headers": {"Accept": "*/*", name: value}}) == [(f"headers.{name}", "forbidden-header")]


@pytest.mark.parametrize(
    ("name", "value"),
    [("Accept", "*/*"), ("X-A", ""), ("x_a", "a\tb"), ("If-None-Match", '"abc"'), ("X-A", "a" * 8192)],
)
def test_an_ordinary_header_is_taken(name: str, value: str) -> None:
    assert check_header(name, value) is None
    assert problems({"headers": {name: value}}) == []


def test_a_header_stands_once_in_whatever_letters() -> None:
    assert problems({"headers": {"X-A": "1", "x-a": "2"}}) == [("headers.x-a", "forbidden-header")]


def test_all_bad_headers_are_told_at_once() -> None:
    found = problems({"headers": {"Host": "a", "X-A": "b", "X-B": "c\nd"}})

    assert found == [("headers.Host", "forbidden-header"), ("headers.X-B", "forbidden-header")]


# -- B20: literal credentials


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "AUTHORIZATION",
        "Proxy-Authorization",
        "Cookie",
        "X-Api-Key",
        "Api-Key",
        "X-Auth-Token",
    ],
)
def test_a_constant_in_a_header_made_for_credentials_is_one(name: str) -> None:
    assert check_literal_header(name, "abc") is not None
    assert problems({"headers": {name: "Bearer abc"}}) == [(f"headers.{name}", "inline-secret")]


@pytest.mark.parametrize("value", CREDENTIALS)
def test_a_credential_is_known_by_its_shape_wherever_it_stands(value: str) -> None:
    assert problems({"headers": {"X-Custom": value}}) == [("headers.X-Custom", "inline-secret")]
    assert problems({"query": {"x": value}}) == [("query.x", "inline-secret")]


@pytest.mark.parametrize("name", ["access_token", "api_key", "API_KEY", "apikey", "password", "token"])
def test_a_constant_in_a_parameter_made_for_credentials_is_one(name: str) -> None:
    assert problems({"query": {name: "abc"}}) == [(f"query.{name}", "inline-secret")]
    assert problems({"url": f"{URL}?page=2&{name}=abc"}) == [("url", "inline-secret")]


@pytest.mark.parametrize(
    "given",
    [
        {"headers": {"Authorization": "Bearer ${secrets.token}"}},
        {"headers": {"X-Api-Key": "${secrets.key}"}},
        {"headers": {"Accept": "application/json", "X-Request-Id": "0a1b2c3d4e5f60718293"}},
        {"headers": {"Authorization": ""}},
        {"query": {"token": "${secrets.token}", "page": 2, "password": None}},
        {"url": URL + "?token=${secrets.token}"},
        {"url": URL + "/tokens?order=sk_1"},
    ],
)
def test_a_reference_to_a_secret_and_what_is_none_are_fine(given: dict[str, Any]) -> None:
    assert problems(given) == []


def test_at_run_time_a_credential_is_no_fault() -> None:
    assert problems({"headers": {"Authorization": "Bearer abcdef123456"}}, HttpInput) == []
    assert check_literal_url(URL) is None


# -- what is not constant


@pytest.mark.parametrize(
    ("text", "is_held"),
    [("${input.a}", True), ("a ${b} c", True), ("a", False), ("$5", False), ("$${x}", False)],
)
def test_an_expression_is_known_in_a_text(text: str, is_held: bool) -> None:
    assert holds_expression(text) is is_held


@pytest.mark.parametrize(
    "given",
    [
        {"url": "${input.url}"},
        {"url": "https://${input.host}/v1"},
        {"method": "${input.method}"},
        {"headers": {"X-A": "${input.a}\n"}},
        {"query": "${input.query}"},
        {"expect_status": ["${input.status}"]},
        {"read_timeout": "${input.seconds}"},
        {"max_response": "${input.most}"},
    ],
)
def test_what_holds_an_expression_is_not_judged_before_the_run(given: dict[str, Any]) -> None:
    assert problems(given) == []


def test_beside_an_expression_the_constants_are_judged() -> None:
    found = problems({"url": "${input.url}", "headers": {"Host": "${input.host}"}, "method": "TRACE"})

    assert sorted(found) == [("headers.Host", "forbidden-header"), ("method", "bad-method")]


# -- the other fields


@pytest.mark.parametrize(
    ("given", "place", "code"),
    [
        ({"url": 5}, "url", "string_type"),
        ({"headers": {"X-A": 5}}, "headers.X-A", "string_type"),
        ({"query": {"a": {}}}, "query.a.str", "string_type"),
        ({"body": {}}, "body", "string_type"),
        ({"json": 1, "body": "a"}, "", "conflict"),
        ({"json": None, "body": "a"}, "", "conflict"),
        ({"expect_status": []}, "expect_status", "too_short"),
        ({"expect_status": ["2XX"]}, "expect_status.0", "unknown-value"),
        ({"expect_status": [99]}, "expect_status.0", "unknown-value"),
        ({"expect_status": [600]}, "expect_status.0", "unknown-value"),
        ({"connect_timeout": 0}, "connect_timeout", "out-of-range"),
        ({"read_timeout": "soon"}, "read_timeout", "bad-duration"),
        ({"max_response": 262_145}, "max_response", "less_than_equal"),
        ({"max_response": 0}, "max_response", "greater_than_equal"),
        ({"verify": False}, "verify", "extra_forbidden"),
    ],
)
def test_a_field_that_does_not_fit_is_told_at_its_place(given: dict[str, Any], place: str, code: str) -> None:
    assert (place, code) in problems(given)


def test_a_url_is_needed() -> None:
    with pytest.raises(ValidationError, match="Field required"):
        HttpDocument.model_validate({})


@pytest.mark.parametrize(
    ("query", "target"),
    [
        ({}, "/v1?a=b"),
        ({"c": "d e&f"}, "/v1?a=b&c=d%20e%26f"),
        ({"c": [1, 2.5, True, None]}, "/v1?a=b&c=1&c=2.5&c=true"),
        ({"c": None}, "/v1?a=b"),
        ({"\u00fc": "/"}, "/v1?a=b&%C3%BC=%2F"),
        ({"c": "x\r\ny"}, "/v1?a=b&c=x%0D%0Ay"),
    ],
)
def test_parameters_stand_behind_the_query_of_the_url(query: dict[str, Any], target: str) -> None:
    call = HttpInput.model_validate({"url": "http://api.example/v1?a=b", "query": query})

    assert call.target.target == target


@pytest.mark.parametrize(
    ("expected", "status", "is_expected"),
    [
        (["2xx"], 200, True),
        (["2xx"], 299, True),
        (["2xx"], 302, False),
        ([404], 404, True),
        (["404", "2xx"], 404, True),
        ([404], 200, False),
        (["5xx"], 503, True),
    ],
)
def test_a_status_is_expected_alone_or_with_its_hundred(
    expected: list[int | str], status: int, is_expected: bool
) -> None:
    call = HttpInput.model_validate({"url": URL, "expect_status": expected})

    assert call.expects(status) is is_expected


def test_an_author_finds_the_fields_in_the_schema() -> None:
    schema = HttpDocument.model_json_schema()

    assert schema["title"] == "http"
    assert set(schema["properties"]) == {
        "method", "url", "headers", "query", "json", "body", "expect_status", "connect_timeout",
        "read_timeout", "max_response",
    }  # fmt: skip
    assert schema["properties"]["method"]["enum"] == list(METHODS)
    assert schema["additionalProperties"] is False

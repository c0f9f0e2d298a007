"""Flow definitions that are readable and wrong, sent to a running service."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.bad_input import (
    FLOW_PATHS,
    Refusing,
    as_body,
    check_log,
    codes_of,
    kind_of,
    refusing_service,
)
from tests.support.documents import document, task
from tests.support.raw_http import post, request

both_paths = pytest.mark.parametrize("path", FLOW_PATHS)

TASK = "#/flow/tasks/0"
RETRY = f"{TASK}/retry"
CONDITION = "#/flow/conditions/0"

DELETED = object()


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Refusing]:
    with refusing_service(tmp_path_factory.mktemp("bad-flows")) as refusing:
        yield refusing


VALID = document(task("nothing", retry={"max_attempts": 2}), task("plain"), task("complain", {"text": "no"}))


def changed(changes: Mapping[str, object]) -> dict[str, Any]:
    """A valid flow of three tasks and two conditions with other values at these pointers."""
    made = copy.deepcopy(VALID)
    for pointer, value in changes.items():
        *steps, last = pointer.removeprefix("#/").split("/")
        within: Any = made
        for step in steps:
            within = within[int(step) if isinstance(within, list) else step]
        if value is DELETED:
            del within[last]
        else:
            within[int(last) if isinstance(within, list) else last] = value
    return made


@dataclass(frozen=True)
class Row:
    """What is changed in the valid flow, and which code is told: there, or at `pointer`."""

    case: str
    changes: Mapping[str, object]
    code: str
    pointer: str = ""

    def __str__(self) -> str:
        return self.case.encode("ascii", "backslashreplace").decode()[:80]

    @property
    def expected(self) -> list[tuple[str, str]]:
        return [(self.pointer or next(iter(self.changes)), self.code)]


def at(case: str, pointer: str, value: object, code: str, told: str = "") -> Row:
    return Row(f"{case} @ {pointer}", {pointer: value}, code, told)


def step(case: str, task_type: str, input: object, code: str, *told: str) -> Row:
    """The first task is of another type, and something is wrong at this place of its input."""
    changed_task = {"name": "task1", "type": task_type, "input": input}
    return Row(f"{case} in {task_type}", {TASK: changed_task}, code, "/".join([TASK, "input", *told]))


def loop(*targets: str) -> list[dict[str, str]]:
    """Conditions by which task 1 always leads to the first target, task 2 to the second and so on."""
    return [
        {
            "name": f"c{number}",
            "source_task": f"task{number}",
            "target_task_success": target,
            "target_task_failure": target,
        }
        for number, target in enumerate(targets, 1)
    ]


UNKNOWN_FIELDS = [
    at("B01 a typing error", f"{TASK}/retires", {}, "unknown-field"),
    at("B01 a field of other products", f"{TASK}/next", "task2", "unknown-field"),
    at("B01 in the flow", "#/flow/start", "task1", "unknown-field"),
    at("B01 in a condition", f"{CONDITION}/target", "end", "unknown-field"),
    at("B01 in a retry", f"{RETRY}/attempts", 3, "unknown-field"),
    at("B01 a special name", "#/flow/__class__", 1, "unknown-field"),
    at("B01 a long name", "#/flow/" + "x" * 9999, 1, "unknown-field", "#/flow/" + "x" * 61 + "..."),
    at("B01 a script as a name", "#/flow/<script>", 1, "unknown-field", "#/flow/%3Cscript%3E"),
]
REFERENCES = [
    at("B02 no start", "#/flow/start_task", DELETED, "required"),
    at("B02 no such start", "#/flow/start_task", "task9", "unknown-task"),
    at("B02 the end as start", "#/flow/start_task", "end", "unknown-task"),
    at("B02 a number as start", "#/flow/start_task", 1, "wrong-type"),
    at("B02 null as start", "#/flow/start_task", None, "wrong-type"),
    at("B03 no such target", f"{CONDITION}/target_task_success", "task9", "unknown-task"),
    at("B03 no such target", f"{CONDITION}/target_task_failure", "End", "unknown-task"),
    at("B03 no such source", f"{CONDITION}/source_task", "task9", "unknown-task"),
    at("B03 the end as source", f"{CONDITION}/source_task", "end", "unknown-task"),
    at("B03 no such outcome", f"{CONDITION}/outcome", "succes", "unknown-value"),
    at("B10 no such type", f"{TASK}/type", "nothin", "unknown-task"),
    at("B10 a module as type", f"{TASK}/type", "os.system", "unknown-task"),
    Row(
        "B10 a name that is no type",
        {f"{TASK}/type": DELETED},
        "unknown-task",
        f"{TASK}/name",
    ),
]
LOOPS = [
    Row("B05 to itself", {"#/flow/conditions": loop("task1", "end")}, "no-exit", TASK),
    Row("B05 two in a ring", {"#/flow/conditions": loop("task2", "task1")}, "no-exit", TASK),
    Row("B05 three in a ring", {"#/flow/conditions": loop("task2", "task3", "task1")}, "no-exit", TASK),
    Row(
        "B05 a ring behind",
        {"#/flow/conditions": loop("task2", "task3", "task2")},
        "no-exit",
        "#/flow/tasks/1",
    ),
    at("B06 a counter above the limit", "#/flow/max_task_runs", 10_001, "unbounded-loop"),
    at("B06 a counter of 2^63 - 1", "#/flow/max_task_runs", 2**63 - 1, "unbounded-loop"),
    at("B06 no passes", "#/flow/max_task_runs", 0, "out-of-range"),
    at("B06 -1 passes", "#/flow/max_task_runs", -1, "out-of-range"),
    at("B06 a fraction", "#/flow/max_task_runs", 1.5, "wrong-type"),
    at("B06 no counter", "#/flow/max_task_runs", None, "wrong-type"),
]
SIZES = [
    at("B09 no tasks", "#/flow/tasks", [], "required"),
    at("B09 tasks that are none", "#/flow/tasks", {}, "wrong-type"),
    Row("B09 a task that is none", {"#/flow/tasks/2": "task3", "#/flow/conditions": []}, "wrong-type"),
    at("B09 10,001 tasks", "#/flow/tasks", [{"name": f"t{n}"} for n in range(10_001)], "too-many"),
    at("B09 40,001 conditions", "#/flow/conditions", [{"name": "c"}] * 40_001, "too-many"),
    at("B09 65 labels", "#/flow/labels", {f"l{n}": "" for n in range(65)}, "too-many"),
    at("B09 65 codes", f"{RETRY}/retry_on", ["task.failed"] * 65, "too-many"),
    at("B09 8,193 characters", "#/flow/description", "x" * 8193, "too-long"),
    at("B09 257 characters", "#/flow/name", "x" * 257, "too-long"),
]
CHILD = document(task("nothing"), flow_id="child")["flow"]
"""A flow for tasks that start another one."""

INPUTS = [
    at("B11 no input", "#/flow/tasks/2/input", DELETED, "schema", "#/flow/tasks/2/input/text"),
    at("B11 a field too few", "#/flow/tasks/2/input", {}, "schema", "#/flow/tasks/2/input/text"),
    at("B11 a wrong type", "#/flow/tasks/2/input/text", ["no"], "schema"),
    at("B11 no object", "#/flow/tasks/2/input", "no", "wrong-type"),
    step("B11 nothing", "wait", {}, "schema"),
    step("B11 for and until", "wait", {"for": 1, "until": "2026-01-01T00:00:00Z"}, "schema"),
    step("B11 a number", "wait", {"until": 5}, "schema", "until"),
    step("B11 a name with a space", "signal", {"name": "a b"}, "schema", "name"),
    step("B11 no question", "approval", {}, "schema", "question"),
    step("B11 a form in words", "approval", {"question": "?", "form": "none"}, "schema", "form"),
    step("B11 one person", "approval", {"question": "?", "answer_by": "ada"}, "schema", "answer_by"),
    step("B11 a child in words", "flow", {"flow": "child"}, "unknown-flow", "flow"),
    step("B11 a number as child", "flow", {"flow": 1}, "wrong-type", "flow"),
    step("B11 no child", "flow", {}, "schema", "flow"),
    step("B11 a list as input", "flow", {"flow": CHILD, "input": []}, "schema", "input"),
    step("B11 no items", "for_each", {"flow": CHILD}, "schema", "items"),
    step("B11 a text as items", "for_each", {"flow": CHILD, "items": "abc"}, "schema", "items"),
    step(
        "B11 none at once",
        "for_each",
        {"flow": CHILD, "items": [], "max_parallel": 0},
        "schema",
        "max_parallel",
    ),
    step(
        "B11 1,001 at once",
        "for_each",
        {"flow": CHILD, "items": [], "max_parallel": 1001},
        "schema",
        "max_parallel",
    ),
    step("B11 -1 tolerated", "for_each", {"flow": CHILD, "items": [], "tolerate": -1}, "schema", "tolerate"),
    step("B11 two lines", "succeed", {"message": "a\nb"}, "schema", "message"),
    step("B11 a code with a space", "fail", {"code": "bad code"}, "schema", "code"),
    step("B11 json and body", "http", {"url": "https://example.com", "json": 1, "body": "x"}, "schema"),
    step(
        "B11 no such status",
        "http",
        {"url": "https://example.com", "expect_status": ["20x"]},
        "unknown-value",
        "expect_status",
        "0",
    ),
    step("B09 10,001 items", "for_each", {"flow": CHILD, "items": [0] * 10_001}, "schema", "items"),
    step(
        "B09 101 headers",
        "http",
        {"url": "https://example.com", "headers": {f"X-{n}": "" for n in range(101)}},
        "schema",
        "headers",
    ),
]
NEARLY: list[tuple[str, dict[str, Any], str]] = [
    ("wait", {"for": 1}, "fro"),
    ("signal", {}, "nme"),
    ("approval", {"question": "?"}, "answered_by"),
    ("flow", {"flow": CHILD}, "inptu"),
    ("for_each", {"flow": CHILD, "items": []}, "item"),
    ("succeed", {}, "mesage"),
    ("fail", {}, "__class__"),
    ("http", {"url": "https://example.com"}, "header"),
]
INPUTS += [
    step("B01 an unknown field", kind, {**given, name: 1}, "schema", name) for kind, given, name in NEARLY
]
TIMES = [
    step("B12 no time", "wait", {"until": text}, "bad-time")
    for text in ("tomorrow", "", "2026-01-01", "2026-01-01T09:00:00", "2026-13-01T09:00:00Z")
]
DURATIONS = [
    at(f"B12 {value!r}", f"{TASK}/timeout", value, code)
    for value, code in [
        (0, "out-of-range"),
        (-1, "out-of-range"),
        (1e99, "out-of-range"),
        (1e-9, "out-of-range"),
        ("0s", "out-of-range"),
        ("400d", "out-of-range"),
        ("P400D", "out-of-range"),
        (400 * 86400, "out-of-range"),
        ("9" * 60 + "d", "out-of-range"),
        ("5 parsecs", "bad-duration"),
        ("PT", "bad-duration"),
        ("P1Y", "bad-duration"),
        ("-5m", "bad-duration"),
        ("1e3s", "bad-duration"),
        ("٣s", "bad-duration"),
        ("5m\n", "bad-duration"),
        ("", "bad-duration"),
        ("1" * 100_000 + "s", "bad-duration"),
        (True, "bad-duration"),
        ([1], "bad-duration"),
    ]
]
for pointer in (
    "#/flow/timeout",
    f"{TASK}/heartbeat_timeout",
    f"{RETRY}/delay",
    f"{RETRY}/max_delay",
    f"{RETRY}/budget",
):
    DURATIONS += [at("B12 0", pointer, 0, "out-of-range"), at("B12 PT", pointer, "PT", "bad-duration")]
TIMED: list[tuple[str, dict[str, Any], str]] = [
    ("wait", {}, "for"),
    ("signal", {}, "timeout"),
    ("approval", {"question": "?"}, "timeout"),
    ("http", {"url": "https://example.com"}, "connect_timeout"),
    ("http", {"url": "https://example.com"}, "read_timeout"),
]
for kind, given, name in TIMED:
    for duration, code in [(0, "out-of-range"), ("400d", "out-of-range"), ("5 parsecs", "bad-duration")]:
        DURATIONS += [step(f"B12 {duration}", kind, {**given, name: duration}, code, name)]
RETRIES = [
    at("B13 no attempts", f"{RETRY}/max_attempts", 0, "out-of-range"),
    at("B13 10^9 attempts", f"{RETRY}/max_attempts", 10**9, "out-of-range"),
    at("B13 attempts in words", f"{RETRY}/max_attempts", "3", "wrong-type"),
    at("B13 true attempts", f"{RETRY}/max_attempts", True, "wrong-type"),
    at("B13 backoff 0", f"{RETRY}/backoff", 0, "out-of-range"),
    at("B13 backoff 0.5", f"{RETRY}/backoff", 0.5, "out-of-range"),
    at("B13 backoff 1e308", f"{RETRY}/backoff", 1e308, "out-of-range"),
    at("B13 no such jitter", f"{RETRY}/jitter", "half", "unknown-value"),
    at("B13 no such code", f"{RETRY}/never_on", ["Task Failed"], "bad-name", f"{RETRY}/never_on/0"),
    at("B13 a retry that is none", RETRY, 3, "wrong-type"),
    Row(
        "B13 max_delay shorter than delay",
        {f"{RETRY}/max_delay": "1s", f"{RETRY}/delay": "2s"},
        "order",
    ),
    at("B13 max_delay shorter than the delay of default", f"{RETRY}/max_delay", "0.5s", "order"),
]


def undone(*more: dict[str, Any], **undo: object) -> list[dict[str, Any]]:
    """The valid tasks, the first of which is undone by a fourth, and more tasks behind them."""
    first, *others = copy.deepcopy(VALID["flow"]["tasks"])
    fourth = {"name": "undo", "type": "nothing", **undo}
    return [{**first, "compensate_with": "undo"}, *others, fourth, *more]


COMPENSATIONS = [
    at("B14 no such task", f"{TASK}/compensate_with", "task9", "unknown-task"),
    at("B14 the end", f"{TASK}/compensate_with", "end", "unknown-task"),
    at("B14 a number", f"{TASK}/compensate_with", 1, "wrong-type"),
    at("B14 itself", f"{TASK}/compensate_with", "task1", "bad-compensation"),
    at("B14 a task of the route", f"{TASK}/compensate_with", "task2", "bad-compensation"),
    at("B14 the start", "#/flow/tasks/2/compensate_with", "task1", "bad-compensation"),
    Row(
        "B14 a task that goes on",
        {
            "#/flow/tasks": undone(),
            "#/flow/conditions/1": {"name": "c", "source_task": "undo", "target_task_success": "task3"},
        },
        "bad-compensation",
        f"{TASK}/compensate_with",
    ),
    Row(
        "B14 a task that is undone itself",
        {"#/flow/tasks": undone({"name": "redo", "type": "nothing"}, compensate_with="redo")},
        "bad-compensation",
        f"{TASK}/compensate_with",
    ),
]
BAD_NAMES = {
    "a slash": "a/b",
    "a space": "a b",
    "two dots": "..",
    "an emoji": "a😀",
    "300 characters": "a" * 300,
    "129 characters": "a" * 129,
    "nothing": "",
    "a digit first": "1a",
    "a new line at the end": "a\n",
    "A20 composed": "caf\u00e9",
    "A20 decomposed": "cafe\u0301",
    "A20 another alphabet": "t\u0430sk1",
    "A20 right to left": "a\u202eb",
    "A20 zero width": "a\u200bb",
    "A20 wide letters": "\uff54ask1",
    "a script": "<script>",
    "an escape": "a\x1b[31m",
}
NAMES = [
    Row(
        f"B17 {case}",
        {"#/flow/tasks/2/name": name, "#/flow/conditions/1/target_task_success": "end"},
        "bad-name",
    )
    for case, name in BAD_NAMES.items()
]
NAMES += [at(f"B17 {case}", f"{CONDITION}/name", name, "bad-name") for case, name in BAD_NAMES.items()]
NAMES += [
    at("B17 an id with a slash", "#/flow/id", "../flow", "bad-name"),
    at("B17 an id of 300 characters", "#/flow/id", "a" * 300, "bad-name"),
    at("B17 a label with a space", "#/flow/labels", {"a b": ""}, "bad-name", "#/flow/labels/a%20b"),
    Row(
        "B17 they differ by case only",
        {"#/flow/tasks/2/name": "TASK1", "#/flow/conditions/1/target_task_success": "TASK1"},
        "ambiguous-name",
    ),
    Row(
        "B17 a name twice",
        {"#/flow/tasks/2/name": "task1", "#/flow/conditions/1/target_task_success": "task1"},
        "duplicate-name",
    ),
    at("B17 a condition twice", "#/flow/conditions/1/name", "condition1", "duplicate-name"),
    Row(
        "B17 a task called end",
        {"#/flow/tasks/2/name": "end", "#/flow/conditions/1/target_task_success": "end"},
        "reserved-name",
    ),
    at("C20 control characters in a title", "#/flow/name", "a\r\nb\x1b[31m", "bad-text"),
    at("C20 an escape in a description", "#/flow/description", "a\x1b[31m", "bad-text"),
    at("C20 a line separator in a label", "#/flow/labels", {"a": "b\u2028c"}, "bad-text", "#/flow/labels/a"),
]
BAD_URLS = {
    "a file": "file:///etc/passwd",
    "gopher": "gopher://example.com/",
    "ftp": "ftp://example.com/",
    "a script": "javascript:alert(1)",
    "no scheme": "example.com/a",
    "no scheme but slashes": "//example.com/a",
    "no host": "http:///a",
    "user and password": "http://user:secret@example.com/",
    "a user": "http://user@example.com/",
    "an empty user": "http://@example.com/",
    "port 0": "http://example.com:0/",
    "port 99999": "http://example.com:99999/",
    "a port in words": "http://example.com:http/",
    "two ports": "http://example.com:80:80/",
    "a new line": "http://example.com/\r\nX-A: b",
    "a tab": "http://exam\tple.com/",
    "a space": "http://example.com /",
    "a backslash": "http://example.com\\@evil.example/",
    "backslashes": "http:\\\\example.com\\",
    "half a bracket": "http://[::1",
    "brackets around a name": "http://[example.com]/",
    "a zone": "http://[fe80::1%25eth0]/",
    "9 KB": "http://example.com/" + "a" * 9216,
    "a name of 254 characters": "http://" + "a." * 126 + "aa/",
    "a letter of another alphabet": "http://ex\u0430mple.com/",
    "wide letters": "http://\uff45xample.com/",
    "zero width": "http://ex\u200bample.com/",
    "a fragment": "http://127.0.0.1#@example.com",
    "too large a number": "http://256.1.1.1/",
    "too many numbers": "http://1.2.3.4.5/",
    "half a percent": "http://example.com/%zz",
    "nothing": "",
}
"""URLs about which readers of URLs disagree, or that lead elsewhere."""

HTTP = {"url": "https://example.com/"}

CALLS = [step(f"B18 {case}", "http", {"url": url}, "bad-url", "url") for case, url in BAD_URLS.items()]
CALLS += [
    step("B18 no URL", "http", {}, "schema", "url"),
    step("B18 a number", "http", {"url": 1}, "schema", "url"),
]
CALLS += [
    step(f"B19 {case}", "http", {**HTTP, "headers": {name: value}}, "forbidden-header", "headers", told)
    for case, name, value, told in [
        ("two lines", "X-A", "a\r\nX-B: c", "X-A"),
        ("a new line", "X-A", "a\n", "X-A"),
        ("an escape", "X-A", "\x1b[31m", "X-A"),
        ("no ASCII", "X-A", "caf\u00e9", "X-A"),
        ("a space before it", "X-A", " a", "X-A"),
        ("9 KB", "X-A", "a" * 9216, "X-A"),
        ("two lines in the name", "X-A\r\nX-B", "a", "X-A%0D%0AX-B"),
        ("a colon in the name", "X-A:", "a", "X-A:"),
        ("a space in the name", "X A", "a", "X%20A"),
        ("no ASCII in the name", "X-\u00e9", "a", "X-%C3%A9"),
        ("no name", "", "a", ""),
        ("Host", "Host", "evil.example", "Host"),
        ("hOST", "hOST", "evil.example", "hOST"),
        ("Transfer-Encoding", "Transfer-Encoding", "chunked", "Transfer-Encoding"),
        ("Content-Length", "Content-Length", "5", "Content-Length"),
        ("Connection", "Connection", "close", "Connection"),
        ("Upgrade", "Upgrade", "h2c", "Upgrade"),
        ("TE", "TE", "trailers", "TE"),
    ]
]
CALLS += [
    step(
        "B19 a header twice",
        "http",
        {**HTTP, "headers": {"X-A": "", "x-a": ""}},
        "forbidden-header",
        "headers",
        "x-a",
    ),
    step("B19 a number", "http", {**HTTP, "headers": {"X-A": 1}}, "schema", "headers", "X-A"),
]
CALLS += [
    step(f"B19 {method!r}", "http", {**HTTP, "method": method}, "bad-method", "method")
    for method in ("CONNECT", "TRACE", "PROPFIND", "get", "GET\r\nX", "GET ", "")
]
INLINE_SECRETS: list[tuple[str, dict[str, Any], str]] = [
    ("Authorization", {"headers": {"Authorization": "Bearer abcdefgh"}}, "headers/Authorization"),
    ("basic", {"headers": {"X-Auth": "Basic dXNlcjpwYXNz"}}, "headers/X-Auth"),
    ("a cookie", {"headers": {"cookie": "session=abc"}}, "headers/cookie"),
    ("a key", {"headers": {"X-Api-Key": "abc"}}, "headers/X-Api-Key"),
    ("the shape of a token", {"headers": {"X-A": "ghp_" + "a" * 36}}, "headers/X-A"),
    ("in the URL", {"url": "https://example.com/?a=b&access_token=abc"}, "url"),
    ("in the path", {"url": "https://example.com/AKIA" + "A" * 16}, "url"),
    ("in a parameter", {"query": {"client_secret": "abc"}}, "query/client_secret"),
    ("in a list of them", {"query": {"client_secret": ["abc"]}}, "query/client_secret"),
]
CALLS += [
    step(f"B20 {case}", "http", {**HTTP, **given}, "inline-secret", told)
    for case, given, told in INLINE_SECRETS
]
SECRETS = [
    step(
        "B21 no such secret",
        "http",
        {**HTTP, "headers": {"Authorization": "Bearer ${secrets.tokn}"}},
        "unknown-secret",
    ),
    step("B21 no such secret, tested", "nothing", {"a": "${has(secrets.tokn)}"}, "unknown-secret"),
    step("B21 all secrets", "nothing", {"a": ["${secrets}"]}, "secret-not-allowed-here", "a", "0"),
    step("B21 any secret", "nothing", {"a": "${secrets[input.name]}"}, "secret-not-allowed-here", "a"),
    step("B21 in what is recorded", "transform", {"a": "${secrets.token}"}, "secret-not-allowed-here", "a"),
    at("B21 in a condition", f"{CONDITION}/when", "secrets.token == 'a'", "secret-not-allowed-here"),
    at("B21 in run_when", f"{TASK}/run_when", "has(secrets.token)", "secret-not-allowed-here"),
    at(
        "B21 in the output",
        "#/flow/output",
        {"a": ["${secrets.token}"]},
        "secret-not-allowed-here",
        "#/flow/output/a/0",
    ),
]


def doubling(times: int) -> dict[str, Any]:
    """A small schema that asks twice as much with every level."""
    levels: dict[str, Any] = {"l0": {"type": "object"}}
    for number in range(times):
        levels[f"l{number + 1}"] = {"allOf": [{"$ref": f"#/$defs/l{number}"}] * 2}
    return {"$defs": levels, "$ref": f"#/$defs/l{times}"}


BAD_SCHEMAS: list[tuple[str, Any, str, str]] = [
    ("B23 a URL", {"$ref": "https://example.com/a.json"}, "external-ref", "/$ref"),
    ("B23 a file", {"$ref": "file:///etc/passwd"}, "external-ref", "/$ref"),
    ("B23 a neighbour", {"items": {"$ref": "a.json#/b"}}, "external-ref", "/items/$ref"),
    ("B23 a dynamic URL", {"$dynamicRef": "https://example.com/a"}, "external-ref", "/$dynamicRef"),
    ("B23 an $id within", {"items": {"$id": "https://example.com/a"}}, "external-ref", "/items/$id"),
    ("B23 nowhere", {"$ref": "#/$defs/a"}, "schema", "/$ref"),
    ("B23 another dialect", {"$schema": "https://example.com/a"}, "unsupported-schema", "/$schema"),
    ("B23 itself", {"$ref": "#"}, "schema-too-complex", ""),
    ("B23 ten levels", doubling(10), "schema-too-complex", "/$defs/l5"),
    ("B23 64 KiB", {"description": "x" * 65_536}, "schema-too-complex", ""),
    (
        "B23 2,001 parts",
        {"properties": {f"p{n}": {} for n in range(2001)}},
        "schema-too-complex",
        "/properties/p1999",
    ),
    ("B23 no such type", {"type": "text"}, "schema", "/type"),
    ("B23 no object", {"properties": []}, "schema", "/properties"),
    (
        "B23 a default that does not fit",
        {"properties": {"a": {"type": "null", "default": 1}}},
        "bad-default",
        "/properties/a/default",
    ),
    ("B24 10 KB", {"pattern": "a" * 10_240}, "unsafe-regex", "/pattern"),
    ("B24 look-behind", {"pattern": "(?<=a)b"}, "unsafe-regex", "/pattern"),
    ("B24 look-ahead", {"items": {"pattern": "(?!a)b"}}, "unsafe-regex", "/items/pattern"),
    ("B24 a back reference", {"pattern": r"(a+)\1"}, "unsafe-regex", "/pattern"),
    ("B24 a broken one", {"pattern": "(a"}, "unsafe-regex", "/pattern"),
    ("B24 a large one", {"pattern": ".{1,999}.{1,999}"}, "unsafe-regex", "/pattern"),
    ("B24 a name", {"patternProperties": {"(?=a)": True}}, "unsafe-regex", "/patternProperties/(%3F=a)"),
]
SCHEMAS = [
    at(case, at_schema, schema, code, at_schema + told)
    for case, schema, code, told in BAD_SCHEMAS
    for at_schema in ("#/flow/input_schema", f"{TASK}/output_schema")
]
FORMS = [
    step(case, "approval", {"question": "?", "form": schema}, code, *f"form{told}".split("/"))
    for case, schema, code, told in BAD_SCHEMAS
]


def nested(case: str, changes: Mapping[str, object], code: str, told: str, times: int = 1) -> Row:
    """What is wrong with the valid flow, when it is the child of a child."""
    document, where = changed(changes), ""
    for kind in ("flow", "for_each")[:times]:
        given = {"flow": document["flow"], **({"items": []} if kind == "for_each" else {})}
        document = changed({TASK: {"name": "task1", "type": kind, "input": given}})
        where = "/tasks/0/input/flow" + where
    return Row(f"{case}, {times} deep", {TASK: document["flow"]["tasks"][0]}, code, f"#/flow{where}{told}")


IN_CHILDREN: list[tuple[str, dict[str, object], str, str]] = [
    ("B01 an unknown field", {f"{TASK}/retires": {}}, "unknown-field", ""),
    ("B02 no start", {"#/flow/start_task": DELETED}, "required", ""),
    ("B03 no such target", {f"{CONDITION}/target_task_success": "task9"}, "unknown-task", ""),
    (
        "B05 a ring",
        {"#/flow/tasks/0": VALID["flow"]["tasks"][0], "#/flow/conditions": loop("task1", "end")},
        "no-exit",
        "",
    ),
    ("B10 no such type", {f"{TASK}/type": "nothin"}, "unknown-task", ""),
    ("B11 no input", {"#/flow/tasks/2/input": {}}, "schema", "/text"),
    ("B12 no time", {f"{TASK}/timeout": 0}, "out-of-range", ""),
    ("B14 itself", {f"{TASK}/compensate_with": "task1"}, "bad-compensation", ""),
    ("B17 a bad name", {f"{CONDITION}/name": "a b"}, "bad-name", ""),
    ("B21 no such secret", {f"{TASK}/input": {"a": "${secrets.tokn}"}}, "unknown-secret", ""),
    ("B21 in the output", {"#/flow/output": "${secrets.tokn}"}, "secret-not-allowed-here", ""),
    ("B23 a URL", {f"{TASK}/output_schema": {"$ref": "https://example.com"}}, "external-ref", "/$ref"),
    ("B24 look-behind", {"#/flow/input_schema": {"pattern": "(?<=a)"}}, "unsafe-regex", "/pattern"),
    ("D01 in an input", {f"{TASK}/input": {"a": ["b ${1 +}"]}}, "syntax", "/a/0"),
    ("D01 in when", {f"{CONDITION}/when": "input.a >"}, "syntax", ""),
    ("D01 in run_when", {"#/flow/tasks/1/run_when": "nope"}, "unknown-name", ""),
    ("D01 in the output", {"#/flow/output": {"a": "${foo()}"}}, "unknown-function", "/a"),
]
CHILDREN = [
    nested(case, changes, code, next(iter(changes)).removeprefix("#/flow") + told, times)
    for times in (1, 2)
    for case, changes, code, told in IN_CHILDREN
]
ROWS = [
    *(UNKNOWN_FIELDS + REFERENCES + LOOPS + SIZES + INPUTS + TIMES + DURATIONS + RETRIES + COMPENSATIONS),
    *(NAMES + CALLS + SECRETS + SCHEMAS + FORMS + CHILDREN),
]


@both_paths
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_wrong_flow_is_refused_with_its_one_problem_at_its_place(
    refusing: Refusing, path: str, row: Row
) -> None:
    problem = refusing.refused(post(path, as_body(changed(row.changes))))

    assert kind_of(problem) == (422, "invalid-flow")
    assert codes_of(problem) == row.expected
    assert problem.get("valid") is (False if path == "/flow/validate" else None)


@pytest.mark.parametrize("schema", [5, "object", []])
@pytest.mark.parametrize("where", ["#/flow/input_schema", f"{TASK}/output_schema"])
def test_b23_a_schema_is_an_object_or_a_bool(refusing: Refusing, where: str, schema: object) -> None:
    problem = refusing.refused(post("/flow/validate", as_body(changed({where: schema}))))

    assert codes_of(problem) == [(where, "wrong-type")]


@both_paths
def test_b14_two_tasks_that_undo_each_other_are_told_both(refusing: Refusing, path: str) -> None:
    flow = changed({"#/flow/tasks": undone(compensate_with="task1")})

    problem = refusing.refused(post(path, as_body(flow)))

    assert codes_of(problem) == [
        (f"{TASK}/compensate_with", "bad-compensation"),
        ("#/flow/tasks/3/compensate_with", "bad-compensation"),
    ]


@both_paths
@pytest.mark.parametrize("flow", [None, [], "flow", 1, True])
def test_a_flow_that_is_no_object_is_refused(refusing: Refusing, path: str, flow: object) -> None:
    problem = refusing.refused(post(path, as_body({"flow": flow})))

    assert kind_of(problem) == (422, "invalid-flow")
    assert codes_of(problem) == [("#/flow", "wrong-type")]


@both_paths
def test_a_bare_flow_has_its_problems_at_its_own_places(refusing: Refusing, path: str) -> None:
    bare = changed({f"{TASK}/retires": {}})["flow"]

    problem = refusing.refused(post(path, as_body(bare)))

    assert codes_of(problem) == [("#/tasks/0/retires", "unknown-field")]
    assert problem["errors"][0]["hint"] == "did you mean 'retry'?"


@both_paths
def test_an_empty_object_is_told_every_field_that_is_missing(refusing: Refusing, path: str) -> None:
    problem = refusing.refused(post(path, b"{}"))

    assert kind_of(problem) == (422, "invalid-flow")
    assert codes_of(problem) == [
        (f"#/{field}", "required") for field in ("id", "name", "start_task", "tasks")
    ]


@both_paths
def test_all_problems_are_told_at_once_in_the_order_of_the_document(refusing: Refusing, path: str) -> None:
    changes = {
        f"{CONDITION}/outcome": "succes",
        f"{RETRY}/max_attempts": 0,
        "#/flow/start_task": "task9",
        "#/flow/tasks/1/type": "plane",
    }

    problem = refusing.refused(post(path, as_body({**changed(changes), "labels": {"a": 1}})))

    assert kind_of(problem) == (422, "invalid-flow")
    assert codes_of(problem) == [
        ("#/labels/a", "wrong-type"),
        ("#/flow/start_task", "unknown-task"),
        (f"{RETRY}/max_attempts", "out-of-range"),
        ("#/flow/tasks/1/type", "unknown-task"),
        (f"{CONDITION}/outcome", "unknown-value"),
    ]
    assert problem["detail"] == "5 problems found"


@both_paths
@pytest.mark.parametrize("count", [101, 10_000])
def test_at_most_a_hundred_problems_are_told(refusing: Refusing, path: str, count: int) -> None:
    tasks = [{"name": f"task{number}", "type": "nothin"} for number in range(1, count + 1)]

    problem = refusing.refused(post(path, as_body(changed({"#/flow/tasks": tasks}))))

    assert len(problem["errors"]) == 100
    assert problem["errors_truncated"] is True


@both_paths
def test_no_more_of_a_long_text_comes_back_than_helps(refusing: Refusing, path: str) -> None:
    changes = {
        f"{CONDITION}/target_task_success": "\x1b[31m" + "x" * 100_000,
        f"{TASK}/type": "nothing" * 18,
        f"{TASK}/timeout": "<script>" * 9,
        "#/flow/" + "<n>" * 9999: 1,
    }

    problem = refusing.refused(post(path, as_body(changed(changes))))

    assert {code for _, code in codes_of(problem)} >= {"unknown-task", "bad-duration"}
    assert len(as_body(problem)) < 3000


# -- what is only seen when it runs


def children(times: int) -> dict[str, Any]:
    """A flow that starts a flow that starts a flow."""
    flow: dict[str, Any] = document(task("nothing"))["flow"]
    for _ in range(times - 1):
        flow = document(task("flow", {"flow": flow}))["flow"]
    return flow


def test_b08_as_many_flows_within_each_other_run_as_json_can_hold(refusing: Refusing) -> None:
    answer = refusing.accepted(post("/flow/execute", as_body(children(16))))

    parents = [answer["execution_id"]]
    for parent in parents:
        started = refusing.accepted(request("GET", f"/v1/executions/{parent}/children"))["children"]
        parents += [child["execution_id"] for child in started]
    refusing.executed += parents[1:]
    assert answer["status"] == "completed"
    assert len(parents) == 16


@both_paths
def test_b08_more_flows_within_each_other_are_too_deep(refusing: Refusing, path: str) -> None:
    problem = refusing.refused(post(path, as_body(children(17))))

    assert kind_of(problem) == (400, "malformed-json")
    assert codes_of(problem) == [("#", "too-deep")]


@pytest.mark.parametrize("kind", ["transform", "nothing"])
def test_b06_a_loop_that_nothing_ends_is_ended_by_its_counter(refusing: Refusing, kind: str) -> None:
    again = {"name": "again", "source_task": "task1", "when": "false", "target_task_failure": "task1"}
    flow = document(task(kind), max_task_runs=100, conditions=[again])

    answer = refusing.accepted(post("/flow/execute", as_body(flow)))

    assert (answer["status"], answer["error"]["code"]) == ("failed", "limit.task_runs")
    assert len(answer["execution_history"]) == 100


@dataclass(frozen=True)
class Computed:
    """An input with `${input.x}` in it, what is put there, and the code of the failure."""

    kind: str
    given: Mapping[str, object]
    value: object
    code: str = "task.input_invalid"

    def __str__(self) -> str:
        return f"{self.kind} {'.'.join(self.given)} {self.value!r}".encode("ascii", "replace").decode()[:60]


X = "${input.x}"
NO_DURATIONS: list[object] = [0, -1, 1e99, True, "", "PT", "400d", "5 parsecs", [1]]
NO_TIMES: list[object] = [5, "", "tomorrow", "2026-01-01", "x" * 65, {}, "0001-01-01T00:00:00+23:59"]
COMPUTED = [
    *(Computed("http", {"url": X}, url, "http.bad_input") for url in BAD_URLS.values()),
    *(
        Computed("http", {**HTTP, name: made}, value, "http.bad_input")
        for name, made, value in [
            ("method", X, "TRACE"),
            ("method", X, "GET\r\nX"),
            ("headers", {"X-A": X}, "a\r\nX-B: c"),
            ("headers", X, {"Host": "evil.example"}),
            ("headers", X, {"Transfer-Encoding": "chunked"}),
            ("headers", X, {"X-A\r\nX-B": "c"}),
            ("read_timeout", X, "5 parsecs"),
            ("max_response", X, 10**9),
        ]
    ),
    *(Computed("wait", {"for": X}, value) for value in NO_DURATIONS),
    *(Computed("wait", {"until": X}, value) for value in NO_TIMES),
    Computed("signal", {"name": X}, "a b"),
    Computed("signal", {"timeout": X}, 0),
    Computed("approval", {"question": X}, None),
    Computed("approval", {"question": "?", "form": X}, "none"),
    Computed("approval", {"question": "?", "form": X}, {"$ref": "https://example.com/a.json"}),
    Computed("approval", {"question": "?", "form": X}, {"pattern": "(?<=a)b"}),
    Computed("approval", {"question": "?", "answer_by": X}, "ada"),
    Computed("flow", {"flow": CHILD, "input": X}, [1]),
    Computed("for_each", {"flow": CHILD, "items": X}, {"a": 1}),
    Computed("for_each", {"flow": CHILD, "items": X}, "abc"),
    Computed("for_each", {"flow": CHILD, "items": X}, [0] * 10_001),
    Computed("for_each", {"flow": CHILD, "items": [1], "max_parallel": X}, 0),
    Computed("for_each", {"flow": CHILD, "items": [1], "tolerate": X}, 1.5),
    Computed("succeed", {"message": X}, "a\nb"),
    Computed("fail", {"code": X}, "no code"),
    Computed("complain", {"text": X}, ["no"]),
]


@pytest.mark.parametrize("row", COMPUTED, ids=str)
def test_an_input_that_only_turns_out_to_be_wrong_fails_its_task(refusing: Refusing, row: Computed) -> None:
    body = {**document(task(row.kind, row.given)), "input": {"x": row.value}}

    answer = refusing.accepted(post("/flow/execute", as_body(body)))

    assert answer["status"] == "failed"
    assert (answer["error"]["code"], answer["error"]["retryable"]) == (row.code, False)
    assert len(answer["error"]["message"]) < 500


def test_b24_a_pattern_that_takes_others_hours_takes_a_moment(refusing: Refusing) -> None:
    flow = changed({"#/flow/input_schema": {"properties": {"a": {"pattern": "^(a+)+$"}}}})
    body = {**flow, "input": {"a": "a" * 200_000 + "!"}}

    problem = refusing.refused(post("/flow/execute", as_body(body)))

    assert kind_of(problem) == (422, "invalid-request")
    assert codes_of(problem) == [("#/input/a", "schema")]


WARNED = [
    Row("B04 no route leads there", {"#/flow/conditions": loop("end")}, "unreachable", "#/flow/tasks/1"),
    Row(
        "B13 a catch-all before a particular outcome",
        {
            "#/flow/conditions": [
                {"name": "any", "source_task": "task1", "outcome": "failure", "target_task_failure": "task2"},
                {
                    "name": "late",
                    "source_task": "task1",
                    "outcome": "timeout",
                    "target_task_failure": "task2",
                },
            ]
        },
        "never-matches",
        "#/flow/conditions/1/outcome",
    ),
]


@pytest.mark.parametrize("row", WARNED, ids=str)
def test_what_is_only_odd_is_a_warning(refusing: Refusing, row: Row) -> None:
    body = as_body(changed(row.changes))

    answer = refusing.accepted(post("/flow/validate", body))
    executed = refusing.accepted(post("/flow/execute", body))

    assert answer["valid"] is True
    assert set(row.expected) <= {(each["pointer"], each["code"]) for each in answer["warnings"]}
    assert executed["status"] == "completed"


POISON = {
    "line breaks": 'a\r\n{"level":"error"}\u2028b',
    "escapes": "\x1b[31m\x07\x9b2J",
    "a script": "<script>alert(1)</script>",
    "a link": "javascript:alert(1)",
    "a formula": "=cmd()|' /C calc'!A0",
    "right to left": "a\u202eb",
    "900,000 characters": "x" * 900_000,
}


@pytest.mark.parametrize("case", POISON)
def test_c20_what_a_task_says_is_data_wherever_it_appears(refusing: Refusing, case: str) -> None:
    flow = document(task("complain", {"text": POISON[case]}))

    answer = refusing.accepted(post("/flow/execute", as_body(flow)))

    assert answer["status"] == "failed"
    assert answer["error"]["message"] == POISON[case][: len(answer["error"]["message"])]
    assert len(answer["error"]["message"]) == min(len(POISON[case]), 4096)
    check_log(refusing.service.log())


@pytest.mark.parametrize(
    "text", ["<script>", "javascript:alert(1)", "=cmd()", "a\u202eb\u200b", "caf\u00e9", "😀"]
)
def test_c20_a_title_is_any_text_of_one_line(refusing: Refusing, text: str) -> None:
    flow = changed({"#/flow/name": text, "#/flow/labels": {"a": text}})

    answer = refusing.accepted(post("/flow/execute", as_body(flow)))

    assert answer["labels"] == {"a": text}

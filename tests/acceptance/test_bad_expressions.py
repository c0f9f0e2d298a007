"""Expressions that are wrong, hostile or too much, sent to a running service."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

from tests.support.bad_input import (
    FLOW_PATHS,
    MOST_GROWTH,
    MOST_SECONDS,
    Refusing,
    as_body,
    codes_of,
    kind_of,
    refusing_service,
)
from tests.support.documents import document, task
from tests.support.raw_http import ask, post
from tests.support.service import Service, wait_for

both_paths = pytest.mark.parametrize("path", FLOW_PATHS)

INPUT: dict[str, Any] = {
    "count": 3,
    "price": 2.5,
    "yes": True,
    "nothing": None,
    "most": 2**63 - 1,
    "text": "Hello, World",
    "numbers": [3, 1, 2],
    "address": {"city": "Paris"},
    "__class__": "a member like any other",
}
LARGE: dict[str, Any] = {
    "long": list(range(8_000)),
    "deep": [[[[[[[[[[[]]]]]]]]]]],
    "text": "lorem, ipsum " * 15_000,
}
"""About as much as an input may be."""

PLACES = {
    "when": "#/flow/conditions/0/when",
    "run_when": "#/flow/tasks/0/run_when",
    "input": "#/flow/tasks/0/input/a/0",
    "output": "#/flow/output/b",
}
every_place = pytest.mark.parametrize("place", PLACES)


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Refusing]:
    with refusing_service(tmp_path_factory.mktemp("bad-expressions")) as refusing:
        yield refusing


def flow_with(place: str, source: str) -> dict[str, Any]:
    """A flow of one task with an expression at a place."""
    mapped = "${" + source + "}"
    condition = {"name": "after", "source_task": "task1", **({"when": source} if place == "when" else {})}
    only = task(
        "nothing",
        {"a": [mapped]} if place == "input" else None,
        **({"run_when": source} if place == "run_when" else {}),
    )
    output: dict[str, Any] = {"output": {"b": mapped}} if place == "output" else {}
    return document(only, conditions=[condition], **output)


def condition_of(source: str) -> str:
    """A condition that needs the value."""
    return f"dyn({source}) == null"


# -- what is found before anything runs

FAULTS: list[tuple[str, str, str, int]] = [
    ("D01 nothing after an operator", "input.count > ", "syntax", 14),
    ("D01 nothing before one", "* 3", "syntax", 0),
    ("D01 a bracket too many", "(1))", "syntax", 3),
    ("D01 a bracket too few", "(1", "syntax", 2),
    ("D01 two values", "input.count input.count", "syntax", 12),
    ("D01 no closing quote", "'abc", "syntax", 0),
    ("D01 no member", "input.", "syntax", 6),
    ("D01 half a choice", "true ? 1", "syntax", 8),
    ("D01 signs that mean nothing", "1 # 2", "syntax", 2),
    ("D01 after letters of other alphabets", "'é😀' + ", "syntax", 7),
    ("D01 a name that is not known", "inputs.count", "unknown-name", 0),
    ("D02 a class", "''.__class__", "forbidden-name", 3),
    ("D02 a class of the input", "input.__class__.__mro__", "forbidden-name", 6),
    ("D02 subclasses", "input.text.__subclasses__()", "forbidden-name", 11),
    ("D02 globals", "size.__globals__", "forbidden-name", 5),
    ("D02 an import", "__import__('os')", "forbidden-name", 0),
    ("D02 attributes by format", "'{0.__class__}'.format('x')", "wrong-type", 22),
    ("D02 formatting with %", "'%s' % 'x'", "wrong-type", 5),
    ("D02 a member of a text", "'a'.upper", "wrong-type", 3),
    ("D02 a method of Python", "'a'.upper()", "unknown-function", 4),
    ("D03 no such function", "exec('1')", "unknown-function", 0),
    ("D03 a file", "open('/etc/passwd')", "unknown-function", 0),
    ("D03 a member by name", "getattr(input, 'count')", "unknown-function", 0),
    ("D03 a function as a value", "[1].map(x, size)", "unknown-name", 11),
    ("D03 a function alone", "size", "unknown-name", 0),
    ("D04 an assignment", "x = 1", "syntax", 2),
    ("D04 a walrus", "(x := 1)", "syntax", 4),
    ("D04 a lambda", "lambda: 1", "syntax", 6),
    ("D04 a comprehension", "[x for x in input.numbers]", "syntax", 3),
    ("D04 an import", "import os", "syntax", 7),
    ("D04 a template", "{{ 1 }}", "syntax", 5),
    ("D04 a template tag", "{% if true %}", "syntax", 1),
    ("D04 a shell", "$(id)", "syntax", 0),
    ("D05 4,097 bytes", "'" + "a" * 4095 + "'", "too-long", 4096),
    ("D05 4,098 bytes of 2,050 characters", "'" + "é" * 2048 + "'", "too-long", 2048),
    ("D05 200 brackets", "(" * 200 + "1" + ")" * 200, "too-complex", 24),
    ("D05 200 lists", "[" * 200 + "]" * 200, "too-complex", 24),
    ("D05 10,000 operators", "1" + "+1" * 10_000, "too-long", 4096),
    ("D05 1,000 operators", "1" + "+1" * 1_000, "too-complex", 1001),
    ("D05 2,000 signs", "-" * 2_000 + "1", "too-complex", 500),
    ("D05 100 members", "input" + ".a" * 100, "too-complex", 85),
    ("D05 20 loops", "[1]" + ".map(x, x)" * 20, "too-complex", 164),
    ("D06 powers", "9 ** 9 ** 9", "syntax", 3),
    ("D06 a shift", "1 << 1000000000", "syntax", 3),
    ("D06 a number of 400 digits", "1" + "0" * 400, "syntax", 0),
    ("D06 a power by name", "math.pow(9, 9)", "unknown-function", 5),
    ("D07 a text times a number", "'a' * 1000000000", "wrong-type", 4),
    ("D07 texts that double", "'a'" + ".replace('a', 'aaaaaaaaaa')" * 12, "too-complex", 0),
    ("D07 lists that double", "[[1]]" + ".map(x, x + x + x + x + x + x + x + x)" * 9, "too-complex", 0),
    ("D08 a range", "range(1000000)", "unknown-function", 0),
    ("D10 a wildcard", "input.*", "syntax", 6),
    ("D10 a descent", "input..city", "syntax", 6),
    ("D10 a path of others", "$.a.b[7]", "syntax", 0),
    ("D11 a number and a text", "1 + '1'", "wrong-type", 2),
    ("D11 null and a number", "null < 3", "wrong-type", 5),
    ("D11 true and a number", "true + 1", "wrong-type", 5),
    ("D11 a list and a map", "[1] < {'a': 1}", "wrong-type", 4),
    ("D14 half a pattern", "input.text.matches('(')", "syntax", 19),
    ("D14 513 characters", "input.text.matches('" + "a" * 511 + "')", "too-long", 19),
    ("D14 look-behind", "input.text.matches(r'(?<=a)b')", "syntax", 19),
    ("D14 a back reference", r"input.text.matches(r'(a+)\1')", "syntax", 19),
    ("D14 2,000 repeats", "input.text.matches('a{1000}b{1000}')", "too-complex", 19),
    ("D14 a pattern from outside", "input.text.matches(input.text)", "wrong-type", 11),
    ("D14 a file as time zone", "now.getHours('../../etc/passwd') == 1", "syntax", 13),
    ("D15 the time", "now()", "unknown-function", 0),
    ("D15 an identifier", "uuid()", "unknown-function", 0),
    ("D15 chance", "random()", "unknown-function", 0),
]


@every_place
@pytest.mark.parametrize(
    ("source", "code", "offset"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS]
)
def test_a_faulty_expression_is_refused_with_its_place_and_offset(
    refusing: Refusing, place: str, source: str, code: str, offset: int
) -> None:
    before = 0 if place in ("when", "run_when") else len("${")

    for path in FLOW_PATHS:
        problem = refusing.refused(post(path, as_body(flow_with(place, source))))

        assert kind_of(problem) == (422, "invalid-flow")
        assert codes_of(problem) == [(PLACES[place], code)]
        assert problem["errors"][0]["offset"] == before + offset


@both_paths
def test_d01_of_each_text_that_is_wrong_the_first_fault_is_told(refusing: Refusing, path: str) -> None:
    given = {"a": "é😀 ${1 +} ${nope}", "b": ["${1}", {"c": "$${ ${nope}"}], "d": "${'a}", "e": "a ${1"}

    problem = refusing.refused(post(path, as_body(document(task("nothing", given)))))

    assert [(*codes_of({"errors": [each]})[0], each["offset"]) for each in problem["errors"]] == [
        ("#/flow/tasks/0/input/a", "syntax", 8),
        ("#/flow/tasks/0/input/b/1/c", "unknown-name", 6),
        ("#/flow/tasks/0/input/d", "syntax", 2),
        ("#/flow/tasks/0/input/e", "syntax", 2),
    ]


@both_paths
@pytest.mark.parametrize("place", ["when", "run_when"])
@pytest.mark.parametrize(("value", "code"), [(True, "wrong-type"), (1, "wrong-type"), ({}, "wrong-type")])
def test_d01_a_condition_is_a_text(
    refusing: Refusing, path: str, place: str, value: object, code: str
) -> None:
    flow = flow_with(place, "true")
    holder = flow["flow"]["conditions" if place == "when" else "tasks"][0]
    holder[place] = value

    problem = refusing.refused(post(path, as_body(flow)))

    assert codes_of(problem) == [(PLACES[place], code)]


@both_paths
@pytest.mark.parametrize("place", ["when", "run_when"])
@pytest.mark.parametrize("source", ["1", "'true'", "null", "[true]", "input.count + 1", "size(input)"])
def test_d11_what_can_be_no_bool_is_no_condition(
    refusing: Refusing, path: str, place: str, source: str
) -> None:
    problem = refusing.refused(post(path, as_body(flow_with(place, source))))

    assert codes_of(problem) == [(PLACES[place], "wrong-type")]


@both_paths
@pytest.mark.parametrize(
    ("place", "source", "code"),
    [
        *((place, "secrets.token == 'a'", "secret-not-allowed-here") for place in PLACES if place != "input"),
        *((place, "size(secrets)", "secret-not-allowed-here") for place in PLACES),
        *((place, "secrets[input.text]", "secret-not-allowed-here") for place in PLACES),
        ("input", "[1].map(secrets, secrets)", "forbidden-name"),
        ("run_when", "result.data.a", "unknown-name"),
        ("input", "outcome", "unknown-name"),
        ("output", "result", "unknown-name"),
    ],
)
def test_d16_what_is_not_known_at_a_place_is_refused_there(
    refusing: Refusing, path: str, place: str, source: str, code: str
) -> None:
    problem = refusing.refused(post(path, as_body(flow_with(place, source))))

    assert codes_of(problem) == [(PLACES[place], code)]


# -- what fails when it runs

FAILURES: list[tuple[str, str, str]] = [
    ("D02 a member of a number", "input.count.real", "not a map"),
    ("D02 a member of a text", "input.text.upper", "not a map"),
    ("D06 beyond 64 bits", "input.most * input.count", "64 bits"),
    ("D06 beyond 64 bits by one", "input.most + 1", "64 bits"),
    ("D09 no such member", "input.address.street[7]", "input.address.street is not there"),
    ("D09 below nothing", "input.nothing.city", "not a map"),
    ("D09 no such result", "results[input.text].data", 'there is no member "Hello, World"'),
    ("D09 an index below 0", "input.numbers[-1000000000]", "index -1000000000 of a list of 3"),
    ("D09 an index behind the end", "input.numbers[3]", "index 3 of a list of 3"),
    ("D09 a fraction as index", "input.numbers[1.5]", "indexed with int"),
    ("D09 a text as index", "[input.numbers['0']]", "indexed with int"),
    ("D11 a number and a text", "input.count + '1'", "'+' cannot take int and string"),
    ("D11 an int and a double", "input.count + input.price", "'+' cannot take int and double"),
    ("D11 null and a number", "input.nothing < 3", "'<' cannot take null and int"),
    ("D11 true and a number", "input.yes + 1", "'+' cannot take bool and int"),
    ("D11 a list and a map", "input.numbers < input.address", "'<' cannot take list and map"),
    ("D11 a text and a number", "input.text < input.count", "'<' cannot take string and int"),
    ("D11 a number that is none", "int(input.text)", "no number"),
    ("D11 a time that is none", "timestamp(input.text)", "not a time"),
    ("D12 by 0", "input.count / 0", "division by zero"),
    ("D12 the rest by 0", "input.count % 0", "division by zero"),
]
UNFIT: list[tuple[str, str, str]] = [
    ("D12 0 by 0", "0.0 / 0.0", "not finite"),
    ("D12 to infinity", "[input.price * 1e308 * 10.0]", "not finite"),
    ("D12 no JSON", "type(input)", "no JSON value"),
    ("D07 a map whose names are no texts", "{1: 2}", "the names of members are texts"),
]
"""What has a value, and none that could be kept."""

LIMITS: list[tuple[str, str]] = [
    ("D07 a text that grows", "input.text.replace('m', 'mm').replace('m', 'mm').replace('m', 'mm').size()"),
    ("D07 a text within itself", "input.text.replace('m', input.text).size()"),
    ("D07 a text between its letters", "input.text.split('').join(input.text).size()"),
    ("D07 lists that double", "[input.long]" + ".map(x, x + x)" * 12),
    ("D07 maps that double", "[input.long]" + ".map(x, {'a': x, 'b': x})" * 5),
    ("D07 quotes of quotes", "strings.quote(strings.quote(strings.quote(strings.quote(input.text)))).size()"),
    ("D08 a list of all", "input.long.map(x, x)"),
    ("D08 of all of all", "input.long.map(x, input.long.map(y, x + y))"),
    ("D08 of all of all of all", "input.long.all(x, input.long.all(y, input.long.all(z, x + y + z >= 0)))"),
    ("D08 every item and the text", "input.long.exists(x, input.text.contains(string(x) + '!'))"),
    ("D10 every way down", "input.long.all(x, input.deep.all(y, y.all(z, input.long.all(u, u >= 0))))"),
    ("D14 a slow pattern", "input.text.matches(r'(.{1,30}){1,30}!')"),
    ("D14 a pattern for every item", "input.long.all(x, input.text.matches('z+$') || true)"),
]

WHERE = {
    "when": "condition 'after'",
    "run_when": "run_when of task 'task1'",
    "input": "the input of task 'task1'",
    "output": "the output of the flow",
}


def failure_of(refusing: Refusing, place: str, source: str, given: dict[str, Any]) -> dict[str, Any]:
    """The error of an execution that fails at once for its expression."""
    written = condition_of(source) if place in ("when", "run_when") else source
    content = post("/flow/execute", as_body({**flow_with(place, written), "input": given}))
    answer = ask(refusing.port, content)
    assert answer is not None
    assert answer.seconds <= MOST_SECONDS
    assert answer.status == 200, answer.body
    body = answer.json()
    refusing.executed.append(body["execution_id"])
    assert body["status"] == "failed"
    error: dict[str, Any] = body["error"]
    assert error["retryable"] is False
    assert error["details"]["where"] == WHERE[place]
    assert error["details"]["expression"] == written
    assert len(error["details"]["reason"]) <= 500
    assert error["message"] == f"{WHERE[place]} could not be evaluated: {error['details']['reason']}"
    return error


@every_place
@pytest.mark.parametrize(
    ("source", "reason"), [row[1:] for row in FAILURES], ids=[row[0] for row in FAILURES]
)
def test_an_expression_without_a_value_fails_its_execution_and_says_why(
    refusing: Refusing, place: str, source: str, reason: str
) -> None:
    error = failure_of(refusing, place, source, INPUT)

    assert error["code"] == "expression.failed"
    assert reason in error["details"]["reason"]


@pytest.mark.parametrize("place", ["input", "output"])
@pytest.mark.parametrize(("source", "reason"), [row[1:] for row in UNFIT], ids=[row[0] for row in UNFIT])
def test_a_value_that_cannot_be_kept_is_none(
    refusing: Refusing, place: str, source: str, reason: str
) -> None:
    error = failure_of(refusing, place, source, INPUT)

    assert error["code"] == "expression.failed"
    assert reason in error["details"]["reason"]


@pytest.mark.parametrize("place", ["input", "output"])
@pytest.mark.parametrize("source", ["[input.text, input.text]", "input.text + input.text"])
def test_d07_a_value_of_more_than_256_kib_is_none(refusing: Refusing, place: str, source: str) -> None:
    error = failure_of(refusing, place, source, LARGE)

    assert error["code"] == "expression.limit"


@every_place
@pytest.mark.parametrize("source", [row[1] for row in LIMITS], ids=[row[0] for row in LIMITS])
def test_an_expression_that_is_too_much_work_ends_soon_and_says_so(
    refusing: Refusing, place: str, source: str
) -> None:
    error = failure_of(refusing, place, source, LARGE)

    assert error["code"] == "expression.limit"


@pytest.mark.parametrize("place", ["when", "run_when"])
@pytest.mark.parametrize("source", ["input.count", "input.text", "input.nothing", "input.numbers", "input"])
def test_d11_nothing_but_true_and_false_is_a_condition(refusing: Refusing, place: str, source: str) -> None:
    body = {**flow_with(place, source), "input": INPUT}

    answer = refusing.accepted(post("/flow/execute", as_body(body)))

    assert (answer["status"], answer["error"]["code"]) == ("failed", "expression.failed")
    assert answer["error"]["details"]["where"] == WHERE[place]


@pytest.mark.parametrize(
    ("case", "source", "value"),
    [
        ("D02 a member that is called so", "input['__class__']", "a member like any other"),
        ("D09 a test for what is not there", "has(input.address.street)", False),
        ("D11 other types are not equal", "input.count == '3'", False),
        ("D11 texts are ordered by letters", "'10' < '9'", True),
        ("D12 tenths", "0.1 + 0.2", 0.30000000000000004),
        ("D12 minus zero", "[-0.0]", [-0.0]),
        ("D12 whole numbers divide to whole ones", "-7 / 2", -3),
        ("D14 a pattern that takes others hours", "input.a.matches('^(a+)+$')", False),
    ],
)
def test_what_only_looks_bad_has_its_value(refusing: Refusing, case: str, source: str, value: object) -> None:
    body = {**flow_with("output", source), "input": {**INPUT, "a": "a" * 65_536 + "!"}}

    answer = refusing.accepted(post("/flow/execute", as_body(body)))

    assert answer["status"] == "completed"
    assert answer["output"] == {"b": value}


HOSTILE_TEXTS = [
    "${1 + 1}",
    "${secrets.token}",
    "{{secret.x}} {{7*7}}",
    "$${input.text}",
    "${input.text}",
    "${",
    "%s %(text)s {0} {text}",
    "'); DROP TABLE executions; --",
    "__import__('os').system('id')",
]


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_d13_what_comes_out_is_never_looked_at_for_expressions(refusing: Refusing, text: str) -> None:
    child = document(task("transform", {"a": "${input.text}"}), output={"text": "${results.task1.data.a}"})
    flow = document(
        task("transform", {"a": "${input.text}", "b": "<${input.text}>", "${input.text}": 1}),
        task("flow", {"flow": child["flow"], "input": {"text": "${results.task1.data.a}"}}),
        task("nothing", {"a": "${results.task2.data.output.text}"}, run_when="input.text != ''"),
        output={"first": "${results.task1.data}", "last": "${results.task3.data.input.a}"},
    )

    answer = refusing.accepted(post("/flow/execute", as_body({**flow, "input": {"text": text}})))
    refusing.executed += [answer["execution_history"][1]["data"]["execution_id"]]

    assert answer["status"] == "completed"
    assert answer["output"] == {"first": {"a": text, "b": f"<{text}>", "${input.text}": 1}, "last": text}


def test_d07_a_mapping_as_a_whole_gives_no_more_than_256_kib(refusing: Refusing) -> None:
    flow = document(task("transform", {"a": ["${input.text}"] * 100}))

    answer = refusing.accepted(post("/flow/execute", as_body({**flow, "input": LARGE})))

    assert (answer["status"], answer["error"]["code"]) == ("failed", "expression.limit")


# -- many expressions at once

HEAVY = "input.long.all(x, x >= 0)"
"""A few milliseconds of work."""
FULL = {
    "270 of 4 KB": ["${[" + "1," * 1_900 + f"{number}]}}" for number in range(270)],
    "600 of 15 loops": [f"${{input.a{number}" + ".map(x, x)" * 15 + "}" for number in range(600)],
    "500 of ten classes": [f"${{''.matches(r'\\pL{{10}}{number}')}}" for number in range(500)],
}


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("crowded"), "--log-level", "error") as service:
        yield service


def work_of(service: Service) -> float:
    """Seconds of a processor that it has taken so far; what else the machine does is not in them."""
    assert service.process is not None
    used = psutil.Process(service.process.pid).cpu_times()
    return used.user + used.system


@pytest.mark.parametrize("texts", FULL.values(), ids=FULL)
def test_a_document_full_of_expressions_is_checked_in_time(crowded: Service, texts: list[str]) -> None:
    before = work_of(crowded)

    answer = crowded.client.post("/flow/validate", json=document(task("nothing", {"a": texts})))

    [(place, code)] = codes_of(answer.json())
    assert place.startswith("#/flow/tasks/0/input/a/")
    assert code == "too-many-expressions"
    assert work_of(crowded) - before <= 2 * MOST_SECONDS


@pytest.mark.parametrize("place", ["input", "output", "when"])
def test_a_step_full_of_expressions_keeps_nobody_waiting(crowded: Service, place: str) -> None:
    count = 300
    flow = flow_with(place, HEAVY)["flow"]
    if place == "when":
        after = {"source_task": "task1", "when": f"!{HEAVY}"}
        flow["conditions"] = [{"name": f"c{number}", **after} for number in range(count)]
    else:
        holder = flow["output"] if place == "output" else flow["tasks"][0]["input"]
        holder["b" if place == "output" else "a"] = ["${" + HEAVY + "}"] * count
    waiting = threading.Thread(target=crowded.execute, args=[{"flow": flow, "input": LARGE}])
    waiting.start()
    seconds = []

    while waiting.is_alive():
        seconds.append(crowded.execute(document(task("nothing"))).elapsed.total_seconds())
        time.sleep(0.02)

    waiting.join()
    assert max(seconds) <= MOST_SECONDS


def test_what_was_checked_does_not_pile_up(crowded: Service) -> None:
    assert crowded.process is not None
    process = psutil.Process(crowded.process.pid)
    before = process.memory_info().rss

    for number in range(15):
        given = {"a": ["${1 + input.a}"] * 1_000}
        crowded.client.post("/flow/validate", json=document(task("nothing", given), flow_id=f"f{number}"))

    assert process.memory_info().rss - before <= MOST_GROWTH


# -- what is recorded


def has_lines(file: Path, count: int) -> bool:
    """Whether so many are written; a body that has only opened the file has told nothing yet."""
    return file.exists() and file.read_text().count("\n") == count


def test_d15_what_an_expression_gave_is_the_same_after_a_crash(tmp_path: Path) -> None:
    seen, gate = tmp_path / "seen", tmp_path / "gate"
    given = {"path": str(seen), "gate": str(gate), "now": "${now}", "id": "${execution.id}"}
    flow = document(task("tell_and_hold", given), task("nothing", {"now": "${now}"}))
    service = Service(tmp_path)
    with service:
        execution_id = service.execute(flow, "respond-async").json()["execution_id"]
        wait_for(lambda: has_lines(seen, 1) or None, service.log)
        service.kill()
        service.start()
        wait_for(lambda: has_lines(seen, 2) or None, service.log)
        gate.touch()
        body = service.await_status(execution_id)

    first, second = (orjson.loads(line) for line in seen.read_text().splitlines())
    assert first == second
    assert first["id"] == execution_id
    assert [entry["status"] for entry in body["execution_history"]] == ["lost", "success", "success"]
    assert body["execution_history"][2]["data"]["input"]["now"] > first["now"]


# -- secrets

CANARY = "canary-7f3a9c-of-a-secret"
SECRET = "${secrets.token}"
IN_EXPRESSIONS = [
    "secrets.token + 1",
    "secrets.token < 1",
    "int(secrets.token)",
    "bool(secrets.token)",
    "duration(secrets.token)",
    "timestamp(secrets.token)",
    "input[secrets.token]",
    "results[secrets.token].data",
    "{'a': 1}[secrets.token]",
    "{secrets.token: 1, secrets.token: 2}",
    "[1][int(secrets.token)]",
    "[secrets.token][1]",
    "secrets.token.city",
    "secrets.token[0]",
    "secrets.token.substring(999)",
    "'%d'.format([secrets.token])",
    "secrets.token ? 1 : 2",
]
GIVEN_TO_TASKS = [
    task("nothing", {"a": SECRET, "b": [f"<{SECRET}>"], "c": "${{secrets.token: secrets.token}}"}),
    task("complain", {"text": [SECRET]}),
    task("nothing", {"a": SECRET}, output_schema={"additionalProperties": {"maxProperties": 0}}),
    task("http", {"url": SECRET}),
    task("http", {"url": f"https://{SECRET}.invalid/{SECRET}?a={SECRET}", "connect_timeout": "1s"}),
    task("http", {"url": f"http://127.0.0.1:1/{SECRET}"}),
    task("http", {"url": "http://127.0.0.1:1/", "method": SECRET}),
    task("http", {"url": "http://127.0.0.1:1/", "headers": {"X-A": f"{SECRET}\n"}}),
    task("http", {"url": "http://127.0.0.1:1/", "headers": {"X-A": SECRET}, "read_timeout": SECRET}),
    task("http", {"url": "http://127.0.0.1:1/", "expect_status": [SECRET]}),
]
RAISING = [
    task("complain", {"text": f"no: {SECRET}"}),
    task("return", {"what": SECRET}),
    task("sleep", {"seconds": SECRET}),
    task("isolated", {"how": "what", "what": SECRET}),
]
WITHOUT_BODIES = [
    task("transform", {"a": SECRET}),
    task("wait", {"for": SECRET}),
    task("signal", {"name": SECRET}),
    task("approval", {"question": SECRET}),
    task("fail", {"message": SECRET}),
    task("succeed", {"output": SECRET}),
]


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a secret."""
    folder = tmp_path_factory.mktemp("trusted")
    secrets = folder / "secrets"
    secrets.mkdir()
    (secrets / "token").write_text(CANARY)
    with Service(folder, "--secrets", str(secrets), "--log-level", "debug") as service:
        yield service


def finds_of(service: Service, flow: dict[str, Any]) -> list[str]:
    """Where the secret is found after the flow was executed."""
    logged = len(service.log())
    answer = service.execute(flow, "wait=5")
    assert answer.status_code == 200, answer.text
    execution_id = answer.json()["execution_id"]
    texts = {
        "answer": answer.text,
        "history": service.client.get(f"/v1/executions/{execution_id}/history").text,
        "log": service.log()[logged:],
    }
    return [name for name, text in texts.items() if CANARY in text]


@pytest.mark.parametrize("source", IN_EXPRESSIONS)
def test_d16_an_expression_that_fails_tells_no_secret(trusted: Service, source: str) -> None:
    assert finds_of(trusted, document(task("nothing", {"a": "${" + source + "}"}))) == []


@pytest.mark.parametrize("given", GIVEN_TO_TASKS, ids=lambda given: str(given)[:60])
def test_d16_what_a_task_makes_of_a_secret_tells_none(trusted: Service, given: dict[str, Any]) -> None:
    assert finds_of(trusted, document(given)) == []


@pytest.mark.parametrize("given", RAISING, ids=lambda given: str(given)[:60])
def test_d16_a_body_that_raises_with_a_secret_tells_none(trusted: Service, given: dict[str, Any]) -> None:
    assert finds_of(trusted, document(given)) == []


@pytest.mark.parametrize("given", WITHOUT_BODIES, ids=lambda given: str(given)[:60])
def test_d16_a_secret_is_given_to_no_task_that_would_record_it(
    trusted: Service, given: dict[str, Any]
) -> None:
    answer = trusted.client.post("/flow/validate", json=document(given))

    assert answer.status_code == 422
    assert {code for _, code in codes_of(answer.json())} == {"secret-not-allowed-here"}


def test_d16_no_secret_is_in_the_files(trusted: Service) -> None:
    trusted.execute(document(task("complain", {"text": SECRET}), flow_id="in-the-files"))

    files = [*trusted.folder.glob("flow-manager.db*")]

    assert len(files) >= 2
    assert not [file.name for file in files if CANARY.encode() in file.read_bytes()]

from __future__ import annotations

import copy
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_manager.core.expressions import ExpressionError, Place
from flow_manager.core.mappings import InvalidMapping, ValueMapping, compile_mapping

SCOPE: dict[str, Any] = {
    "input": {
        "text": "abc",
        "count": 3,
        "price": 2.5,
        "yes": True,
        "nothing": None,
        "list": [1, "a", None],
        "map": {"b": 1, "a": [2.0]},
        "hostile": "${secrets.token} $${x} {{7*7}}",
    },
    "results": {"charge": {"status": "success", "data": {"id": 7}}},
    "execution": {
        "id": "e-1",
        "started_at": datetime(2026, 1, 4, 9, 30, tzinfo=UTC),
        "labels": {},
        "task_runs": 1,
    },
    "flow": {"id": "order", "version": 4},
    "now": datetime(2026, 1, 5, 9, 30, tzinfo=UTC),
    "secrets": {"token": "s3cr3t"},
}


def evaluate(value: Any, scope: dict[str, Any] = SCOPE, place: Place = Place.TASK_INPUT) -> Any:
    return compile_mapping(value, place).evaluate(scope)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${input.text}", "abc"),
        ("${input.count}", 3),
        ("${input.price}", 2.5),
        ("${input.yes}", True),
        ("${input.nothing}", None),
        ("${input.list}", [1, "a", None]),
        ("${input.map}", {"b": 1, "a": [2.0]}),
        ("${now}", "2026-01-05T09:30:00.000000Z"),
        ("${ input.count + 1 }", 4),
        ("${\n input.count \n}", 3),
        ("${{'a': input.count}}", {"a": 3}),
        ("${ {'a': {'b': 1}}.a.b }", 1),
        ("${'}'}", "}"),
        ("${'${'}", "${"),
        ("${\"}\" + '}'}", "}}"),
        ("${r'\\}'}", "\\}"),
        ("${'''}'}''' + 'x'}", "}'}x"),
        ("${'it\\'s }'}", "it's }"),
        ("${input.map['a'][0]}", 2.0),
        ("${1 // a comment with } and ' in it\n}", 1),
    ],
)
def test_an_expression_that_is_the_whole_text_keeps_its_type(text: str, value: Any) -> None:
    answer = evaluate(text)

    assert answer == value
    assert type(answer) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("id ${input.count}", "id 3"),
        ("${input.count} items", "3 items"),
        (" ${input.count}", " 3"),
        ("${input.text}${input.count}", "abc3"),
        ("${input.price}", 2.5),
        ("-${input.price}", "-2.5"),
        ("-${4.0}", "-4.0"),
        ("-${1e300}", "-1e+300"),
        ("-${input.yes}", "-true"),
        ("-${input.nothing}", "-null"),
        ("-${input.list}", '-[1,"a",null]'),
        ("-${input.map}", '-{"b":1,"a":[2.0]}'),
        ("-${[input.map]}", '-[{"a":[2.0],"b":1}]'),
        ("-${now}", "-2026-01-05T09:30:00.000000Z"),
        ("-${duration('90s')}", "-90s"),
        ("é${'😀'}é", "é😀é"),
        ("${input.text}: ${input.map.a[0]} }", "abc: 2.0 }"),
    ],
)
def test_an_expression_within_a_text_becomes_text(text: str, value: Any) -> None:
    assert evaluate(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$${x}", "${x}"),
        ("$${", "${"),
        ("a $${b} c", "a ${b} c"),
        ("$$${input.count}", "$${input.count}"),
        ("$${input.count} is ${input.count}", "${input.count} is 3"),
        ("$", "$"),
        ("$$", "$$"),
        ("{x}", "{x}"),
        ("}", "}"),
        ("$ {x}", "$ {x}"),
        ("{{7*7}} {% x %} <%= x %> #{x}", "{{7*7}} {% x %} <%= x %> #{x}"),
        ("{0.__class__}", "{0.__class__}"),
        ("%s %(a)s", "%s %(a)s"),
    ],
)
def test_a_dollar_is_a_dollar_where_no_expression_begins(text: str, value: str) -> None:
    assert evaluate(text) == value


def test_a_mapping_is_any_json_value() -> None:
    value = {
        "${input.text}": "a name is left as it is",
        "list": ["${input.count}", {"deep": ["${input.text}!"]}],
        "number": 1.5,
        "nothing": None,
    }

    assert evaluate(value) == {
        "${input.text}": "a name is left as it is",
        "list": [3, {"deep": ["abc!"]}],
        "number": 1.5,
        "nothing": None,
    }
    assert evaluate(7) == 7
    assert evaluate([]) == []


def test_what_comes_out_is_never_evaluated_again() -> None:
    assert evaluate("${input.hostile}") == SCOPE["input"]["hostile"]
    assert evaluate("<${input.hostile}>") == f"<{SCOPE['input']['hostile']}>"
    assert evaluate("${'$' + '{input.count}'}") == "${input.count}"


@given(st.text(max_size=50))
def test_no_text_that_is_put_in_is_evaluated_or_changed(text: str) -> None:
    scope = {"input": {"x": text}}

    if "\0" not in text:
        assert evaluate("<${input.x}>", scope) == f"<{text}>"
        assert evaluate("${input.x}", scope) == text


@given(st.text("ab$ {}'\"é\n", max_size=50).filter(lambda text: "${" not in text))
def test_a_text_without_an_expression_is_left_as_it_is(text: str) -> None:
    assert evaluate(text) == text


@given(st.text("$", max_size=5), st.text("ab{}$", max_size=5).filter(lambda text: "${" not in text))
def test_escaping_every_dollar_brace_gives_the_text_back(before: str, after: str) -> None:
    text = f"{before}${{{after}"

    assert evaluate(text.replace("${", "$${")) == text


@given(st.text("${}'\"input. +", max_size=30))
def test_any_text_is_compiled_or_has_faults_with_places(text: str) -> None:
    offsets = [0]
    try:
        compile_mapping({"a": text}, Place.TASK_INPUT)
    except InvalidMapping as invalid:
        offsets = [fault.offset for fault in invalid.faults]

    assert offsets
    assert all(0 <= offset <= len(text) for offset in offsets)


@pytest.mark.parametrize(
    ("text", "code", "offset"),
    [
        ("${", "syntax", 0),
        ("abc ${input.text", "syntax", 4),
        ("${input.text} and ${input.count", "syntax", 18),
        ("${{'a': 1}", "syntax", 0),
        ("${'abc}", "syntax", 2),
        ("${input.text + 'x}", "syntax", 15),
        ("${input.text // }", "syntax", 0),
        ("${}", "syntax", 2),
        ("${ }", "syntax", 3),
        ("ab ${1 +} cd", "syntax", 8),
        ("ab ${inputs.text}", "unknown-name", 5),
        ("ab ${1 + 'a'} cd", "wrong-type", 7),
        ("ab ${foo()} cd", "unknown-function", 5),
        ("é😀 ${nope}", "unknown-name", 5),
        ("${input.__class__}", "forbidden-name", 8),
        ("${outcome}", "unknown-name", 2),
        ("${" + "(" * 30 + "1" + ")" * 30 + "}", "too-complex", 26),
        ("${'" + "a" * 5000 + "'}", "too-long", 4098),
    ],
)
def test_a_fault_has_a_place_in_its_text(text: str, code: str, offset: int) -> None:
    with pytest.raises(InvalidMapping) as caught:
        compile_mapping({"list": [1, text]}, Place.TASK_INPUT)

    (fault,) = caught.value.faults
    assert (fault.path, fault.code, fault.offset) == (("list", 1), code, offset)
    assert str(caught.value) == fault.detail


def test_all_faults_are_told_at_once_in_the_order_written() -> None:
    value = {"a": "${nope} ${1 +}", "b": [{"c": "${"}, "${input.text}"], "d": "x ${inputs}"}

    with pytest.raises(InvalidMapping) as caught:
        compile_mapping(value, Place.OUTPUT)

    assert [(fault.path, fault.offset, fault.code) for fault in caught.value.faults] == [
        (("a",), 2, "unknown-name"),
        (("a",), 13, "syntax"),
        (("b", 0, "c"), 0, "syntax"),
        (("d",), 4, "unknown-name"),
    ]
    assert caught.value.faults[3].hint == "did you mean 'input'?"


def test_secrets_are_for_the_input_of_tasks() -> None:
    assert evaluate({"authorization": "Bearer ${secrets.token}"}) == {"authorization": "Bearer s3cr3t"}
    with pytest.raises(InvalidMapping) as caught:
        compile_mapping("Bearer ${secrets.token}", Place.OUTPUT)

    assert caught.value.faults[0].code == "secret-not-allowed-here"
    assert caught.value.faults[0].offset == 9


def test_a_failure_names_its_place_and_its_expression() -> None:
    mapping = compile_mapping({"a": ["x", "${input.text} ${ input.nope }"]}, Place.TASK_INPUT)

    with pytest.raises(ExpressionError) as caught:
        mapping.evaluate(SCOPE)

    error = caught.value
    assert (error.code, error.path, error.expression) == ("expression.failed", ("a", 1), " input.nope ")
    assert error.detail == "input.nope is not there; test it first with has(input.nope)"


@pytest.mark.parametrize(
    "value",
    [
        ["${input.large}", "${input.large}", "${input.large}"],
        "${input.large}${input.large}${input.large}",
        {"a": {"b": "${input.large}"}, "c": "x" * 200_000},
        ["${[input.large]}"] * 3,
        ["${input.large}"] * 1000,
    ],
)
def test_values_that_are_too_large_together_are_refused(value: Any) -> None:
    mapping = compile_mapping(value, Place.TASK_INPUT)

    with pytest.raises(ExpressionError, match="together are more than 256 KiB") as caught:
        mapping.evaluate({"input": {"large": "x" * 100_000}})

    assert caught.value.code == "expression.limit"


def test_values_that_nest_too_deep_together_are_refused() -> None:
    value: Any = "${input.deep}"
    deep: Any = 1
    for _ in range(40):
        value, deep = [value], [deep]

    with pytest.raises(ExpressionError, match="nest at most 64 deep"):
        evaluate(value, {"input": {"deep": deep}})


def test_a_mapping_without_expressions_is_constant() -> None:
    constant = compile_mapping({"a": ["$${x}", 1]}, Place.TASK_INPUT)

    assert constant.is_constant
    assert constant.evaluate({}) == {"a": ["${x}", 1]}
    assert not compile_mapping({"a": ["${1}"]}, Place.TASK_INPUT).is_constant


def test_a_mapping_tells_what_all_its_expressions_use() -> None:
    mapping = compile_mapping(
        {
            "a": "${results.charge.data.id} ${secrets.token}",
            "b": ["${has(results.mail) ? results.mail.data : null}", "${secrets['other-one']}"],
            "c": "${has(results.charge)}",
        },
        Place.TASK_INPUT,
    )

    assert mapping.results_used == {"charge", "mail"}
    assert mapping.results_guarded == {"mail"}
    assert mapping.secrets_used == {"token", "other-one"}
    assert not mapping.results_unknown
    assert compile_mapping("${results}", Place.OUTPUT).results_unknown


def test_each_evaluation_gives_a_value_of_its_own_and_changes_nothing() -> None:
    written = {"a": [1], "b": "${input.list}"}
    before = copy.deepcopy((written, SCOPE))
    mapping = compile_mapping(written, Place.TASK_INPUT)

    first = mapping.evaluate(SCOPE)
    first["a"].append(2)
    first["b"].append(2)

    assert mapping.evaluate(SCOPE) == {"a": [1], "b": [1, "a", None]}
    assert (written, SCOPE) == before


def test_a_document_that_changes_later_changes_no_mapping() -> None:
    written: dict[str, Any] = {"a": [1], "b": "${input.count}"}
    mapping = compile_mapping(written, Place.TASK_INPUT)

    written["a"].append(2)
    written["b"] = "${input.text}"

    assert mapping.evaluate(SCOPE) == {"a": [1], "b": 3}


def test_a_mapping_gives_the_same_answers_to_many_threads() -> None:
    mapping: ValueMapping = compile_mapping({"n": "${input.n}", "text": "n is ${input.n}"}, Place.TASK_INPUT)
    wrong: list[Any] = []

    def ask(number: int) -> None:
        right = {"n": number, "text": f"n is {number}"}
        answers = (mapping.evaluate({"input": {"n": number}}) for _ in range(500))
        wrong.extend(answer for answer in answers if answer != right)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []

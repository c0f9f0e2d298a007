"""The OpenAPI document is complete, whole, and made once; the page of it is safe to look at."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any, Final

import jsonschema_rs
import orjson
import pytest
from flask.testing import FlaskClient

from flow_manager.api.app import create_app
from flow_manager.api.control import Cancellation
from flow_manager.api.keys import is_key
from flow_manager.api.openapi import openapi
from flow_manager.api.operation import Answer, Body, Operation
from flow_manager.api.operations import OPERATIONS
from flow_manager.api.operations_flows import IDEMPOTENCY_KEY
from flow_manager.api.schema_words import members_of, words_of
from flow_manager.core.answers import Accepted
from flow_manager.settings import Settings
from tests.support.fake_backend import EXECUTION, FakeBackend
from tests.unit.api.conftest import kind_of

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
PART: Final = re.compile(r"<[^>]*>|\{[^}]*\}")


def test_every_endpoint_has_its_row_and_every_row_its_endpoint() -> None:
    rules = create_app(FakeBackend(), Settings()).url_map.iter_rules()
    served = {
        (method, PART.sub("{}", rule.rule))
        for rule in rules
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }

    listed = [(each.method, PART.sub("{}", each.path)) for each in OPERATIONS]
    assert set(listed) == served
    assert len(set(listed)) == len(listed)


def test_operations_have_names_of_their_own() -> None:
    names = [each.name for each in OPERATIONS]

    assert len(set(names)) == len(names)


def references_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, each in value.items():
            if name == "$ref":
                yield each
            else:
                yield from references_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from references_in(each)


def test_every_reference_leads_to_a_component_and_every_schema_is_one() -> None:
    document = openapi()
    components = document["components"]

    for reference in set(references_in(document)):
        _, _, kind, name = reference.split("/")
        assert name in components[kind]
    for schema in components["schemas"].values():
        assert jsonschema_rs.meta.is_valid({"$schema": DIALECT, **schema})


def test_examples_fit_their_schemas() -> None:
    document = openapi()

    for operation in OPERATIONS:
        if operation.body is None:
            continue
        written = document["paths"][operation.path][operation.method.lower()]["requestBody"]
        content = written["content"]["application/json"]
        validator = jsonschema_rs.validator_for({**content["schema"], "components": document["components"]})
        assert [error.message for error in validator.iter_errors(content["example"])] == []


def test_links_lead_to_operations_that_take_an_execution() -> None:
    links = openapi()["paths"]["/flow/execute"]["post"]["responses"]["202"]["links"]

    assert {"status", "execution", "history", "children", "cancel", "signal"} <= links.keys()
    assert links.keys() <= {each.name for each in OPERATIONS if "{execution_id}" in each.path}


def test_two_schemas_of_one_name_are_refused() -> None:
    def other() -> dict[str, Any]:
        return {"title": "Cancellation", "type": "object"}

    rows = [
        Operation(
            method="POST",
            path=f"/{number}",
            name=f"o{number}",
            summary="",
            area="x",
            body=Body(schema),
            answers={202: Answer("", Accepted)},
        )
        for number, schema in enumerate([Cancellation.model_json_schema, other])
    ]

    with pytest.raises(ValueError, match="two schemas are called Cancellation"):
        openapi(rows)


def test_the_document_is_made_when_it_is_asked_for_and_then_kept(client: FlaskClient) -> None:
    first = client.get("/openapi.json")

    assert first.content_type == "application/json"
    assert orjson.loads(first.data) == orjson.loads(orjson.dumps(openapi()))
    assert client.get("/openapi.json").data == first.data
    assert kind_of(client.get("/openapi.json?x=1")) == (422, "invalid-request")


def test_what_is_to_be_done_with_an_execution_is_no_name_of_one(client: FlaskClient) -> None:
    answer = client.get(f"/v1/executions/{EXECUTION}:cancel", json={})

    assert kind_of(answer) == (405, "method-not-allowed")
    assert answer.headers["Allow"] == "OPTIONS, POST"


# -- the page


class Reading(HTMLParser):
    """What a page holds: its elements, the ids in it, and where it leads."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.ids: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.add(str(value))
            if name in ("href", "src"):
                self.links.append(str(value))


def test_the_page_needs_nothing_from_elsewhere(client: FlaskClient) -> None:
    page = client.get("/docs", headers={"Accept": "text/html"})
    read = Reading()
    read.feed(page.text)

    assert page.content_type == "text/html; charset=utf-8"
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(read.elements)
    assert [link for link in read.links if not link.startswith("#")] == ["/openapi.json"]
    assert [link for link in read.links if link.startswith("#") and link[1:] not in read.ids] == []
    assert {each.name for each in OPERATIONS} <= read.ids


def test_the_page_may_do_nothing_but_look_as_it_does(client: FlaskClient) -> None:
    page = client.get("/docs")

    policy = dict(part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    style = page.text.partition("<style>")[2].partition("</style>")[0]
    digest = b64encode(sha256(style.encode()).digest()).decode()
    assert policy["style-src"] == f"'sha256-{digest}'"
    assert page.headers["X-Content-Type-Options"] == "nosniff"


def test_what_stands_in_the_document_is_text_on_the_page(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = openapi()
    hostile["info"]["description"] = "<script>alert(1)</script>"
    hostile["components"]["schemas"]["Reply"]["properties"]["<b>"] = {"description": "</td><i>"}
    monkeypatch.setattr("flow_manager.api.openapi.openapi", lambda: hostile)

    page = client.get("/docs").text

    assert "<script>" not in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert "&lt;script&gt;" in page


def test_the_page_is_refused_to_whoever_takes_json_alone(client: FlaskClient) -> None:
    assert kind_of(client.get("/docs", headers={"Accept": "application/json"})) == (406, "not-acceptable")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (True, "anything"),
        (False, "nothing"),
        ({"type": "string"}, "string"),
        ({"type": "string", "format": "uuid"}, "string, uuid"),
        ({"type": "integer", "minimum": 1, "maximum": 9}, "integer (at least 1, at most 9)"),
        ({"type": "array", "items": {"$ref": "#/components/schemas/A"}}, "list of A"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "object of string"),
        ({"type": "object", "properties": {"a": {}, "b": {}}}, "object with a, b"),
        ({"type": ["object", "boolean"]}, "object or boolean"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string or null"),
        ({"allOf": [{"$ref": "#/x/A"}, {"$ref": "#/x/B"}]}, "A and B"),
        ({"if": {}, "then": {"$ref": "#/x/A"}, "else": {"$ref": "#/x/B"}}, "A or B"),
        ({"enum": ["a", "b"]}, "a, b"),
        ({"enum": list(range(20))}, "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ..."),
        ({"const": 1}, "1"),
        ({"allOf": [{"$ref": "#/x/A"}, {"properties": {"type": {"enum": ["a", "b"]}}}]}, "A and type: a, b"),
        ({}, "anything"),
    ],
)
def test_a_schema_in_words(schema: object, words: str) -> None:
    assert "".join(word.text for word in words_of(schema)) == words


def test_members_are_told_with_whether_they_are_always_there() -> None:
    schema = {"properties": {"a": {"type": "null", "description": "A."}, "b": {}}, "required": ["a"]}

    told = [(each.name, each.is_required, each.description) for each in members_of(schema)]
    assert told == [("a", True, "A."), ("b", False, "")]


def test_what_has_no_body_has_no_content() -> None:
    documented = openapi()["paths"]["/v1/schedules/{schedule_id}"]["delete"]["responses"]

    assert "content" not in documented["204"]
    assert "content" in documented["404"]


def test_a_header_takes_the_keys_that_the_service_takes() -> None:
    schema = dict(IDEMPOTENCY_KEY.schema)

    for text in ("order-7", "a b", "~", "!", "x" * 255):
        assert is_key(text)
        assert jsonschema_rs.is_valid(schema, text)
    for text in ("", " ", "   ", "x" * 256, "a,b", "\u00e4", "a\tb"):
        assert not jsonschema_rs.is_valid(schema, text)

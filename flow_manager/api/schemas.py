"""JSON Schemas of requests and answers, as the components of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from flow_manager.api.problems import Kind
from flow_manager.core.answers import History, ProblemDetails

PLACE: Final = "#/components/schemas/"


class _NumberedHistory(History, frozen=True):
    """A history whose events have their numbers beside their members."""


HISTORY: Final = _NumberedHistory


class Components:
    """The schemas of a document, each once, under its name."""

    def __init__(self, answers: Iterable[type]) -> None:
        types = list(dict.fromkeys([*answers, ProblemDetails]))
        found, self.schemas = msgspec.json.schema_components(types, ref_template=PLACE + "{name}")
        self._answers = dict(zip(types, found, strict=True))
        if HISTORY in self._answers:
            self._number_events()

    def of_answer(self, answer: type | Mapping[str, Any]) -> dict[str, Any]:
        """The schema of an answer: a reference, if it is a type."""
        return dict(self._answers[answer] if isinstance(answer, type) else answer)

    def of_body(self, schema: dict[str, Any]) -> dict[str, Any]:
        """A reference to the schema of a body; the schemas that it is made of stand beside it."""
        schema.pop("$schema", None)
        definitions = {**schema.pop("$defs", {}), schema["title"]: schema}
        for name, definition in definitions.items():
            self._add(name, _moved(definition))
        return {"$ref": PLACE + schema["title"]}

    def _add(self, name: str, schema: dict[str, Any]) -> None:
        if self.schemas.setdefault(name, schema) != schema:
            raise ValueError(f"two schemas are called {name}")

    def _number_events(self) -> None:
        """Events have their number only where they are answered."""
        schema = self.schemas[HISTORY.__name__]
        number = {"type": "integer", "minimum": 1, "description": "Its number, from 1."}
        numbered = {"type": "object", "properties": {"seq": number}, "required": ["seq"]}
        events = schema["properties"]["events"]
        events["items"] = {"allOf": [numbered, events["items"]]}
        self.schemas["History"] = {**schema, "title": "History", "description": History.__doc__}
        del self.schemas[HISTORY.__name__]
        self._answers[HISTORY] = {"$ref": PLACE + "History"}


def problem_schema(kinds: Iterable[Kind]) -> dict[str, Any]:
    """A problem of one of these kinds."""
    types = [f"/problems/{kind.name}" for kind in kinds]
    return {"allOf": [{"$ref": PLACE + "ProblemDetails"}, {"properties": {"type": {"enum": types}}}]}


def _moved(schema: Any) -> Any:
    """The same, with references to where the components stand."""
    if isinstance(schema, list):
        return [_moved(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: value.replace("#/$defs/", PLACE) if name == "$ref" and isinstance(value, str) else _moved(value)
        for name, value in schema.items()
    }

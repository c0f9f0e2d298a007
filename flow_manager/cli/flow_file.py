"""A flow file: its text, what it holds, and what the checks say of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import click

from flow_manager import bootstrap
from flow_manager.core.parser import FlowParser
from flow_manager.core.report import Report
from flow_manager.core.values import read_json
from flow_manager.errors import InvalidInput, Problem
from flow_manager.settings import Settings

STDIN: Final = "<stdin>"

argument = click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True, path_type=Path)
)
"""The argument FILE; `-` is standard input."""


@dataclass(frozen=True, slots=True)
class FlowFile:
    """A checked flow file. `input` is what it holds beside `flow`, as in the body of an HTTP request."""

    name: str
    text: str
    report: Report
    input: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path, settings: Settings) -> Self:
        """Read and check a file. Problems are in the report, also if the file is not even JSON."""
        is_stdin = str(path) == "-"
        name = STDIN if is_stdin else str(path)
        content = sys.stdin.buffer.read() if is_stdin else path.read_bytes()
        text = content.decode("utf-8", "replace")
        try:
            document = read_json(content)
        except InvalidInput as error:
            return cls(name, text, Report(tuple(error.problems), (), None), {})
        document, input = _taken_apart(document)
        report = FlowParser(bootstrap.build_registry(settings).input_models()).check(document)
        if not isinstance(input, Mapping):
            wrong = Problem("#/input", "wrong-type", "the input of an execution is an object")
            report = replace(report, errors=(*report.errors, wrong), flow=None)
            input = {}
        return cls(name, text, report, input)


def _taken_apart(document: object) -> tuple[object, object]:
    """The flow document and the input beside it."""
    if not isinstance(document, dict) or "flow" not in document or "input" not in document:
        return document, {}
    return {name: value for name, value in document.items() if name != "input"}, document["input"]

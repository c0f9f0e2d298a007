"""A flow file: its text, what it holds, and what the checks say of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import click

from flow_manager import bootstrap
from flow_manager.api.execution_request import ExecutionRequest
from flow_manager.core.parser import FlowParser
from flow_manager.core.report import Report
from flow_manager.core.values import read_json
from flow_manager.errors import InvalidInput
from flow_manager.settings import Settings

STDIN: Final = "<stdin>"

argument = click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True, path_type=Path)
)
"""The argument FILE; `-` is standard input."""


@dataclass(frozen=True, slots=True)
class FlowFile:
    """A checked flow file. `input` and `labels` are what it holds beside `flow`, as a request does."""

    name: str
    text: str
    report: Report
    input: Mapping[str, Any]
    labels: Mapping[str, str]

    @classmethod
    def read(cls, path: Path, settings: Settings | None) -> Self:
        """Read and check a file; without settings, whatever its task types are. Problems are in the report,
        also if the file is not even JSON."""
        is_stdin = str(path) == "-"
        name = STDIN if is_stdin else str(path)
        content = sys.stdin.buffer.read() if is_stdin else path.read_bytes()
        text = content.decode("utf-8", "replace")
        try:
            asked = ExecutionRequest.of(read_json(content))
        except InvalidInput as error:
            return cls(name, text, Report(tuple(error.problems), (), None), {}, {})
        models = None if settings is None else bootstrap.build_registry(settings).input_models()
        report = FlowParser(models).check(asked.document)
        if asked.problems:
            report = replace(report, errors=(*asked.problems, *report.errors), flow=None)
        return cls(name, text, report, asked.input, asked.labels)

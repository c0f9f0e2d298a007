"""The reference says what the code has, and nothing else; every link leads somewhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, get_args

import click
import pytest
from pydantic import BaseModel

from flow_manager.api import problems
from flow_manager.api.app import create_app
from flow_manager.api.health import LINKS
from flow_manager.cli.exits import ExitCode, exit_code_of
from flow_manager.cli.main import COMMANDS
from flow_manager.core.cel.functions import FUNCTIONS
from flow_manager.core.definition import Outcome
from flow_manager.core.document import ConditionDocument, FlowDocument, RetryDocument, TaskDocument
from flow_manager.core.events import Event
from flow_manager.core.graph import mermaid
from flow_manager.core.parser import FlowParser
from flow_manager.core.schedule_answers import FireOutcome
from flow_manager.core.schedule_document import Missed, Overlap, ScheduleDocument
from flow_manager.core.simulation.cases import Case, Expectation
from flow_manager.core.simulation.mocks import Fault, Mock, MockError, SentSignal
from flow_manager.core.states import ExecutionStatus, WakeReason
from flow_manager.core.steps import STEP_TYPES
from flow_manager.errors import FlowManagerError, Problem
from flow_manager.settings import NAMED_ELSEWHERE, SETTINGS, Settings
from flow_manager.tasks.builtin.command_input import CommandInput
from flow_manager.tasks.builtin.http_input import HttpInput
from flow_manager.tasks.builtin.registration import BuiltinSettings, register_builtin_tasks
from flow_manager.tasks.registry import TaskRegistry
from tests.support.fake_backend import FakeBackend
from tests.support.service import ROOT

REFERENCE: Final = ROOT / "docs" / "reference"
PAGES: Final = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
RULER: Final = re.compile(r"\|[-|]+\|")
LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
DOTTED_CODE: Final = re.compile(r"(?!wsgi|statements|flow_manager)[a-z_]+\.[a-z_]+")
MADE_CODES: Final = {"signal.timeout", "approval.timeout"}
"""Codes that the program puts together from two parts."""
PARAMETER: Final = re.compile("<(.*?)>")
PROBLEM_CODE: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
OF_AN_INPUT: Final = {"not-plain"}
"""Codes that the engine derives from those of results, where the input of an execution has the same fault."""

CODE_AT: Final = {
    "Problem": 1,
    "Fault": 1,
    "SchemaFault": 1,
    "ExpressionFault": 0,
    "TooManyExpressions": 0,
    "add": 1,
    "problem_at": 2,
    "_note": 1,
    "_add": 1,
    "parameter_error": 1,
    "_unsupported": 0,
    "PydanticCustomError": 0,
}
"""Where the code stands in a call that makes a problem."""


class Page:
    """A page of the reference: its sections, and the tables in them."""

    def __init__(self, name: str) -> None:
        text = (REFERENCE / name).read_text(encoding="utf-8")
        starts = [(found.start(), found[1]) for found in re.finditer(r"^## (.*)$", text, re.MULTILINE)]
        ends = [*(start for start, _ in starts), len(text)]
        self.intro = text[: ends[0]]
        self.sections = {
            title: text[start:end] for (start, title), (_, end) in zip(starts, pairwise(ends), strict=True)
        }

    def column(self, title: str, number: int = 0) -> list[str]:
        return [row[number] for row in rows_of(self.sections[title])]


def rows_of(text: str) -> list[list[str]]:
    """The rows of all tables, without their heads; `code` loses its quotes."""
    lines = [line.strip() for line in text.splitlines()]
    rows = [
        line
        for line, following in pairwise([*lines, ""])
        if line.startswith("|") and not RULER.fullmatch(line) and not RULER.fullmatch(following)
    ]
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows]


# -- the flow document


@pytest.mark.parametrize(
    ("title", "model"),
    [
        ("Flow", FlowDocument),
        ("Task", TaskDocument),
        ("Retry", RetryDocument),
        ("Condition", ConditionDocument),
    ],
)
def test_every_field_of_the_document_has_its_line(title: str, model: type[BaseModel]) -> None:
    page = Page("flow-document.md")

    assert page.column(title) == list(model.model_fields)
    required = [
        name
        for name, default in zip(page.column(title), page.column(title, 2), strict=True)
        if default == "required"
    ]
    assert required == [name for name, field in model.model_fields.items() if field.is_required()]


@pytest.mark.parametrize("model", [Expectation, Mock, MockError, SentSignal, Fault])
def test_every_member_of_a_golden_case_is_named(model: type[BaseModel]) -> None:
    text = Page("flow-document.md").sections["Golden cases"]

    assert [name for name in model.model_fields if f"`{name}`" not in text and f'"{name}"' not in text] == []


def test_every_field_of_a_golden_case_has_its_line() -> None:
    page = Page("flow-document.md")
    fields = list(zip(page.column("Golden cases"), page.column("Golden cases", 2), strict=True))

    assert {(name, default == "required") for name, default in fields} == {
        (name, field.is_required()) for name, field in Case.model_fields.items()
    }
    assert len(fields) == len(Case.model_fields)


def test_every_outcome_and_status_of_an_execution_has_its_line() -> None:
    page = Page("flow-document.md")

    assert page.column("Outcomes") == list(get_args(Outcome))
    assert sorted(page.column("Statuses")) == sorted(ExecutionStatus)


CORE: Final = ROOT / "flow_manager" / "core"
CHECKS: Final = sorted(
    [
        *(
            CORE / f"{name}.py"
            for name in ("checks", "compiling", "expressions", "mappings", "misfits", "parser", "plain")
        ),
        *(CORE / f"{name}.py" for name in ("references", "steps", "simulation/mocks", "simulation/cases")),
        *CORE.glob("schema*.py"),
        *(CORE / "cel").glob("*.py"),
    ]
)
"""The modules of the core that look at a flow before it is run."""


@pytest.mark.parametrize("module", CHECKS, ids=lambda module: str(module.relative_to(CORE)))
def test_every_code_that_the_check_of_a_flow_can_give_is_among_the_checks(module: Path) -> None:
    text = Page("flow-document.md").sections["Checks that need no run"]

    assert sorted({code for code in problem_codes([module]) if f"`{code}`" not in text}) == []


# -- task types


def test_every_built_in_task_type_has_its_section_and_its_line() -> None:
    page = Page("builtin-tasks.md")
    registry = TaskRegistry()
    register_builtin_tasks(registry, BuiltinSettings(commands=("/bin/sh",)))

    titles = [title.strip("`") for title in page.sections if title.startswith("`")]
    listed = re.findall(r"\[`(\w+)`\]", page.intro)
    assert titles == listed == [*sorted(registry, reverse=True), *STEP_TYPES]


@pytest.mark.parametrize(
    ("name", "model"), {**STEP_TYPES, "http": HttpInput, "command": CommandInput}.items()
)
def test_every_field_of_a_built_in_task_type_has_its_line(name: str, model: type[BaseModel]) -> None:
    inputs = inputs_of(name)

    assert [row[0] for row in inputs] == [field.alias or each for each, field in model.model_fields.items()]
    required = [row[0] for row in inputs if row[2] == "required"]
    assert required == [name for name, field in model.model_fields.items() if field.is_required()]


def inputs_of(name: str) -> list[list[str]]:
    """The rows about the fields of a task type: those about its result have two columns."""
    return [row for row in rows_of(Page("builtin-tasks.md").sections[f"`{name}`"]) if len(row) == 4]


# -- settings


def test_every_setting_has_its_line_with_its_default() -> None:
    written = [row[:3] for row in rows_of(Page("settings.md").intro)]

    assert written == [[each.option, each.variable, each.default_text] for each in SETTINGS]


def test_variables_that_are_no_settings_have_their_line() -> None:
    assert set(Page("settings.md").column("Other variables")) == NAMED_ELSEWHERE


# -- the command line


def command_of(name: str) -> click.Command:
    module, _, attribute = COMMANDS[name].path.partition(":")
    command: click.Command = getattr(import_module(module), attribute)
    return command


def test_every_command_has_its_section() -> None:
    titles = [title.strip("`").split()[0] for title in Page("command-line.md").sections]

    assert titles == [*COMMANDS, "Exit"]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "serve"])
def test_every_option_of_a_command_has_its_line(name: str) -> None:
    page = Page("command-line.md")
    title = next(each for each in page.sections if each.strip("`").split()[0] == name)

    command = command_of(name)
    commands = list(command.commands.values()) if isinstance(command, click.Group) else [command]
    options = [each.opts[0] for one in commands for each in one.params if isinstance(each, click.Option)]
    assert page.column(title) == options


def test_serve_takes_all_settings_and_no_other_options() -> None:
    assert [each.opts[0] for each in command_of("serve").params] == [each.option for each in SETTINGS]


def test_every_exit_code_has_its_line() -> None:
    page = Page("command-line.md")

    written = list(zip(page.column("Exit codes"), page.column("Exit codes", 1), strict=True))
    assert written == [(str(code.value), code.name) for code in ExitCode]


# -- the HTTP API


def routes() -> set[str]:
    rules = create_app(FakeBackend(), Settings()).url_map.iter_rules()
    return {
        f"{method} " + PARAMETER.sub(r"{\1}", rule.rule.replace("<text>", "<execution_id>"))
        for rule in rules
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def test_every_endpoint_has_its_line() -> None:
    assert set(Page("http-api.md").column("Endpoints")) == routes() == {*LINKS.values(), "GET /"}


def test_every_kind_of_problem_has_its_line() -> None:
    page = Page("http-api.md")
    kinds = [each for each in vars(problems).values() if isinstance(each, problems.Kind)]

    written = list(zip(page.column("Problems"), page.column("Problems", 1), strict=True))
    assert written == [(f"/problems/{kind.name}", str(kind.status)) for kind in kinds]


def test_every_status_and_wake_reason_has_its_line() -> None:
    page = Page("http-api.md")

    assert [row[0] for row in rows_of(page.sections["An execution"])][-len(WakeReason) :] == list(WakeReason)
    for text in (page.sections["Endpoints"], Page("command-line.md").sections["`list`"]):
        assert all(f"`{status}`" in text for status in ExecutionStatus)


def test_every_event_has_its_line_with_its_members() -> None:
    written = rows_of(Page("http-api.md").sections["History"])

    assert [(row[0], row[2].replace("`", "").split(", ")) for row in written] == [
        (kind.__struct_config__.tag, [*kind.__struct_fields__[1:]]) for kind in kinds_of_event()
    ]


def kinds_of_event() -> tuple[Any, ...]:
    return get_args(Event)


# -- schedules


def test_every_field_of_a_schedule_has_its_line() -> None:
    page = Page("schedules.md")
    fields = ScheduleDocument.model_fields

    assert page.column("Document") == list(fields)
    written = zip(page.column("Document"), page.column("Document", 2), strict=True)
    assert [name for name, default in written if default == "required"] == [
        name for name, field in fields.items() if field.is_required()
    ]


def test_every_policy_and_outcome_of_a_schedule_has_its_line() -> None:
    page = Page("schedules.md")

    assert page.column("Overlap") == list(get_args(Overlap))
    assert page.column("Missed times") == list(get_args(Missed))
    assert page.column("What became of a time") == list(get_args(FireOutcome))


# -- errors


def kinds_of_error(kind: type[FlowManagerError] = FlowManagerError) -> Iterator[type[FlowManagerError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from kinds_of_error(below)


def test_every_error_has_its_line_with_its_exit_code() -> None:
    written = {tuple(row[:3]) for row in rows_of(Page("errors.md").sections["Errors of the program"])}

    expected = {(kind.code, kind.__name__, str(exit_code_of(kind("")).value)) for kind in kinds_of_error()}
    assert written == expected


def test_every_dotted_code_has_its_line() -> None:
    page = Page("errors.md")
    titles = ("Errors of the program", "Failures of tasks", "Failures of executions", "Violations")
    written = {code for title in titles for code in page.column(title)} - {FlowManagerError.code}

    codes = {text for text in texts_in_the_code() if DOTTED_CODE.fullmatch(text)} - FUNCTIONS.keys()
    assert written == codes | MADE_CODES


def test_every_problem_code_has_its_line() -> None:
    written = Page("errors.md").column("Problems of an input")

    assert len(written) == len(set(written))
    assert set(written) == set(problem_codes()) | OF_AN_INPUT


SOURCES: Final = sorted((ROOT / "flow_manager").rglob("*.py"))


def parsed(paths: Iterable[Path]) -> Iterator[ast.Module]:
    for path in paths:
        yield ast.parse(path.read_text(encoding="utf-8"))


def texts_in_the_code() -> Iterator[str]:
    for module in parsed(SOURCES):
        for node in ast.walk(module):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def problem_codes(paths: Iterable[Path] = SOURCES) -> Iterator[str]:
    for module in parsed(paths):
        for node in ast.walk(module):
            for value in _codes_at(node):
                if isinstance(value, ast.Constant) and PROBLEM_CODE.fullmatch(str(value.value)):
                    yield str(value.value)


def _codes_at(node: ast.AST) -> Iterator[ast.expr]:
    """Expressions that are codes: arguments, defaults, assignments, and the first of a pair in a table."""
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func).rpartition(".")[2]
        yield from node.args[CODE_AT[called] :][:1] if called in CODE_AT else ()
        yield from (keyword.value for keyword in node.keywords if keyword.arg == "code")
    elif isinstance(node, ast.FunctionDef):
        defaults = zip(reversed(node.args.args), reversed(node.args.defaults), strict=False)
        yield from (default for argument, default in defaults if argument.arg == "code")
    elif isinstance(node, ast.Assign) and "code" in map(ast.unparse, node.targets):
        yield node.value
    elif isinstance(node, ast.Dict):
        pairs = (value for value in node.values if isinstance(value, ast.Tuple) and len(value.elts) == 2)
        yield from (pair.elts[0] for pair in pairs)


def test_a_problem_is_written_with_the_members_that_the_reference_names() -> None:
    text = Page("http-api.md").sections["Problems"]
    members = Problem("#", "code", "detail", "hint", 1, 1, 0).to_json()

    assert [name for name in members if f"`{name}`" not in text and f'"{name}"' not in text] == []


# -- drawings

DRAWN: Final = re.compile(r"^```json\n(.*?)^```\n+```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_drawing_is_what_the_flow_above_it_looks_like() -> None:
    text = (ROOT / "docs" / "explanation" / "routing.md").read_text(encoding="utf-8")
    drawn = DRAWN.findall(text)

    assert len(drawn) == text.count("```mermaid") > 0
    assert [drawing for _, drawing in drawn] == [mermaid(FlowParser().parse(flow)) for flow, _ in drawn]


# -- links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]

    assert [link for link in links if not leads_somewhere(page, link)] == []


def leads_somewhere(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    if not target.exists() or not anchor:
        return target.exists()
    titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
    return anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_index_leads_to_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link).resolve() for link in LINK.findall(index.read_text(encoding="utf-8"))}

    assert set((ROOT / "docs").rglob("*.md")) - {index} <= linked


@pytest.mark.parametrize("folder", ["tutorial", "howto", "explanation"])
def test_every_page_for_readers_is_in_the_index_under_its_own_title(folder: str) -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = sorted((ROOT / "docs" / folder).glob("*.md"))

    titles = {page.name: page.read_text(encoding="utf-8").partition("\n")[0][2:] for page in pages}
    assert pages
    assert [name for name, title in titles.items() if f"- [{title}]({folder}/{name}): " not in index] == []

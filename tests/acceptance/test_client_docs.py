"""The reference of the client says what the class has, and nothing else."""

from __future__ import annotations

import inspect
import re
from typing import Any, Final

import pytest

from flow_manager import client as package
from flow_manager.api.operations import OPERATIONS
from flow_manager.client import Client
from flow_manager.client.connection import LONGEST_PAUSE, MOST_RETRY_AFTER
from tests.acceptance.test_docs import Page, rows_of
from tests.support.service import ROOT, Service

PAGE: Final = Page("client.md")
NOT_SERVED_YET: Final = {"start", "publish"}

METHODS: Final = {
    name: method
    for name, method in vars(Client).items()
    if inspect.isfunction(method) and not name.startswith("_") and name != "close"
}


def written(name: str, method: Any) -> str:
    """A method as the reference writes it: what goes by position bare, what goes by name with `=`."""
    parts = []
    for parameter in list(inspect.signature(method).parameters.values())[1:]:
        if parameter.kind is parameter.VAR_KEYWORD:
            parts.append(f"**{parameter.name}")
        elif parameter.kind is parameter.KEYWORD_ONLY or parameter.name == "timeout":
            told = parameter.default if isinstance(parameter.default, int | float) else ""
            parts.append(f"{parameter.name}={told:g}" if told != "" else f"{parameter.name}=")
        else:
            parts.append(parameter.name)
    return f"{name}({', '.join(parts)})"


def test_every_method_has_its_line() -> None:
    assert PAGE.column("Methods") == [written(name, method) for name, method in METHODS.items()]


def test_every_call_is_one_that_the_service_has() -> None:
    served = {f"{each.method} {each.path}" for each in OPERATIONS}
    calls = {row[0].partition("(")[0]: row[1] for row in rows_of(PAGE.sections["Methods"])}

    unknown = {name for name, call in calls.items() if call not in served}
    assert unknown == {*NOT_SERVED_YET, "wait"}


def test_every_result_can_be_imported_from_the_package() -> None:
    results = {
        name for row in rows_of(PAGE.sections["Methods"]) for name in re.findall(r"`?([A-Z]\w+)`?", row[2])
    }

    assert results - {"InvalidFlow"} <= set(package.__all__)
    assert all(hasattr(package, name) for name in package.__all__)


def test_the_defaults_are_those_of_the_class() -> None:
    signature = inspect.signature(Client)
    told = ", ".join(
        f'{name}="{each.default}"' if isinstance(each.default, str) else f"{name}={each.default}"
        for name, each in signature.parameters.items()
    )

    assert f"`Client({told.replace(', timeout', ', *, timeout')})`" in PAGE.intro


def test_the_bounds_of_what_is_sent_again_are_told() -> None:
    text = PAGE.sections["What is sent again"]

    assert f"up to {MOST_RETRY_AFTER} s" in text
    assert f"{LONGEST_PAUSE:g} s at most" in text


@pytest.fixture
def programs() -> list[str]:
    text = (ROOT / "docs" / "howto" / "use-the-python-client.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_programs_of_the_guide_do_what_it_says(
    programs: list[str], tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    first, later, sending, failing, mocked = programs
    with Service(tmp_path) as service:
        url = str(service.client.base_url).rstrip("/")
        names: dict[str, Any] = {}
        exec(first.replace("http://127.0.0.1:5000", url), names)
        assert capsys.readouterr().out == "completed Hello, Ada\n"
        with Client(url) as client:
            names["client"] = client
            exec(later, names)
            assert names["execution"].output == "Hello, Ada"
            assert "ExecutionEnded" in capsys.readouterr().out
            asking = {
                "id": "asking",
                "name": "Asking",
                "start_task": "ask",
                "tasks": [
                    {"name": "ask", "type": "approval", "input": {"question": "Shall we?"}},
                    {"name": "hear", "type": "signal", "input": {"name": "paid"}},
                    {"name": "rest", "type": "wait", "input": {"for": "1h"}},
                ],
                "conditions": [
                    {"name": "asked", "source_task": "ask", "target_task_success": "hear"},
                    {"name": "heard", "source_task": "hear", "target_task_success": "rest"},
                ],
            }
            names["execution_id"] = client.execute(asking, wait=0).execution_id
            service.await_status(names["execution_id"], "waiting")
            exec(sending, names)
            ended = client.wait(names["execution_id"], timeout=20)
            assert (ended.status, ended.error and ended.error.message) == (
                "cancelled",
                "the customer called it off",
            )
            names["flow"] = {**names["FLOW"], "start_task": "great"}
            exec(failing, names)
            assert "#/start_task" in capsys.readouterr().out
        exec(mocked, names)
        assert service.violations() == []

"""The reference of the client says what the class has, and nothing else."""

from __future__ import annotations

import inspect
import re
from typing import Any, Final

from flow_manager import client as package
from flow_manager.api.operations import OPERATIONS
from flow_manager.client import Client
from flow_manager.client.connection import LONGEST_PAUSE, MOST_RETRY_AFTER
from tests.acceptance.test_docs import Page, rows_of

PAGE: Final = Page("client.md")

PARTS: Final = (*Client.__bases__, Client)
METHODS: Final = {
    name: method
    for part in PARTS
    for name, method in vars(part).items()
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
            default = told if isinstance(told, bool | str) else f"{told:g}"
            parts.append(f"{parameter.name}={default}")
        else:
            parts.append(parameter.name)
    return f"{name}({', '.join(parts)})"


def test_every_method_has_its_line() -> None:
    assert PAGE.column("Methods") == [written(name, method) for name, method in METHODS.items()]


def test_every_call_is_one_that_the_service_has() -> None:
    served = {f"{each.method} {each.path}" for each in OPERATIONS}
    calls = {row[0].partition("(")[0]: row[1] for row in rows_of(PAGE.sections["Methods"])}

    unknown = {name for name, call in calls.items() if call not in served}
    assert unknown == {"wait"}


def test_every_call_that_the_service_has_is_made_by_a_method() -> None:
    made = {row[1] for row in rows_of(PAGE.sections["Methods"])}
    served = {each.name: f"{each.method} {each.path}" for each in OPERATIONS}

    assert {name for name, call in served.items() if f"`{call}`" not in made and call not in made} == {
        *("validate", "ready", "index", "schema", "metrics", "openapi", "docs"),  # for others than programs
        *("events", "changes", "version"),
    }


def test_every_result_can_be_imported_from_the_package() -> None:
    results = {
        name for row in rows_of(PAGE.sections["Methods"]) for name in re.findall(r"`?([A-Z]\w+)`?", row[2])
    }

    assert results - {"InvalidFlow", "InvalidSchedule"} <= set(package.__all__)
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

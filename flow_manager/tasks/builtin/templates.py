"""Texts of a flow document that hold expressions: what they will be, only the run can tell."""

from __future__ import annotations

from pydantic import ValidationError
from pydantic_core import ErrorDetails


def holds_expression(text: str) -> bool:
    """Whether `${...}` stands in the text; `$${` is how a literal `${` is written."""
    return "${" in text.replace("$${", "")


def constant_errors(error: ValidationError) -> list[ErrorDetails]:
    """The errors of an input as it is written in a document, but for those about a text that holds an
    expression."""
    errors = error.errors(include_url=False)
    return [
        each for each in errors if not (isinstance(each["input"], str) and holds_expression(each["input"]))
    ]

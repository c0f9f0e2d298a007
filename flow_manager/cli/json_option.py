"""Options whose value is JSON, or a file that holds it: `JSON|@FILE`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from flow_manager.core.values import read_json
from flow_manager.errors import InvalidInput


def read_value(text: str, option: str) -> Any:
    """What the option was given. Raises `BadParameter`."""
    try:
        return read_json(Path(text[1:]).read_bytes() if text.startswith("@") else os.fsencode(text))
    except OSError as error:
        raise _refusal(f"the file {text[1:]!r} cannot be read: {error.strerror}", option) from error
    except InvalidInput as error:
        raise _refusal(str(error), option) from error


def read_object(text: str, option: str) -> dict[str, Any]:
    """The same, where it must be an object."""
    value = read_value(text, option)
    if not isinstance(value, dict):
        raise _refusal("it must be a JSON object", option)
    return value


def _refusal(why: str, option: str) -> click.BadParameter:
    return click.BadParameter(why, param_hint=f"'{option}'")

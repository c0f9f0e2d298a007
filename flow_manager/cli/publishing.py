"""`flow-manager publish` and `diff`: versions of flows."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click
import orjson

from flow_manager.api.execution_request import ExecutionRequest
from flow_manager.cli import flow_file, output
from flow_manager.cli.exits import ExitCode
from flow_manager.cli.service import told, url_option
from flow_manager.client import Client, FlowVersion, PublishedFlow
from flow_manager.core.definition import Flow
from flow_manager.core.difference import Change, difference
from flow_manager.core.document_words import ID
from flow_manager.core.parser import FlowParser
from flow_manager.core.values import read_json
from flow_manager.errors import FlowUnknown, InvalidFlow, Problem

LONGEST_SHOWN: Final = 60
"""Characters of a value in the table of changes."""

_NAMED: Final = re.compile(rf"({ID})(?:@([1-9][0-9]{{0,8}}))?")
_SIGNS: Final = {"added": "+", "removed": "-", "changed": "~"}


@click.command(short_help="Publish a flow as a new version.")
@flow_file.argument
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@url_option
def publish(file: Path, as_json: bool, url: str) -> None:
    """Publish the flow in FILE (- is standard input) in a running service, under its own id.

    A new version is made if the newest one is not the same. Exits with 2 if the service refuses it: the
    flow is not valid, one of its golden cases fails, or somebody has published it in the meantime.
    """
    document = ExecutionRequest.of(read_json(_content(file))).document
    with Client(url) as client:
        newest = _published(client, _id_of(document), None)
        tag = None if newest is None else newest.tag
        published = client.publish(document, expected=tag)
    if as_json:
        body = told(published)
        output.show_json({name: body[name] for name in FlowVersion.__struct_fields__})
        return
    name = f"{published.id}, version {published.version}"
    output.show_text(f"no change: {name}" if published.tag == tag else f"published {name}")


@click.command(short_help="Show what two flows have otherwise.")
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@url_option
@click.pass_context
def diff(ctx: click.Context, /, before: str, after: str, as_json: bool, url: str) -> None:
    """Show what flow B has otherwise than flow A: tasks, conditions and ways between tasks.

    A and B are files, or published flows of a running service: ID for the newest version, ID@3 for the third.
    Exits with 0 if they are the same, 1 if they are not.
    """
    changes = difference(_flow(before, url), _flow(after, url))
    if as_json:
        output.show_json([each.to_json() for each in changes])
    else:
        output.show_table(("", "part", "name", "what"), [_row(each) for each in changes], empty="the same")
    ctx.exit(ExitCode.FAILED if changes else ExitCode.OK)


def _content(file: Path) -> bytes:
    return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()


def _id_of(document: Any) -> str:
    flow = document.get("flow", document)
    flow_id = flow.get("id") if isinstance(flow, dict) else None
    if not isinstance(flow_id, str) or not re.fullmatch(ID, flow_id):
        detail = "a flow that is published has an id"
        raise InvalidFlow(detail, [Problem("#/id", "required", detail)])
    return flow_id


def _flow(name: str, url: str) -> Flow:
    """The flow in a file of this name, or published under it."""
    if Path(name).is_file():
        document: Any = ExecutionRequest.of(read_json(Path(name).read_bytes())).document
        return FlowParser().parse(document)
    match = _NAMED.fullmatch(name)
    found = None
    if match is not None:
        with Client(url) as client:
            found = _published(client, match[1], int(match[2]) if match[2] else None)
    if found is None:
        raise click.UsageError(f"{name!r} is no file, and no flow that is published at {url}")
    return FlowParser().parse(found.flow)


def _published(client: Client, flow_id: str, version: int | None) -> PublishedFlow | None:
    with contextlib.suppress(FlowUnknown):
        return client.flow(flow_id, version)
    return None


def _row(change: Change) -> Sequence[str]:
    what = ""
    if change.kind == "changed" or change.part == "flow":
        told = f"{_short(change.before)} -> {_short(change.after)}"
        what = f"{change.member}: {told}" if change.member else told
    return _SIGNS[change.kind], change.part, change.name, what


def _short(value: Any) -> str:
    text = "nothing" if value is None else orjson.dumps(value).decode()
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "..."

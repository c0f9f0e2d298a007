"""The command line's door: which commands there are, and how it ends when something goes wrong.

The modules of the commands are imported only when called, since they bring the whole engine with them;
`flow-manager --help` needs none.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import click

from flow_manager import __version__
from flow_manager.cli import output
from flow_manager.cli.exits import ExitCode, exit_code_of
from flow_manager.errors import FlowManagerError


class Place(NamedTuple):
    """Where a command is (`module:name`), and what it does in one line."""

    path: str
    line: str


COMMANDS: Final[Mapping[str, Place]] = MappingProxyType(
    {
        "serve": Place("flow_manager.cli.serve:serve", "Start the service."),
        "run": Place("flow_manager.cli.run:run", "Execute a flow here and now, without a server."),
        "validate": Place(
            "flow_manager.cli.documents:validate", "Check a flow and show every problem in it."
        ),
        "schema": Place("flow_manager.cli.documents:schema", "Print the JSON Schema of flow documents."),
        "graph": Place("flow_manager.cli.documents:graph", "Draw a flow as Mermaid or DOT text."),
        "simulate": Place(
            "flow_manager.cli.simulation:simulate_flow", "Run a flow with mocks in place of its tasks."
        ),
        "test": Place("flow_manager.cli.simulation:test_flows", "Run the golden cases of flows."),
        "whatif": Place(
            "flow_manager.cli.whatif:what_if", "Hold an edited flow against recorded executions."
        ),
        "publish": Place("flow_manager.cli.publishing:publish", "Publish a flow as a new version."),
        "diff": Place("flow_manager.cli.publishing:diff", "Show what two flows have otherwise."),
        "tasks": Place("flow_manager.cli.tasks:tasks", "List the registered task types."),
        "list": Place("flow_manager.cli.listing:list_executions", "List executions, the newest first."),
        "show": Place("flow_manager.cli.executions:show", "Show one execution and its task runs."),
        "tail": Place("flow_manager.cli.tail:tail", "Follow an execution until it has ended."),
        "why": Place("flow_manager.cli.executions:why", "Say why an execution is not moving."),
        "schedule": Place("flow_manager.cli.schedule:schedule", "Start flows by the clock."),
        "cancel": Place("flow_manager.cli.sending:cancel", "Ask an execution to end."),
        "pause": Place("flow_manager.cli.sending:pause", "Hold an execution."),
        "resume": Place("flow_manager.cli.sending:resume", "Let a paused execution go on."),
        "retry": Place("flow_manager.cli.sending:retry", "Have a failed task run go on."),
        "rerun": Place("flow_manager.cli.sending:rerun", "Go on at another task."),
        "skip": Place("flow_manager.cli.sending:skip", "Give the result of the task that waits."),
        "fork": Place("flow_manager.cli.sending:fork", "Start another execution with the results so far."),
        "signal": Place("flow_manager.cli.sending:signal", "Send a signal to an execution."),
        "export": Place(
            "flow_manager.cli.capsules:export", "Write an execution to a file, to be replayed elsewhere."
        ),
        "replay": Place(
            "flow_manager.cli.capsules:replay_capsule", "Replay an exported execution, with edits."
        ),
        "db": Place(
            "flow_manager.cli.database:database", "Back up, restore, prune and upgrade the database."
        ),
        "doctor": Place("flow_manager.cli.executions:doctor", "Check the stored executions."),
    }
)


class LazyGroup(click.Group):
    """A group that knows its commands by name and one line, and imports the one that is called.

    Help and suggestions are made from stand-ins; `resolve_command` puts the real command in place.
    """

    def __init__(self, *arguments: Any, places: Mapping[str, Place], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._places = places
        for name, place in places.items():
            self.add_command(click.Command(name, short_help=place.line))

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(self._places)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, stand_in, rest = super().resolve_command(ctx, args)
        if name is None or stand_in is None:
            return name, stand_in, rest
        module, _, attribute = self._places[name].path.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return name, command, rest

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FlowManagerError as error:
            output.show_refusal(error)
            ctx.exit(exit_code_of(error))
        except KeyboardInterrupt:
            output.show_error("interrupted")
            ctx.exit(ExitCode.INTERRUPTED)
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of our output left; click ends quietly
                raise
            output.show_error(str(error))
            ctx.exit(ExitCode.IO_ERROR)


@click.group(
    cls=LazyGroup,
    places=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: " + ", ".join(f"{code.value} {code.meaning}" for code in ExitCode) + ".",
)
@click.version_option(__version__, prog_name="flow-manager")
def cli() -> None:
    """Runs flows: JSON documents of tasks and conditions, one durable step after another."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line with these arguments, or those of the process, and exit with its code."""
    cli.main(args=arguments, prog_name="flow-manager")

"""The commands of operators, typed wrong: each answers in words and with its exit code, as
`docs/reference/command-line.md` says, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from click.testing import CliRunner, Result

from flow_manager.cli.exits import ExitCode
from flow_manager.cli.main import COMMANDS, cli
from tests.support.documents import document, task
from tests.support.service import Service

NOBODY = "0198c0de-0000-7000-8000-000000000001"
NOT_THERE = "http://127.0.0.1:9"
NO_TEXT = "caf\udce9"
"""A text of Latin-1, as a shell hands it over where texts are UTF-8."""

SENDING = {
    "cancel": (),
    "pause": (),
    "resume": (),
    "retry": (),
    "rerun": ("task1",),
    "skip": (),
    "fork": (),
    "signal": ("go",),
}
"""What each command takes after the id."""
READING = ("show", "why", "tail")


class Operator:
    """Types commands. `ENDED` and `WAITS` stand for the ids of two executions, `DATABASE` for the file."""

    def __init__(self, service: Service) -> None:
        self.url = str(service.client.base_url)
        ended = service.execute(document(task("nothing"))).json()["execution_id"]
        waits = service.execute(document(task("signal", {"name": "go"})), "respond-async").json()
        service.await_status(waits["execution_id"], "waiting")
        self.places = {
            "ENDED": ended,
            "WAITS": waits["execution_id"],
            "NOBODY": NOBODY,
            "DATABASE": str(service.database),
        }

    def type(self, words: Sequence[str], url: str | None = None) -> Result:
        """At the address of the service, unless another is given or none is wanted (an empty one)."""
        typed = [self.places.get(word, word) for word in words]
        address = self.url if url is None else url
        more = ["--url", address] if address else []
        return CliRunner().invoke(cli, [*typed, *more], prog_name="flow-manager")


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    with Service(tmp_path_factory.mktemp("typed")) as service:
        operator = Operator(service)
        yield operator
        assert service.client.get(f"/v1/executions/{operator.places['WAITS']}").json()["status"] == "waiting"
        assert service.violations() == []


def told(result: Result, code: ExitCode, said: str) -> None:
    assert isinstance(result.exception, SystemExit), result.exception
    assert (result.exit_code, result.stdout) == (code, "")
    first, *more = result.stderr.splitlines()
    if first.startswith("Usage: "):
        first = more[-1].replace("Error: ", "error: ", 1)
    assert first.startswith("error: ")
    assert said in result.stderr


def test_the_table_has_every_command_that_takes_an_execution() -> None:
    sent = {name for name, place in COMMANDS.items() if ":" in place.path and "cli.sending" in place.path}

    assert sent == set(SENDING)


@pytest.mark.parametrize("command", [*SENDING, *READING])
@pytest.mark.parametrize(
    ("words", "url", "code", "said"),
    [
        ([], None, ExitCode.INVALID, "Missing argument 'ID'"),
        (["nonsense", "..."], None, ExitCode.INVALID, "an execution is named by a UUID, and this is none"),
        ([NO_TEXT, "..."], None, ExitCode.INVALID, "an execution is named by a UUID, and this is none"),
        (["NOBODY", "..."], None, ExitCode.INVALID, f"no execution has the id '{NOBODY}'"),
        (["NOBODY", "...", "surplus"], None, ExitCode.INVALID, "unexpected extra argument (surplus)"),
        (["NOBODY", "...", "--nope"], None, ExitCode.INVALID, "No such option '--nope'"),
        (["NOBODY", "..."], NOT_THERE, ExitCode.UNAVAILABLE, f"{NOT_THERE} does not answer: "),
        (["NOBODY", "..."], "nonsense", ExitCode.INVALID, "'nonsense' is no address of a service"),
        (["NOBODY", "..."], "http://[::1", ExitCode.INVALID, "is no address of a service"),
        (["NOBODY", "..."], "http://h:port", ExitCode.INVALID, "is no address of a service"),
        (["NOBODY", "..."], "http://h:99999", ExitCode.INVALID, "is no address of a service"),
        (["NOBODY", "..."], f"http://{NO_TEXT}", ExitCode.INVALID, "is no address of a service"),
        (["NOBODY", "..."], f"http://{'x' * 300}", ExitCode.INVALID, "is no address of a service"),
    ],
)
def test_what_no_command_can_work_with(
    operator: Operator, command: str, words: list[str], url: str | None, code: ExitCode, said: str
) -> None:
    more = [each for word in words for each in (SENDING.get(command, ()) if word == "..." else [word])]

    told(operator.type([command, *more], url), code, said)


@pytest.mark.parametrize("command", SENDING)
def test_what_is_sent_goes_to_a_service_and_not_to_a_file(operator: Operator, command: str) -> None:
    result = operator.type([command, "NOBODY", *SENDING[command], "--database", "DATABASE"])

    told(result, ExitCode.INVALID, "No such option '--database'")


@pytest.mark.parametrize("command", READING)
@pytest.mark.parametrize(
    ("options", "url", "code", "said"),
    [
        (["--database", "DATABASE"], None, ExitCode.INVALID, "give either --url or --database"),
        (["--database", "DATABASE"], "", ExitCode.INVALID, f"no execution has the id '{NOBODY}'"),
        (["--database", "no.db"], "", ExitCode.IO_ERROR, "there is no database at "),
    ],
)
def test_what_is_read_has_one_source(
    operator: Operator, command: str, options: list[str], url: str | None, code: ExitCode, said: str
) -> None:
    told(operator.type([command, "NOBODY", *options], url), code, said)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("cancel ENDED", "the execution has ended; nothing was sent"),
        ("pause ENDED", "the execution has ended"),
        ("resume ENDED", "the execution is not paused"),
        ("resume WAITS", "the execution is not paused"),
        ("retry ENDED", "there is nothing to retry"),
        ("retry WAITS", "no task has failed that could be retried"),
        ("skip ENDED", "the execution has ended; use rerun"),
        ("rerun ENDED nowhere", "has no task 'nowhere'"),
        ("rerun WAITS nowhere", "has no task 'nowhere'"),
        ("fork ENDED --from-task nowhere", "has no task 'nowhere'"),
        ("signal WAITS stop", "waits for a signal named 'stop'"),
    ],
)
def test_what_the_execution_cannot_do_now(operator: Operator, line: str, said: str) -> None:
    told(operator.type(line.split()), ExitCode.INVALID, said)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rerun", "ENDED", "a b"], "#/from_task: a name has up to 128 letters"),
        (["rerun", "ENDED", NO_TEXT], "is no text"),
        (["rerun", "ENDED", "task1", "--input", "{"], "Invalid value for '--input': the text is not JSON"),
        (["rerun", "ENDED", "task1", "--input", "[]"], "#/input: this must be an object"),
        (["rerun", "ENDED", "task1", "--result", "@none"], "'--result': the file 'none' cannot be read"),
        (["rerun", "ENDED", "task1", "--result", "@/"], "'--result': the file '/' cannot be read"),
        (["skip", "WAITS", "--outcome", "good"], "Invalid value for '--outcome'"),
        (["skip", "WAITS", "--data", "NaN"], "Invalid value for '--data': the text is not JSON"),
        (["fork", "ENDED", "--input", "3"], "#/input: this must be an object"),
        (["fork", "ENDED", "--from-task", NO_TEXT], "is no text"),
        (
            ["signal", "WAITS", "go", "--payload", NO_TEXT],
            "Invalid value for '--payload': the text is not JSON",
        ),
        (["signal", "WAITS", "go", "--payload", "@none"], "'--payload': the file 'none' cannot be read"),
        (["signal", "WAITS", "go", "--by", "a\nb"], "#/by: control characters are not allowed here"),
        (["pause", "WAITS", "--reason", "x" * 257], "#/reason: at most 256 characters are allowed"),
        (["cancel", "WAITS", "--reason", NO_TEXT], "is no text"),
        (["list", "--q", NO_TEXT], "--q: one line of 1 to 256 characters"),
        (["list", "--label", f"a:{NO_TEXT}"], "--label: the name of a label, a colon, and its value"),
        (["list", "--cursor", NO_TEXT], "is no text"),
    ],
)
def test_what_an_option_cannot_be(operator: Operator, words: list[str], said: str) -> None:
    told(operator.type(words), ExitCode.INVALID, said)

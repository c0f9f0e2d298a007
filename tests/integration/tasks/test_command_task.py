"""The `command` task: what a program is given, what comes of it, and that nothing of it stays behind."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from flow_manager.core.results import TaskError
from flow_manager.ports.worker import AttemptResult
from flow_manager.tasks.builtin import program_run
from flow_manager.tasks.builtin.command import MOST_OUTPUT, command_task
from flow_manager.tasks.builtin.command_input import CommandInput
from flow_manager.tasks.builtin.programs import parse_programs
from flow_manager.tasks.builtin.variables import parse_variables
from flow_manager.tasks.context import Cancellation, TaskContext
from flow_manager.tasks.outcome import from_return
from tests.support.orders import order

PROGRAMS = parse_programs([f"python={sys.executable}", "/bin/sh"])
VARIABLES = parse_variables(["COLOUR", "SIZE"])


async def call(task_input: dict[str, Any]) -> AttemptResult:
    context = TaskContext(order("command", task_input), Cancellation())
    return from_return(await command_task(PROGRAMS, VARIABLES)().execute(context), 1 << 20)


def run(program: str, **more: Any) -> AttemptResult:
    return asyncio.run(call({"program": program, **more}))


def python(text: str, **more: Any) -> AttemptResult:
    return run("python", arguments=["-c", text, *more.pop("arguments", [])], **more)


def error_of(result: AttemptResult) -> TaskError:
    assert result.outcome == "failure"
    assert result.error is not None
    return result.error


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def is_gone(pid: int) -> bool:
    until = time.monotonic() + 5
    while is_alive(pid) and time.monotonic() < until:
        time.sleep(0.01)
    return not is_alive(pid)


def pid_in(path: Path) -> int:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if path.exists() and path.read_text().endswith("\n"):
            return int(path.read_text())
        time.sleep(0.01)
    raise AssertionError(f"nobody wrote {path}")


# -- runs that succeed


def test_what_a_program_writes_and_how_it_exits_is_the_result() -> None:
    result = python("import sys; print('out \u00fc'); print('err', file=sys.stderr)")

    assert result.outcome == "success"
    assert result.data == {"exit_code": 0, "stdout": "out \u00fc\n", "stderr": "err\n"}


def test_arguments_are_not_read_by_a_shell() -> None:
    arguments = ["$(id); `id` | & > * ~ 'a' \"b\"", "", "-x", "\u00fc"]

    result = python("import sys, json; print(json.dumps(sys.argv[1:]))", arguments=arguments)

    assert result.data["stdout"] == '["$(id); `id` | & > * ~ \'a\' \\"b\\"", "", "-x", "\\u00fc"]\n'


def test_standard_input_is_given_and_ends() -> None:
    text = "\u00fc" * 100_000

    result = python("import sys; print(len(sys.stdin.read()))", stdin=text)

    assert result.data["stdout"] == "100000\n"
    assert python("import sys; print(repr(sys.stdin.read()))").data["stdout"] == "''\n"


def test_a_program_that_does_not_read_its_input_is_no_failure() -> None:
    assert python("print(1)", stdin="x" * 250_000).data["stdout"] == "1\n"


def test_the_environment_holds_what_the_author_gives_and_nothing_of_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "hunter2")

    result = run("sh", arguments=["-c", "env"], environment={"COLOUR": "red"})

    variables = dict(line.split("=", 1) for line in result.data["stdout"].splitlines())
    assert {name: variables[name] for name in ("COLOUR", "LANG", "PATH")} == {
        "COLOUR": "red",
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
    }
    assert "hunter2" not in result.data["stdout"]


def test_a_program_runs_in_a_session_and_a_folder_of_its_own() -> None:
    result = python("import os; print(os.getsid(0) == os.getpid(), os.getcwd())")

    assert result.data["stdout"] == "True /\n"


def test_what_is_no_text_is_replaced() -> None:
    result = python(r"import os; os.write(1, b'a\xff\0b')")

    assert result.data["stdout"] == "a\ufffd\ufffdb"


def test_another_exit_code_can_be_expected() -> None:
    result = python("raise SystemExit(3)", expect_exit=[0, 3])

    assert (result.outcome, result.data["exit_code"]) == ("success", 3)


# -- runs that fail


def test_an_unexpected_exit_code_is_a_failure_with_the_end_of_what_the_program_said() -> None:
    error = error_of(python("import sys; sys.stderr.write('x' * 5000 + 'why'); sys.exit(3)"))

    assert (error.code, error.retryable) == ("command.exit", True)
    assert error.message == "the program 'python' exited with 3"
    assert error.details["exit_code"] == 3
    assert len(error.details["stderr"]) == 2000
    assert error.details["stderr"].endswith("why")


def test_a_program_that_dies_of_a_signal_has_a_negative_exit_code() -> None:
    error = error_of(python("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"))

    assert error.details["exit_code"] == -11
    assert error.message == "the program 'python' was ended by signal 11"


def test_a_program_that_is_not_allowed_is_not_run() -> None:
    for name in ("rm", "/bin/sh", "../sh", ""):
        error = error_of(run(name))
        assert (error.code, error.retryable) == ("command.not_allowed", False)


@pytest.mark.parametrize("kind", ["missing", "not executable", "no program", "no interpreter"])
def test_an_allowed_program_that_cannot_be_run_any_more_is_told(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "program"
    if kind != "missing":
        path.write_text("#!/nowhere/sh\n" if kind == "no interpreter" else "\x7fELF")
        path.chmod(0o644 if kind == "not executable" else 0o755)
    task = command_task({"gone": str(path)})
    context = TaskContext(order("command", {"program": "gone"}), Cancellation())

    error = error_of(from_return(asyncio.run(task().execute(context)), 1 << 20))

    assert (error.code, error.retryable) == ("command.not_found", False)


def test_arguments_that_the_system_does_not_take_are_told() -> None:
    error = error_of(python("", arguments=["x" * 250_000]))

    assert (error.code, error.retryable) == ("command.not_started", False)
    assert "Argument list too long" in error.message


def test_an_input_that_does_not_fit_when_it_has_its_values_is_told() -> None:
    error = error_of(run("python", environment={"A=B": "x"}))

    assert (error.code, error.retryable) == ("command.bad_input", False)


@pytest.mark.parametrize("name", ["LD_PRELOAD", "PATH", "LANG", "colour", "TZ"])
def test_a_variable_that_is_not_allowed_is_not_given_to_a_program(tmp_path: Path, name: str) -> None:
    noted = tmp_path / "noted"
    arguments = ["-c", f"echo run > {noted}"]

    error = error_of(run("sh", arguments=arguments, environment={"COLOUR": "red", name: "x", "zone": "x"}))

    assert (error.code, error.retryable) == ("command.not_allowed", False)
    assert error.message == f"FLOW_MANAGER_COMMAND_VARIABLES does not allow a flow to set '{name}, zone'"
    assert not noted.exists()


def test_without_a_list_of_variables_a_flow_may_set_none() -> None:
    context = TaskContext(order("command", {"program": "sh", "environment": {"A": "x"}}), Cancellation())

    error = error_of(from_return(asyncio.run(command_task(PROGRAMS)().execute(context)), 1 << 20))

    assert error.code == "command.not_allowed"


@pytest.mark.parametrize("stream", [1, 2])
def test_a_program_that_writes_without_end_is_killed(stream: int) -> None:
    began = time.monotonic()

    error = error_of(python(f"import os\nwhile True: os.write({stream}, b'x' * 65536)"))

    assert (error.code, error.retryable) == ("command.too_large", False)
    assert time.monotonic() - began < 10


def test_output_up_to_the_limit_is_kept() -> None:
    result = python(f"import os; os.write(1, b'x' * {MOST_OUTPUT})")

    assert len(result.data["stdout"]) == MOST_OUTPUT
    assert error_of(python(f"import os; os.write(1, b'x' * {MOST_OUTPUT + 1})")).code == "command.too_large"


# -- nothing stays behind


@pytest.mark.parametrize("way", ["cancelled", "too large", "ended"])
def test_everything_that_a_program_has_started_ends_with_it(tmp_path: Path, way: str) -> None:
    noted = tmp_path / "pid"
    after = {"cancelled": "sleep 60", "too large": "yes", "ended": "exit 0"}[way]
    script = f"sleep 60 & echo $! > {noted}; {after}"

    async def scenario() -> None:
        running = asyncio.ensure_future(call({"program": "sh", "arguments": ["-c", script]}))
        await asyncio.to_thread(pid_in, noted)
        if way == "cancelled":
            running.cancel()
        await asyncio.wait((running,), timeout=10)
        assert running.done()
        assert running.cancelled() is (way == "cancelled")

    asyncio.run(scenario())

    assert is_gone(pid_in(noted))


def test_a_program_left_in_a_session_of_its_own_does_not_hold_the_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program_run, "LEFTOVER_SECONDS", 0.2)
    noted = tmp_path / "pid"
    text = (
        "import subprocess, sys; left = subprocess.Popen(['/bin/sleep', '60'], start_new_session=True); "
        f"open({str(noted)!r}, 'w').write(f'{{left.pid}}\\n'); print('over')"
    )
    try:
        began = time.monotonic()
        result = python(text)
        assert result.data["stdout"] == "over\n"
        assert time.monotonic() - began < 5
    finally:
        os.kill(pid_in(noted), 9)


def test_many_programs_run_at_once() -> None:
    async def scenario() -> None:
        results = await asyncio.gather(
            *(call({"program": "sh", "arguments": ["-c", f"sleep 0.2; echo {n}"]}) for n in range(50))
        )
        assert [result.data["stdout"] for result in results] == [f"{n}\n" for n in range(50)]

    asyncio.run(scenario())


# -- the input and the programs


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"environment": {"A=B": "x"}}, "bad-name"),
        ({"environment": {"": "x"}}, "bad-name"),
        ({"environment": {"A": "x\0"}}, "nul-character"),
        ({"arguments": ["x\0"]}, "nul-character"),
        ({"arguments": "x"}, "list_type"),
        ({"expect_exit": [256]}, "less_than_equal"),
        ({"expect_exit": []}, "too_short"),
        ({"shell": True}, "extra_forbidden"),
        ({"program": 1}, "string_type"),
    ],
)
def test_a_field_that_does_not_fit_is_told(given: dict[str, Any], code: str) -> None:
    with pytest.raises(ValueError, match="command") as caught:
        CommandInput.model_validate({"program": "python", **given})

    errors: Any = caught.value
    assert [each["type"] for each in errors.errors()] == [code]


def test_programs_are_called_by_their_last_part_or_by_a_name() -> None:
    assert dict(parse_programs(["/bin/sh", "shell=/bin/sh", "/bin/sh"])) == {
        "sh": "/bin/sh",
        "shell": "/bin/sh",
    }


@pytest.mark.parametrize(
    "entries",
    [["sh"], ["./sh"], [""], ["=/bin/sh"], ["a b=/bin/sh"], ["/bin/nothing-here"], ["/bin"], ["/etc/passwd"],
     ["sh=/bin/sh", "sh=/bin/ls"], ["/bin/sh\0"]],
)  # fmt: skip
def test_an_entry_that_is_no_program_is_refused(entries: list[str]) -> None:
    with pytest.raises(ValueError, match="absolute paths of programs"):
        parse_programs(entries)


def test_variables_are_called_by_their_names() -> None:
    assert parse_variables(["TZ", "LC_ALL", "_x1", "TZ"]) == {"TZ", "LC_ALL", "_x1"}
    assert parse_variables([]) == frozenset()


@pytest.mark.parametrize("entry", ["", "A=B", "1A", "A B", "A*", "A-B", "\u00c4", "A\n", "x" * 129])
def test_an_entry_that_is_no_variable_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="names of variables, as in 'TZ'"):
        parse_variables(["TZ", entry])

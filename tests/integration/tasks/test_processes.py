"""F08, F14, F17 and F19 for bodies in processes of their own, from a loop that is not on the main thread."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from flow_manager.ports.worker import AttemptResult
from flow_manager.tasks.processes import ProcessPool
from flow_manager.tasks.registry import REGISTRY, TaskRegistry
from flow_manager.tasks.worker import TaskWorker
from tests.support import process_tasks
from tests.support.orders import ended, order
from tests.support.process_tasks import UNSTORABLE

ROOT = Path(__file__).parents[3]
MOST = 256 << 10

T = TypeVar("T")


class Bench:
    """A worker with one process, on a loop in a thread of its own, as the engine has it."""

    def __init__(self, registry: TaskRegistry = REGISTRY, interpreter: str = sys.executable) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.pool = ProcessPool(registry, size=1, most_result=MOST, interpreter=interpreter)
        self.worker = TaskWorker(registry, threads=1, processes=self.pool, most_result=MOST)

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def begin(
        self, task_type: str, task_input: dict[str, Any] | None = None, **more: Any
    ) -> Future[AttemptResult]:
        async def run() -> AttemptResult:
            return await self.worker.run(order(task_type, task_input, **more))

        return self.start(run())

    def run(self, task_type: str, task_input: dict[str, Any] | None = None, **more: Any) -> AttemptResult:
        return self.begin(task_type, task_input, **more).result(30)

    def pid(self) -> int:
        return int(self.run("process.answer").data["pid"])

    def close(self) -> None:
        self.start(self.worker.stop()).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


@pytest.fixture
def own_bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def eventually(true: Callable[[], bool], within: float = 5.0) -> bool:
    until = time.monotonic() + within
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def hang(bench: Bench, path: Path, **more: Any) -> tuple[Future[AttemptResult], list[int]]:
    """A body that hangs, and the processes that hang with it."""
    running = bench.begin("process.hang", {"path": str(path), "deaf": more.pop("deaf", False)}, **more)
    assert eventually(path.exists)
    return running, [int(pid) for pid in path.read_text().split()]


def test_a_body_in_a_process_is_given_what_every_body_is_given(bench: Bench) -> None:
    result = bench.run("process.answer", {"a": 1}, earlier={"fetch": ended("fetch", 1, {"b": [2.5]})})

    assert result.outcome == "success"
    assert result.data["pid"] != os.getpid()
    assert result.data["input"] == {"order": 7}
    assert result.data["task_input"] == {"a": 1}
    assert result.data["earlier"] == {"fetch": {"b": [2.5]}}
    assert result.data["path"] == [path for path in sys.path if path]


def test_an_async_body_may_have_a_process_too(bench: Bench) -> None:
    assert bench.run("process.async").outcome == "success"


def test_a_child_is_used_again(bench: Bench) -> None:
    assert len({bench.pid() for _ in range(20)}) == 1


@pytest.mark.parametrize(
    ("how", "manner"),
    [
        ("os._exit", "with exit code 7"),
        ("SIGSEGV", "by signal SIGSEGV"),
        ("SIGKILL", "by signal SIGKILL"),
        ("sys.exit", "with exit code 3"),
        ("sys.exit with words", "with exit code 1"),
        ("close", "by signal SIGKILL"),
    ],
)
def test_a_body_that_ends_its_process_is_lost_within_two_seconds(bench: Bench, how: str, manner: str) -> None:
    before = bench.pid()
    began = time.monotonic()
    result = bench.run("process.end", {"how": how})

    assert time.monotonic() - began < 2.0
    assert (result.outcome, result.is_lost) == ("unknown", True)
    assert result.error is not None
    assert result.error.code == "task.lost"
    assert result.message == f"the process of the task body ended {manner}"
    assert bench.pid() != before


def test_a_fork_that_a_body_leaves_behind_does_not_hide_its_end(bench: Bench) -> None:
    began = time.monotonic()

    assert bench.run("process.fork").is_lost
    assert time.monotonic() - began < 2.0


@pytest.mark.parametrize("what", ["KeyboardInterrupt", "GeneratorExit"])
def test_a_body_that_raises_what_it_should_not_has_failed_and_the_child_goes_on(
    bench: Bench, what: str
) -> None:
    before = bench.pid()

    result = bench.run("process.raise", {"what": what})

    assert (result.outcome, result.message) == ("failure", f"the task body raised {what}")
    assert bench.pid() == before


def test_what_a_body_raises_is_the_message_of_its_failure(
    own_bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "flow_manager.task")

    result = own_bench.run("process.raise", {"what": "ValueError", "words": ["no such order"]})

    assert (result.outcome, result.message) == ("failure", "no such order")
    assert "raise {" in caplog.text


@pytest.mark.parametrize(("what", "code", "pointer"), UNSTORABLE)
def test_a_result_that_cannot_be_stored_is_a_failure_that_says_where(
    bench: Bench, what: str, code: str, pointer: str
) -> None:
    result = bench.run("process.return", {"what": what})

    assert result.outcome == "failure"
    assert result.error is not None
    assert (result.error.code, result.error.retryable) == (code, False)
    assert result.error.details == {"pointer": pointer}


def test_a_result_that_is_far_too_large_stays_in_the_child(bench: Bench) -> None:
    bench.pid()
    here = psutil.Process()
    before, peak, watching = here.memory_info().rss, 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not watching.wait(0.005):
            peak = max(peak, here.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for what in ("huge", "many", "deep"):
        bench.run("process.return", {"what": what})
    watching.set()
    watcher.join()

    assert peak - before < 64 << 20


@pytest.mark.parametrize("garbage", ["7fffffff", "00000003" + b"abc".hex(), "00000002" + b"{}".hex()])
def test_a_body_that_spoils_its_result_has_failed_for_good(bench: Bench, garbage: str) -> None:
    result = bench.run("process.babble", {"bytes": garbage})

    assert result.outcome == "failure"
    assert result.error is not None
    assert (result.error.code, result.error.retryable) == ("task.output_invalid", False)
    assert bench.run("process.answer").outcome == "success"


def test_lines_of_the_log_come_out_where_all_others_do(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    assert bench.run("process.log", attempt=2).outcome == "success"

    [record] = [each for each in caplog.records if each.name == "flow_manager.task"]
    assert record.getMessage() == "\\ud800 is odd"
    fields = {name: record.__dict__[name] for name in ("execution_id", "task", "attempt", "shelf")}
    assert fields == {"execution_id": "e1", "task": "charge", "attempt": 2, "shelf": 7}


def test_a_body_is_told_at_its_timeout_and_its_result_does_not_wait_for_its_end(
    own_bench: Bench, tmp_path: Path
) -> None:
    own_bench.pid()
    began = time.monotonic()
    running, pids = hang(own_bench, tmp_path / "pids", timeout=0.3)
    result = running.result(5)

    assert 0.3 <= time.monotonic() - began < 1.5
    assert (result.outcome, result.message) == ("timeout", "the attempt did not end within 0.3 s")
    assert eventually(lambda: not any(map(is_running, pids)), 2.0)
    assert (tmp_path / "pids.cancelled").read_text() == "True"
    assert own_bench.run("process.answer").outcome == "success"


def test_a_body_that_ignores_its_timeout_is_killed_and_its_place_is_free_again(
    own_bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flow_manager.tasks.processes.KILL_PATIENCE", 0.5)
    running, pids = hang(own_bench, tmp_path / "pids", timeout=0.2, deaf=True)
    assert running.result(5).outcome == "timeout"
    assert is_running(pids[0])

    assert own_bench.run("process.answer").outcome == "success"
    assert not any(map(is_running, pids))


def test_the_time_of_an_attempt_starts_when_it_has_a_child(own_bench: Bench, tmp_path: Path) -> None:
    own_bench.pid()
    first, _ = hang(own_bench, tmp_path / "pids", timeout=0.6)
    second = own_bench.begin("process.answer", timeout=0.3)

    assert first.result(5).outcome == "timeout"
    assert second.result(5).outcome == "success"


def test_a_cancelled_attempt_kills_its_child_and_frees_its_place(own_bench: Bench, tmp_path: Path) -> None:
    running, pids = hang(own_bench, tmp_path / "pids", deaf=True)

    assert running.cancel()

    assert eventually(lambda: not any(map(is_running, pids)), 2.0)
    assert own_bench.run("process.answer").outcome == "success"


def test_an_attempt_that_is_cancelled_in_the_queue_never_starts(own_bench: Bench, tmp_path: Path) -> None:
    first, _ = hang(own_bench, tmp_path / "first")
    second = own_bench.begin("process.hang", {"path": str(tmp_path / "second")})

    assert second.cancel()
    assert first.cancel()

    assert own_bench.run("process.answer").outcome == "success"
    assert not (tmp_path / "second").exists()


def test_a_child_that_died_while_it_waited_is_not_missed(own_bench: Bench) -> None:
    pid = own_bench.pid()
    psutil.Process(pid).kill()
    assert eventually(lambda: not is_running(pid))

    assert own_bench.pid() != pid


def test_a_child_is_replaced_when_it_is_old(own_bench: Bench) -> None:
    before = own_bench.pid()
    for _ in range(999):
        assert own_bench.run("process.answer").outcome == "success"

    assert own_bench.pid() != before


@pytest.mark.parametrize("interpreter", ["/nonexistent/python", "/bin/false", "/bin/true"])
def test_a_child_that_cannot_start_is_a_failed_attempt(interpreter: str) -> None:
    bench = Bench(interpreter=interpreter)
    try:
        result = bench.run("process.answer")
    finally:
        bench.close()

    assert result.outcome == "failure"
    assert result.error is not None
    assert result.error.code == "task.not_started"


def test_a_class_that_was_registered_elsewhere_is_found_by_its_name() -> None:
    registry = TaskRegistry()
    registry.register("mine", process_tasks.Unregistered)
    bench = Bench(registry)
    try:
        assert bench.run("mine").data["pid"] != os.getpid()
    finally:
        bench.close()


def test_a_class_that_a_child_cannot_find_is_a_failed_attempt() -> None:
    registry = TaskRegistry()
    registry.register("hidden", process_tasks.make_hidden())
    bench = Bench(registry)
    try:
        result = bench.run("hidden")
    finally:
        bench.close()

    assert result.outcome == "failure"
    assert "make_hidden" in result.message


def test_stopping_ends_every_child_and_leaves_nothing_behind(tmp_path: Path) -> None:
    bench = Bench()
    idle = bench.pid()
    running, pids = hang(bench, tmp_path / "pids", deaf=True)

    bench.close()

    assert running.cancelled()
    assert not any(map(is_running, [idle, *pids]))


SERVICE = """
import asyncio, sys
from flow_manager.tasks.discovery import import_task_modules
from flow_manager.tasks.processes import ProcessPool
from flow_manager.tasks.registry import REGISTRY, register_task
from flow_manager.tasks.executor import TaskExecutor
from flow_manager.tasks.worker import TaskWorker
from tests.support.orders import order

@register_task("main.here")
class Here(TaskExecutor):
    isolation = "process"

    def execute(self, context):
        return {"module": type(self).__module__}

async def main(task_type, task_input):
    pool = ProcessPool(REGISTRY, size=1, most_result=1 << 18)
    worker = TaskWorker(REGISTRY, threads=1, processes=pool, most_result=1 << 18)
    result = await worker.run(order(task_type, task_input))
    await worker.stop()
    print(result.outcome, result.message, result.data)

if __name__ == "__main__":
    import_task_modules(sys.argv[1].split(","))
    asyncio.run(main(sys.argv[2], {"path": sys.argv[3]}))
"""


@pytest.fixture
def service(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Runs the file of a service of its own, in a folder that only the tests of today know."""
    (tmp_path / "service.py").write_text(SERVICE)

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "error", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)

    return start


def test_children_end_when_the_service_is_killed(
    service: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    path = tmp_path / "pids"
    process = service("service.py", "tests.support.process_tasks", "process.hang", str(path))
    assert eventually(path.exists, 20)
    pids = [int(pid) for pid in path.read_text().split()]

    process.kill()
    process.communicate()

    assert eventually(lambda: not any(map(is_running, pids)), 2.0)


@pytest.mark.parametrize("program", [("service.py",), ("-m", "service")])
def test_a_class_of_the_main_file_runs_in_a_child_too(
    service: Callable[..., subprocess.Popen[str]], program: tuple[str, ...]
) -> None:
    answer, _ = service(*program, "tests.support.process_tasks", "main.here", "").communicate(timeout=30)

    assert answer.startswith("success")


def test_a_class_of_a_module_in_the_current_folder_runs_in_a_child(
    service: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (tmp_path / "service.py").rename(folder / "service.py")
    (tmp_path / "shop.py").write_text(
        "from flow_manager.tasks.executor import TaskExecutor\n"
        "from flow_manager.tasks.registry import register_task\n"
        '@register_task("shop")\n'
        "class Shop(TaskExecutor):\n"
        '    isolation = "process"\n'
        "    def execute(self, context):\n"
        '        return {"shop": 1}\n'
    )

    answer, _ = service("elsewhere/service.py", "shop", "shop", "").communicate(timeout=30)

    assert answer == "success  {'shop': 1}\n"


def test_a_module_that_a_child_cannot_import_is_a_failed_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_once.py").write_text(
        "import os\n"
        "from tests.support.process_tasks import InProcess\n"
        f"if os.getpid() != {os.getpid()}: raise RuntimeError('not again')\n"
        "class Once(InProcess):\n"
        "    def execute(self, context): pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = TaskRegistry()
    registry.register("once", __import__("only_once").Once)
    bench = Bench(registry)
    try:
        result = bench.run("once")
    finally:
        bench.close()

    assert result.outcome == "failure"
    assert result.error is not None
    assert result.error.code == "task.not_started"
    assert "RuntimeError: not again" in result.message

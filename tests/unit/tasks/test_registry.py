from __future__ import annotations

import importlib
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from flow_manager.core.results import TaskExecutionResult, TaskStatus
from flow_manager.errors import TaskRegistrationError
from flow_manager.tasks.executor import TaskExecutor
from flow_manager.tasks.registry import REGISTRY, TaskRegistry, register_task

ROOT = Path(__file__).parents[3]

SNIPPET = """
from task_executor import TaskExecutor, register_task
from models import TaskExecutionResult, TaskStatus

@register_task("my_custom_task")
class MyCustomTask(TaskExecutor):
    def execute(self, context):
        # Your task logic here
        return TaskExecutionResult(
            task_name="my_custom_task",
            status=TaskStatus.SUCCESS,
            message="Task completed",
            data={"result": "data"}
        )
"""
"""The custom task of the brief, to the letter."""


class Charge(TaskExecutor):
    """Charges a card.

    At length."""

    def execute(self, context: Any) -> None:
        return None


class AsyncCharge(TaskExecutor):
    async def execute(self, context: Any) -> None:
        return None


class IsolatedCharge(Charge):
    isolation = "process"


def charge(context: Any) -> dict[str, Any]:
    return {}


async def charge_async(context: Any) -> dict[str, Any]:
    return {}


class NotATask:
    def execute(self, context: Any) -> None: ...


class WithoutExecute(TaskExecutor):
    pass


class WithoutContext(TaskExecutor):
    execute: Any = lambda self: None


class Yielding(TaskExecutor):
    def execute(self, context: Any) -> Any:
        yield 1


class WithArguments(Charge):
    def __init__(self, card: str) -> None:
        self.card = card


class OddlyIsolated(Charge):
    isolation: ClassVar[Any] = "proces"


class OddlyModelled(Charge):
    input_model: ClassVar[Any] = {"type": "object"}


Importer = Callable[[str, str], ModuleType]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Importer]:
    """Writes a module and imports it; its tasks are forgotten after the test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    known = set(REGISTRY)

    def make(name: str, text: str) -> ModuleType:
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield make
    for name in set(REGISTRY) - known:
        del REGISTRY._tasks[name]
    for name in [name for name, each in sys.modules.items() if _is_below(each, tmp_path)]:
        del sys.modules[name]


def _is_below(module: ModuleType, folder: Path) -> bool:
    return str(getattr(module, "__file__", None) or "").startswith(str(folder))


def definition(name: str, value: int = 1, called: str = "charge") -> str:
    return (
        "from flow_manager.tasks.registry import register_task\n\n"
        f'@register_task("{name}")\ndef {called}(context):\n    return {{"value": {value}}}\n'
    )


def test_the_custom_task_of_the_brief_works_as_it_is_written(module: Importer) -> None:
    module("my_custom_task", SNIPPET)

    body = REGISTRY["my_custom_task"].new_body()
    context: Any = None

    assert body(context) == TaskExecutionResult(
        "my_custom_task", TaskStatus.SUCCESS, "Task completed", {"result": "data"}
    )


@pytest.mark.parametrize(
    ("task", "runs"),
    [
        (Charge, "thread"),
        (AsyncCharge, "async"),
        (IsolatedCharge, "process"),
        (charge, "thread"),
        (charge_async, "async"),
        (lambda context: None, "thread"),
    ],
)
def test_what_a_task_is_made_of_says_where_it_runs(task: Callable[..., Any], runs: str) -> None:
    registry = TaskRegistry()

    registry.register("charge", task)

    assert registry["charge"].runs == runs
    assert registry.task_types()[0].origin.startswith(f"{__name__}:")


def test_a_class_gives_every_attempt_an_object_of_its_own() -> None:
    registry = TaskRegistry()
    registry.register("charge", Charge)

    bodies: list[Any] = [registry["charge"].new_body() for _ in range(2)]

    assert bodies[0].__self__ is not bodies[1].__self__


def test_a_task_type_tells_the_first_line_of_its_docstring_and_its_input_schema() -> None:
    class Order(BaseModel):
        amount: int

    class Modelled(Charge):
        """Charges a card.

        At length."""

        input_model = Order

    registry = TaskRegistry()
    registry.register("charge", Modelled)
    registry.register("a_plain_one", charge)

    plain, modelled = registry.task_types()

    assert (plain.name, plain.description, plain.input_schema) == ("a_plain_one", "", None)
    assert (modelled.name, modelled.description) == ("charge", "Charges a card.")
    assert modelled.input_schema is not None
    assert modelled.input_schema["required"] == ["amount"]
    assert registry.input_models() == {"a_plain_one": None, "charge": Order}


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (NotATask, "NotATask is not a task: let it inherit from TaskExecutor"),
        (WithoutExecute, "WithoutExecute is not a task yet: it lacks execute(self, context)"),
        (TaskExecutor, "TaskExecutor is not a task yet"),
        (WithoutContext, "WithoutContext.execute is not a task: it is called with one argument, the context"),
        (Yielding, "Yielding.execute is not a task: it yields"),
        (WithArguments, "WithArguments must be creatable without arguments"),
        (OddlyIsolated, "OddlyIsolated.isolation is 'proces'; did you mean 'process'?"),
        (OddlyModelled, "OddlyModelled.input_model is not a pydantic model"),
        (lambda: None, "is not a task: it is called with one argument"),
        (Charge(), "register the class Charge, not an object of it"),
        (7, "7 is not a task"),
        ("charge", "'charge' is not a task"),
        (None, "None is not a task"),
    ],
)
def test_what_is_not_a_task_is_refused_with_the_reason(task: Any, words: str) -> None:
    registry = TaskRegistry()

    with pytest.raises(TaskRegistrationError) as caught:
        registry.register("charge", task)

    assert words in str(caught.value)
    assert not registry


@pytest.mark.parametrize("name", ["", "1st", "a b", "a/b", "a" * 129, "tâche", "charge\n", "end", 7, None])
def test_a_bad_name_is_refused_before_anything_is_decorated(name: Any) -> None:
    with pytest.raises(TaskRegistrationError, match="is no name for a task"):
        register_task(name)


def test_a_decorator_without_a_name_says_what_it_lacks() -> None:
    bare: Any = register_task

    with pytest.raises(TaskRegistrationError, match=r'Charge needs a name: @register_task\("name"\)'):
        bare(Charge)


def test_a_name_is_registered_once() -> None:
    registry = TaskRegistry()
    registry.register("charge", charge)

    with pytest.raises(TaskRegistrationError) as caught:
        registry.register("charge", Charge)

    assert f"a task named 'charge' is registered already, by {__name__}:charge in {__file__}" in str(
        caught.value
    )
    assert registry["charge"].source.name == "charge"


def test_a_name_that_one_file_gives_twice_is_refused(module: Importer) -> None:
    with pytest.raises(TaskRegistrationError, match="'twice' is registered already, by two_alike:charge"):
        module("two_alike", definition("twice") + definition("twice"))


def test_the_same_definition_in_a_loop_is_refused() -> None:
    registry = TaskRegistry()

    def define() -> None:
        def task(context: Any) -> None: ...

        registry.register("looped", task)

    define()

    with pytest.raises(TaskRegistrationError, match="registered already"):
        define()


def test_a_module_that_is_reloaded_replaces_its_tasks(module: Importer, tmp_path: Path) -> None:
    shop = module("reloaded_shop", definition("reloaded", 1))
    (tmp_path / "reloaded_shop.py").write_text("# moved down\n\n" + definition("reloaded", 2))

    importlib.reload(shop)

    context: Any = None
    assert REGISTRY["reloaded"].new_body()(context) == {"value": 2}


def test_a_reload_takes_no_name_from_another_module(module: Importer, tmp_path: Path) -> None:
    module("first_shop", definition("claimed"))
    second = module("second_shop", definition("unclaimed"))
    (tmp_path / "second_shop.py").write_text(definition("claimed"))

    with pytest.raises(TaskRegistrationError, match="'claimed' is registered already, by first_shop:charge"):
        importlib.reload(second)


def test_a_file_that_is_imported_under_two_names_keeps_its_first_tasks_and_says_so(
    module: Importer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module("inner.shop", definition("double"))
    sys.path.insert(0, str(tmp_path / "inner"))
    try:
        importlib.import_module("shop")
    finally:
        sys.path.remove(str(tmp_path / "inner"))

    assert REGISTRY["double"].source.module == "inner.shop"
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "shop.py was imported twice, as 'inner.shop' and as 'shop'" in record.getMessage()


def test_the_main_file_may_be_imported_by_one_of_its_modules(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        definition("of_the_program") + "import part\nfrom flow_manager.tasks.registry import REGISTRY\n"
        "if __name__ == '__main__': print(*REGISTRY)\n"
    )
    (tmp_path / "part.py").write_text("import program\n")

    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == "of_the_program\n"
    assert "imported twice, as '__main__' and as 'program'" in done.stderr


def test_a_process_of_its_own_is_refused_to_what_was_typed_in() -> None:
    typed = (
        "from task_executor import TaskExecutor, register_task\n"
        "@register_task('typed')\n"
        "class Typed(TaskExecutor):\n"
        "    isolation = 'process'\n"
        "    def execute(self, context): pass\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", typed],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "cannot import what is typed into an interactive session: define it in a file" in done.stderr

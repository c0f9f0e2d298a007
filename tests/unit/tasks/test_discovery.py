from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from flow_manager.errors import TaskRegistrationError
from flow_manager.tasks import discovery
from flow_manager.tasks.discovery import ENTRY_POINTS, import_task_modules

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def no_announcements(monkeypatch: pytest.MonkeyPatch) -> None:
    announce(monkeypatch)


def announce(monkeypatch: pytest.MonkeyPatch, **entries: str) -> None:
    points = EntryPoints(EntryPoint(name, value, ENTRY_POINTS) for name, value in entries.items())
    monkeypatch.setattr(discovery, "entry_points", points.select)


def write(folder: Path, name: str, text: str = "") -> None:
    (folder / f"{name}.py").write_text(text)


def test_named_modules_are_imported_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "ordered_b", "print('b')")
    write(tmp_path, "ordered_a", "print('a')")
    monkeypatch.syspath_prepend(str(tmp_path))

    import_task_modules(["ordered_b", "ordered_a", "ordered_b"])

    assert capsys.readouterr().out == "b\na\n"


def test_modules_that_installed_packages_announce_are_imported_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "announced", "print('announced')")
    monkeypatch.syspath_prepend(str(tmp_path))
    announce(monkeypatch, shop="announced")

    import_task_modules([])

    assert capsys.readouterr().out == "announced\n"


def test_a_named_module_may_lie_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "lies_here")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)

    import_task_modules(["lies_here"])

    assert sys.path[-1] == str(tmp_path)


def test_a_file_in_the_current_folder_stands_in_for_no_other_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "pyclbr", "print('mine')")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.delitem(sys.modules, "pyclbr", raising=False)
    monkeypatch.chdir(tmp_path)

    import_task_modules(["pyclbr"])

    assert capsys.readouterr().out == ""


def test_without_named_modules_the_current_folder_is_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.chdir(tmp_path)

    import_task_modules([])

    assert str(tmp_path) not in sys.path


def test_the_current_folder_stays_out_where_python_was_told_so(tmp_path: Path) -> None:
    write(tmp_path, "lies_here")
    program = "from flow_manager.tasks.discovery import import_task_modules as f; f(['lies_here'])"

    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "No module named 'lies_here'" in done.stderr


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("def", "SyntaxError"),
        ("raise ValueError('no key')", "ValueError: no key"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named_with_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    write(tmp_path, "broken_shop", text)
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(TaskRegistrationError) as caught:
        import_task_modules(["broken_shop"])

    assert f"cannot import 'broken_shop' (named as a task module): {reason}" in str(caught.value)
    assert caught.value.__cause__ is not None


def test_a_package_that_announces_nothing_importable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    announce(monkeypatch, shop="not_there")

    with pytest.raises(TaskRegistrationError, match="announced by an installed package as 'shop'"):
        import_task_modules([])


def test_a_file_in_place_of_a_module_gets_the_name_of_the_module() -> None:
    with pytest.raises(TaskRegistrationError, match=r"name the module and not its file: tasks\.shop"):
        import_task_modules(["tasks/shop.py"])


def test_a_refused_registration_is_told_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        tmp_path,
        "misnamed",
        "from flow_manager.tasks.registry import register_task\n@register_task('a b')\ndef f(c): pass\n",
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(TaskRegistrationError, match="'a b' is no name for a task"):
        import_task_modules(["misnamed"])

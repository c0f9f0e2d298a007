"""What a workload measured, beside what it has to reach."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import apsw
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).with_name("results.json")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. `bare` is the limit that was measured beside it, in the same unit;
    `value` is held against `target`: at least or at most so much."""

    workload: str
    what: str
    measured: str
    bare: str
    value: float
    bound: Literal["at least", "at most"]
    target: float

    @property
    def is_reached(self) -> bool:
        return self.value >= self.target if self.bound == "at least" else self.value <= self.target


def show(figures: Sequence[Figure]) -> None:
    table = Table(title="Flow Manager benchmarks", title_justify="left")
    for heading in ("", "workload", "measured", "bare limit", "ratio or value", "target", ""):
        table.add_column(heading, overflow="fold")
    for each in figures:
        target = f"{'>=' if each.bound == 'at least' else '<='} {each.target:g}"
        verdict = "reached" if each.is_reached else "[bold red]SHORT[/]"
        table.add_row(
            each.workload, each.what, each.measured, each.bare, f"{each.value:.3g}", target, verdict
        )
    Console(width=140).print(table)


def save(figures: Sequence[Figure]) -> None:
    """Write the figures with what they were measured on."""
    machine = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
    }
    rows = [asdict(each) | {"reached": each.is_reached} for each in figures]
    RESULTS.write_text(json.dumps({"machine": machine, "figures": rows}, indent=2) + "\n", encoding="utf-8")

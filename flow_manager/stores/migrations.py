"""Migrations: numbered `.sql` files, applied in order, each in one transaction, never edited."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files

_FILE = re.compile(r"(\d{4})_(\w+)\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    sql: str


def load_migrations(package: str) -> list[Migration]:
    """The migrations of a store package, lowest number first."""
    found = []
    for file in files(package).joinpath("migrations").iterdir():
        matched = _FILE.fullmatch(file.name)
        if matched:
            found.append(Migration(int(matched[1]), matched[2], file.read_text(encoding="utf-8")))
    return sorted(found, key=lambda migration: migration.number)

"""Reading of target and board files: a TOML table with typed access and clear errors.

In goes a path; out come values of the asked type. Every mistake (no such file, broken TOML, a
missing, unknown or wrongly typed field) is an ``InputError`` that names the file and the field.
The reader assumes nothing about the fields: the loaders in ``target.py`` and ``board.py`` do.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

from utvm.support.errors import InputError
from utvm.support.text import printable


class Fields:
    """One TOML table that is taken apart field by field; ``finish`` refuses what was not asked."""

    def __init__(self, table: dict[str, object], where: str) -> None:
        self._rest = dict(table)
        self._where = where

    def text(self, name: str, default: str | None = None) -> str:
        """A string; required when there is no default."""
        value = self._take(name, default)
        if not isinstance(value, str):
            raise self._wrong(name, "a string", value)
        return value

    def choice(self, name: str, choices: Sequence[str], default: str | None = None) -> str:
        """A string out of ``choices``."""
        value = self.text(name, default)
        if value not in choices:
            raise self._wrong(name, f"one of {', '.join(filter(None, choices))}", value)
        return value

    def integer(self, name: str, default: int | None = None, *, multiple_of: int = 1) -> int:
        """A whole number from 0 up; required when there is no default."""
        value = self._take(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**32:
            raise self._wrong(name, "a whole number from 0 to 2^32-1", value)
        if value % multiple_of:
            raise self._wrong(name, f"a multiple of {multiple_of}", value)
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A number from 0 up, whole or not; required when there is no default."""
        value = self._take(name, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 2**32:
            raise self._wrong(name, "a number from 0 up", value)
        return float(value)

    def flag(self, name: str) -> bool:
        """True or false; false when the field is missing."""
        value = self._take(name, False)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false", value)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings, empty when the field is missing."""
        value = self._take(name, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(name, "a list of strings", value)
        return tuple(value)

    def table(self, name: str) -> Fields:
        """A required sub-table."""
        value = self._take(name, None)
        if not isinstance(value, dict):
            raise self._wrong(name, "a table", value)
        return Fields(value, f"{self._where}[{printable(name)}]")

    def optional_table(self, name: str) -> Fields | None:
        """A sub-table, or None where there is none."""
        return self.table(name) if name in self._rest else None

    def tables(self, name: str) -> tuple[Fields, ...]:
        """A list of sub-tables, empty when the field is missing."""
        value = self._take(name, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self._wrong(name, f"a list of tables, written [[{name}]]", value)
        return tuple(
            Fields(item, f"{self._where}[{printable(name)} {index}]")
            for index, item in enumerate(value)
        )

    def finish(self) -> None:
        """Refuse fields that nobody asked for: they are spelling mistakes."""
        for name in self._rest:
            raise InputError(f"unknown field '{printable(name)}'", where=self._where)

    def error(self, what: str, *, expected: str = "", found: str = "") -> InputError:
        """An error at this table, for rules that span several fields."""
        return InputError(what, where=self._where, expected=expected, found=printable(found))

    def _take(self, name: str, default: object) -> object:
        value = self._rest.pop(name, default)
        if value is None:
            raise InputError(f"field '{name}' is missing", where=self._where)
        return value

    def _wrong(self, name: str, expected: str, value: object) -> InputError:
        return self.error(f"field '{name}' is wrong", expected=expected, found=repr(value))


def read_fields(path: Path) -> Fields:
    """The top table of the TOML file ``path``."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError("the file cannot be read", where=str(path), found=reason or "") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError("the file is not TOML", where=str(path), found=str(error)) from error
    return Fields(table, str(path))

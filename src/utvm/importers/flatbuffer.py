"""Reads a flatbuffer that nobody has checked: every access is bounds-checked first.

In: the bytes of a file. Out: ``Table`` objects whose methods read one field by its slot number in
the schema. A field that points outside the file, a vector longer than the file or a vtable that
contradicts itself is a ModelError that names the part. Offsets point forward only, so walking a
file always ends; a budget proportional to the file's size bounds the work where many tables share
one vector.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from utvm.support.errors import ModelError

_FORMATS = {
    "bool": struct.Struct("<B"),
    "int8": struct.Struct("<b"),
    "uint8": struct.Struct("<B"),
    "int32": struct.Struct("<i"),
    "uint32": struct.Struct("<I"),
    "uint64": struct.Struct("<Q"),
    "float32": struct.Struct("<f"),
}
_OFFSET = struct.Struct("<I")
_VTABLE_OFFSET = struct.Struct("<i")
_VTABLE_ENTRY = struct.Struct("<H")
_SMALLEST_VTABLE = 4
_IDENTIFIER_BYTES = 4

# Longer names are cut: they come from the file and end in messages and identifiers.
_TEXT_LIMIT_BYTES = 1024
# How many times over the bytes of a file may be read. Writers share vectors only rarely.
_READ_FACTOR = 4
_READ_SLACK_BYTES = 65536


class Reader:
    """The bytes of one file and what is left of the reading budget."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._budget_bytes = _READ_FACTOR * len(data) + _READ_SLACK_BYTES

    def root(self, identifier: bytes, what: str) -> Table:
        """The root table of a file that carries ``identifier``; ``what`` names the format."""
        found = self.data[_OFFSET.size : _OFFSET.size + _IDENTIFIER_BYTES]
        if found != identifier:
            raise ModelError(
                f"this is not a {what} file",
                expected=f"{identifier.decode('ascii')} at byte {_OFFSET.size}",
                found=found.hex() if found else f"a file of {len(self.data)} bytes",
            )
        return self.table(self.unpack(_OFFSET, 0, "header"), "root table")

    def table(self, position: int, where: str) -> Table:
        """The table at ``position``, its vtable checked."""
        back = self.unpack(_VTABLE_OFFSET, position, where)
        vtable = position - back
        vtable_bytes = self.unpack(_VTABLE_ENTRY, vtable, where)
        table_bytes = self.unpack(_VTABLE_ENTRY, vtable + 2, where)
        if vtable_bytes < _SMALLEST_VTABLE or vtable + vtable_bytes > len(self.data):
            raise self.outside(where, vtable, vtable_bytes)
        if position + table_bytes > len(self.data):
            raise self.outside(where, position, table_bytes)
        return Table(self, position, table_bytes, vtable, vtable_bytes, where)

    def unpack(self, form: struct.Struct, position: int, where: str) -> int:
        if not 0 <= position <= len(self.data) - form.size:
            raise self.outside(where, position, form.size)
        value: int = form.unpack_from(self.data, position)[0]
        return value

    def spend(self, size_bytes: int, where: str) -> None:
        """Counts bytes read against the budget."""
        self._budget_bytes -= size_bytes
        if self._budget_bytes < 0:
            raise ModelError(
                "the file's parts overlap too often to be read",
                where=where,
                hint="the file is damaged or made to waste time",
            )

    def outside(self, where: str, position: int, size_bytes: int) -> ModelError:
        return ModelError(
            "the file is truncated or damaged",
            where=where,
            expected=f"{size_bytes} bytes at byte {position}",
            found=f"a file of {len(self.data)} bytes",
        )


@dataclass(frozen=True)
class Table:
    """One table of the file; slots are numbered as in the schema, from 0."""

    reader: Reader
    position: int
    size_bytes: int
    vtable: int
    vtable_bytes: int
    where: str

    def _field(self, slot: int, size_bytes: int) -> int | None:
        """Where the field lies, or None where the writer left it out."""
        entry = _SMALLEST_VTABLE + _VTABLE_ENTRY.size * slot
        if entry + _VTABLE_ENTRY.size > self.vtable_bytes:
            return None
        offset = self.reader.unpack(_VTABLE_ENTRY, self.vtable + entry, self.where)
        if offset == 0:
            return None
        if offset + size_bytes > self.size_bytes:
            raise self.reader.outside(self.where, self.position + offset, size_bytes)
        return self.position + offset

    def _target(self, slot: int) -> int | None:
        """What an offset field points to."""
        field = self._field(slot, _OFFSET.size)
        if field is None:
            return None
        offset = self.reader.unpack(_OFFSET, field, self.where)
        if offset < _OFFSET.size:
            raise self.reader.outside(self.where, field + offset, _OFFSET.size)
        return field + offset

    def _vector(self, slot: int, element_bytes: int, limit: int, what: str) -> tuple[int, int]:
        """Position of the first element and number of elements; (0, 0) where left out."""
        target = self._target(slot)
        if target is None:
            return 0, 0
        count = self.reader.unpack(_OFFSET, target, self.where)
        start = target + _OFFSET.size
        if count * element_bytes > len(self.reader.data) - start:
            raise self.reader.outside(self.where, start, count * element_bytes)
        if count > limit:
            raise ModelError(
                f"too many {what}", where=self.where, expected=f"at most {limit}", found=str(count)
            )
        return start, count

    def has(self, slot: int) -> bool:
        return self._field(slot, 1) is not None

    def integer(self, slot: int, kind: str, default: int = 0) -> int:
        form = _FORMATS[kind]
        field = self._field(slot, form.size)
        return default if field is None else int(self.reader.unpack(form, field, self.where))

    def real(self, slot: int, default: float = 0.0) -> float:
        form = _FORMATS["float32"]
        field = self._field(slot, form.size)
        return default if field is None else float(self.reader.unpack(form, field, self.where))

    def text(self, slot: int) -> str:
        """A string, cut at a length that is enough to recognize it."""
        start, count = self._vector(slot, 1, len(self.reader.data), "characters")
        count = min(count, _TEXT_LIMIT_BYTES)
        self.reader.spend(count, self.where)
        return self.reader.data[start : start + count].decode("utf-8", "replace")

    def content(self, slot: int) -> memoryview:
        """A vector of bytes, not copied."""
        start, count = self._vector(slot, 1, len(self.reader.data), "bytes")
        return memoryview(self.reader.data)[start : start + count]

    def numbers(self, slot: int, dtype: str, limit: int, what: str) -> list[int] | list[float]:
        """A vector of numbers of the NumPy type ``dtype``."""
        little_endian = np.dtype(dtype).newbyteorder("<")
        start, count = self._vector(slot, little_endian.itemsize, limit, what)
        self.reader.spend(count * little_endian.itemsize, self.where)
        if not count:
            return []
        numbers: list[int] = np.frombuffer(self.reader.data, little_endian, count, start).tolist()
        return numbers

    def integers(self, slot: int, dtype: str, limit: int, what: str) -> tuple[int, ...]:
        return tuple(int(n) for n in self.numbers(slot, dtype, limit, what))

    def table(self, slot: int, where: str) -> Table | None:
        target = self._target(slot)
        if target is None:
            return None
        self.reader.spend(_OFFSET.size, self.where)
        return self.reader.table(target, where)

    def tables(self, slot: int, limit: int, what: str) -> tuple[Table, ...]:
        """A vector of tables, each named ``what`` and its index."""
        start, count = self._vector(slot, _OFFSET.size, limit, f"{what}s")
        self.reader.spend(count * _OFFSET.size, self.where)
        result = []
        for index in range(count):
            where = f"{what} {index}"
            entry = start + _OFFSET.size * index
            offset = self.reader.unpack(_OFFSET, entry, where)
            result.append(self.reader.table(entry + offset, where))
        return tuple(result)

"""The flatbuffer reader: fields, defaults, vectors, and everything that points outside the file."""

from __future__ import annotations

import struct

import flatbuffers
import pytest

from utvm.importers.flatbuffer import Reader, Table
from utvm.support.errors import ModelError


def written() -> bytes:
    """A table: int32 in slot 0, a string in 1, a vector of int32 in 2, a table in 4."""
    builder = flatbuffers.Builder(64)
    text = builder.CreateString("name")
    builder.StartVector(4, 3, 4)
    for number in (30, 20, 10):
        builder.PrependInt32(number)
    numbers = builder.EndVector()
    builder.StartObject(1)
    builder.PrependFloat32Slot(0, 1.5, 0.0)
    inner = builder.EndObject()
    builder.StartObject(5)
    builder.PrependInt32Slot(0, -7, 0)
    builder.PrependUOffsetTRelativeSlot(1, text, 0)
    builder.PrependUOffsetTRelativeSlot(2, numbers, 0)
    builder.PrependUOffsetTRelativeSlot(4, inner, 0)
    builder.Finish(builder.EndObject(), file_identifier=b"TEST")
    return bytes(builder.Output())


def root(data: bytes) -> Table:
    return Reader(data).root(b"TEST", "test")


def test_reads_what_was_written() -> None:
    table = root(written())
    assert table.integer(0, "int32") == -7
    assert table.text(1) == "name"
    assert table.integers(2, "int32", 3, "numbers") == (10, 20, 30)
    inner = table.table(4, "inner")
    assert inner is not None
    assert inner.real(0) == 1.5


def test_left_out_fields_have_their_default() -> None:
    table = root(written())
    assert table.integer(3, "int32", 9) == 9
    assert table.integer(77, "uint8", 9) == 9
    assert table.text(3) == ""
    assert table.integers(3, "int32", 3, "numbers") == ()
    assert table.table(3, "inner") is None
    assert table.tables(3, 10, "part") == ()
    assert not table.has(3)


def test_another_format_is_named() -> None:
    with pytest.raises(ModelError) as error:
        Reader(b"PK\x03\x04ZIP!").root(b"TEST", "test")
    expected = "this is not a test file; expected TEST at byte 4; found 5a495021"
    assert str(error.value) == expected


def test_every_truncation_is_noticed() -> None:
    data = written()
    # The last bytes end the string: a zero and filling, which nobody reads.
    for size in range(len(data) - 4):
        with pytest.raises(ModelError):
            read_everything(data[:size])
    read_everything(data)


def read_everything(data: bytes) -> None:
    table = root(data)
    table.integer(0, "int32")
    table.text(1)
    table.integers(2, "int32", 3, "numbers")
    inner = table.table(4, "inner")
    assert inner is not None
    inner.real(0)


def test_vector_longer_than_the_file() -> None:
    data = bytearray(written())
    at = data.index(struct.pack("<IIII", 3, 10, 20, 30))
    data[at : at + 4] = struct.pack("<I", 2**31)
    with pytest.raises(ModelError, match="the file is truncated or damaged"):
        root(bytes(data)).integers(2, "int32", 2**40, "numbers")


def test_vector_longer_than_its_limit() -> None:
    with pytest.raises(ModelError) as error:
        root(written()).integers(2, "int32", 2, "numbers")
    assert str(error.value) == "root table: too many numbers; expected at most 2; found 3"


def test_reading_the_same_bytes_over_and_over_ends() -> None:
    table = root(written())
    with pytest.raises(ModelError, match="overlap too often"):
        for _ in range(100_000):
            table.integers(2, "int32", 3, "numbers")

"""Tensors of a run: what matches, what does not, and random inputs that never change.

Reading and its errors are tested through the command line (tests/cli/test_errors.py); here are the
rules of the comparison, edge by edge.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from utvm.driver.archive import MAX_ARRAY_BYTES, open_archive, read_archive, write_archive
from utvm.driver.tensors import compare, random_inputs, read_inputs
from utvm.ir.dtype import DType
from utvm.ir.graph import TensorType, Value
from utvm.support.errors import InputError

NAN, INF = float("nan"), float("inf")


def rows(*numbers: float, dtype: str = "float32") -> tuple[np.ndarray, ...]:
    return (np.array([numbers], dtype),)


@pytest.mark.parametrize(
    ("expected", "got", "matches", "largest"),
    [
        (rows(1, 2), rows(1, 2), True, 0),
        (rows(1000), rows(1000.009), True, 0.009),
        (rows(1000), rows(1000.02), False, 0.02),
        (rows(0), rows(9e-7), True, 9e-7),
        (rows(0), rows(2e-6), False, 2e-6),
        (rows(NAN, INF), rows(NAN, INF), True, 0),
        (rows(NAN), rows(0), False, None),
        (rows(0), rows(NAN), False, None),
        (rows(INF), rows(-INF), False, None),
        (rows(INF), rows(3e38), False, None),
        (rows(127, dtype="int8"), rows(127, dtype="int8"), True, 0),
        (rows(127, dtype="int8"), rows(-128, dtype="int8"), False, 255),
        (rows(0, dtype="uint8"), rows(255, dtype="uint8"), False, 255),
        (rows(2**53, dtype="int64"), rows(2**53 + 1, dtype="int64"), False, 1),
        (rows(-(2**63), dtype="int64"), rows(2**63 - 1, dtype="int64"), False, 2**64 - 1),
        (rows(True, dtype="bool"), rows(False, dtype="bool"), False, 1),
    ],
)
def test_comparison(
    expected: tuple[np.ndarray, ...],
    got: tuple[np.ndarray, ...],
    matches: bool,
    largest: float | None,
) -> None:
    outcome = compare(got, expected)
    assert outcome.matches is matches
    if largest is None:
        assert outcome.max_abs_diff is None
    else:
        assert outcome.max_abs_diff == pytest.approx(largest, rel=2e-2)
        assert isinstance(outcome.max_abs_diff, int) == (expected[0].dtype.kind != "f")
    assert bool(outcome.first) is not matches


def test_first_difference_is_named() -> None:
    expected = np.zeros((3, 2, 4), np.int16)
    got = expected.copy()
    got[1, 0, 3], got[2, 1, 1] = 7, -9
    outcome = compare((expected, got), (expected, expected))
    assert outcome.first == "out1 row 1 [0,3]: expected 0, found 7"
    assert (outcome.differing, outcome.total, outcome.max_abs_diff) == (2, 48, 9)


def test_random_inputs_are_the_same_every_time() -> None:
    values = [
        Value("a", TensorType((40, 50), DType.INT8)),
        Value("b", TensorType((2000,), DType.FLOAT32)),
        Value("c", TensorType((100,), DType.BOOL)),
    ]
    first, second = random_inputs(values), random_inputs(values)
    for value, a, b in zip(values, first, second, strict=True):
        assert a.shape == (1, *value.shape) and a.dtype == value.dtype.numpy
        np.testing.assert_array_equal(a, b)
    assert first[0].min() == -128 and first[0].max() == 127
    assert -1 <= first[1].min() < -0.9 and 0.9 < first[1].max() <= 1


def test_foreign_byte_order_and_layout_are_read(tmp_path: Path) -> None:
    wanted = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    np.savez(tmp_path / "f.npz", in0=np.asfortranarray(wanted.astype(">i4")), other=np.zeros(3))
    (read,) = read_inputs(tmp_path / "f.npz", [Value("x", TensorType((3, 4), DType.INT32))])
    np.testing.assert_array_equal(read, wanted)
    assert read.flags.c_contiguous and read.dtype == np.int32


def test_archive_round_trip_is_reproducible(tmp_path: Path) -> None:
    arrays = {"w": np.arange(6, dtype=np.int8).reshape(2, 3), "file": np.float32(2)}
    first = write_archive(arrays)
    assert first == write_archive(arrays)
    (tmp_path / "a.npz").write_bytes(first)
    read = read_archive(tmp_path / "a.npz")
    assert list(read) == ["w", "file"]
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)


def test_huge_array_is_refused_unread(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", x=np.zeros((11, 11), np.int8))
    header = (tmp_path / "f.npz").read_bytes()
    claim = f"({MAX_ARRAY_BYTES},)".encode()
    assert len(claim) == 12
    # Both the header and its padding keep their length; the checksum covers what is read only.
    (tmp_path / "f.npz").write_bytes(
        header.replace(b"(11, 11), }  ", claim + b"}").replace(b"|i1", b"<i2")
    )
    with (
        open_archive(tmp_path / "f.npz") as archive,
        pytest.raises(InputError, match=r"damaged|large"),
    ):
        archive.array("x")


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", allow_pickle=True, x=np.array([{}], object))
    with open_archive(tmp_path / "f.npz") as archive, pytest.raises(InputError, match="objects"):
        archive.array("x")

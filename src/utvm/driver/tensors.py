"""The tensors of a run: input rows, expected rows, and whether the outputs match.

In: .npz files with the arrays ``in<k>`` and ``out<k>``; row n of each is one invocation, other
arrays are ignored. Out: checked NumPy arrays with a leading row axis, the outcome of the
comparison, and outputs written whole. Integers match when equal; floats when they differ by at most
1e-5 of the expected value, or 1e-6 near zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utvm.driver.archive import Archive, open_archive, write_archive
from utvm.ir.graph import Value
from utvm.support.errors import InputError
from utvm.support.files import replace_file

Rows = tuple[np.ndarray, ...]

RELATIVE_TOLERANCE = 1e-5
ABSOLUTE_TOLERANCE = 1e-6
RANDOM_SEED = 0


@dataclass(frozen=True)
class Comparison:
    """Outputs against expected ones. ``max_abs_diff`` is None where it is not finite.

    ``first`` describes the first difference beyond the tolerance; empty when all match.
    """

    matches: bool
    max_abs_diff: int | float | None
    differing: int
    total: int
    first: str


def read_inputs(path: Path, values: Sequence[Value]) -> Rows:
    """The arrays ``in<k>`` for the inputs ``values``."""
    return _read_rows(path, "in", values)


def read_expected(path: Path, values: Sequence[Value], rows: int) -> Rows:
    """The arrays ``out<k>`` for the outputs ``values``, with as many rows as there are inputs."""
    expected = _read_rows(path, "out", values)
    if expected and len(expected[0]) != rows:
        raise InputError(
            "expected outputs and inputs have different numbers of rows",
            where=str(path),
            expected=f"{rows} rows, as in the inputs",
            found=f"{len(expected[0])} rows",
        )
    return expected


def random_inputs(values: Sequence[Value]) -> Rows:
    """One row of seeded random numbers: whole range for integers, [-1, 1) for floats."""
    generator = np.random.default_rng(RANDOM_SEED)
    return tuple(_random(generator, value)[None] for value in values)


def _random(generator: np.random.Generator, value: Value) -> np.ndarray:
    if value.dtype.is_float:
        return generator.uniform(-1, 1, value.shape).astype(np.float32)
    numbers = generator.integers(
        value.dtype.minimum, value.dtype.maximum, value.shape, np.int64, endpoint=True
    )
    return np.asarray(numbers.astype(value.dtype.numpy))


def compare(outputs: Rows, expected: Rows) -> Comparison:
    """Whether ``outputs`` are what was expected, over all rows of all outputs."""
    differing, total, first = 0, 0, ""
    largest: list[int | float] = []
    for index, (got, wanted) in enumerate(zip(outputs, expected, strict=True)):
        difference = _difference(got, wanted)
        largest.append(difference.max(initial=0).item())
        bad = difference > _tolerance(wanted)
        if bad.any() and not first:
            first = _describe(index, got, wanted, bad)
        differing += int(np.count_nonzero(bad))
        total += bad.size
    furthest = max(largest)
    finite = None if furthest == np.inf else furthest
    return Comparison(differing == 0, finite, differing, total, first)


def _difference(got: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Absolute differences; of floats none between two NaNs or infinities, infinite to one NaN."""
    if wanted.dtype.kind != "f":
        # Modulo 2^64, so that the extremes of int64 are right, too.
        high, low = np.maximum(got, wanted), np.minimum(got, wanted)
        return np.asarray(high.astype(np.uint64) - low.astype(np.uint64))
    with np.errstate(invalid="ignore"):
        difference = np.abs(got.astype(np.float64) - wanted.astype(np.float64))
    same = (got == wanted) | ((got != got) & (wanted != wanted))
    return np.where(same, 0.0, np.where(np.isnan(difference), np.inf, difference))


def _tolerance(wanted: np.ndarray) -> np.ndarray:
    if wanted.dtype.kind != "f":
        return np.zeros(wanted.shape)
    finite = np.where(np.isfinite(wanted), np.abs(wanted.astype(np.float64)), 0.0)
    return np.maximum(ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE * finite)


def _describe(index: int, got: np.ndarray, wanted: np.ndarray, bad: np.ndarray) -> str:
    place = tuple(int(i) for i in np.argwhere(bad)[0])
    element = ",".join(map(str, place[1:]))
    return f"out{index} row {place[0]} [{element}]: expected {wanted[place]}, found {got[place]}"


def write_outputs(path: Path, outputs: Rows) -> None:
    """An .npz with ``out<k>``; it appears whole or not at all."""

    arrays = {f"out{k}": array for k, array in enumerate(outputs)}

    replace_file(path, lambda temporary: temporary.write_bytes(write_archive(arrays)))


def _read_rows(path: Path, prefix: str, values: Sequence[Value]) -> Rows:
    """The arrays ``<prefix><k>``, each with one more axis in front than its value has."""
    with open_archive(path) as archive:
        counts = {}
        for k, value in enumerate(values):
            name = f"{prefix}{k}"
            _check_header(archive, name, value, len(values))
            counts[name] = archive.header(name)[0][0]
        extra = [n for n in archive.names if n.startswith(prefix) and n[len(prefix) :].isdigit()]
        surplus = sorted(set(extra) - set(counts))
        if surplus:
            raise archive.error(
                surplus[0], "the model has no such tensor", _wanted(prefix, len(values))
            )
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{name}: {rows}" for name, rows in counts.items())
            raise InputError("arrays have different numbers of rows", where=str(path), found=listed)
        if 0 in counts.values():
            raise InputError("the arrays have no rows", where=str(path), expected="1 or more")
        return tuple(archive.array(name) for name in counts)


def _wanted(prefix: str, count: int) -> str:
    return f"{prefix}0" if count == 1 else f"{prefix}0 to {prefix}{count - 1}"


def _check_header(archive: Archive, name: str, value: Value, count: int) -> None:
    prefix = name.rstrip("0123456789")
    if name not in archive.names:
        found = ", ".join(archive.names[:8])
        raise archive.error(name, "the archive has no such array", _wanted(prefix, count), found)
    shape, dtype = archive.header(name)
    if dtype.newbyteorder("=") != value.dtype.numpy:
        raise archive.error(
            name, "the array has another element type", value.dtype.value, dtype.name
        )
    if shape[1:] != value.shape or not shape:
        rows = ",".join(["rows", *map(str, value.shape)])
        error = archive.error(
            name, "the array has another shape", f"[{rows}]", f"[{','.join(map(str, shape))}]"
        )
        if shape == value.shape:
            error.hint = f"rows come first: save {name}=array[None] for one invocation"
        raise error

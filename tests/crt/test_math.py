"""The runtime's float functions against NumPy in double precision, and the same bits everywhere.

Samples: every float exponent densely, the neighbourhoods of the places where the functions change
their method, and the special values. Errors are in units in the last place of the exact result.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.crt.programs import HERE, build, run

Floats = npt.NDArray[np.float32]
FUNCTIONS = ("exp", "log", "tanh", "logistic", "sqrt", "round", "rint", "floor")
BLOCK = 1024


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Floats], Floats]:
    """Evaluates a function natively."""
    folder = tmp_path_factory.mktemp("math")
    program = build(HERE / "math_driver.c", "host", "zig", folder)
    return lambda name, x: evaluate(program, "host", name, x, folder)


def evaluate(
    program: Path, board: str, name: str, x: Floats, folder: Path, *, qemu: bool = False
) -> Floats:
    """The function called ``name`` on every element of ``x``."""
    padded = np.zeros(-(-len(x) // BLOCK) * BLOCK, np.float32)
    padded[: len(x)] = x
    stream = np.uint32(FUNCTIONS.index(name)).tobytes() + padded.tobytes()
    return np.frombuffer(run(program, board, stream, folder, qemu=qemu), np.float32)[: len(x)]


def samples() -> Floats:
    """Floats of every sign and exponent, more of them where results are neither 0 nor infinite."""
    rng = np.random.default_rng(7)
    anything = rng.integers(0, 2**32, 200_000, dtype=np.uint32).view(np.float32)
    places = [0.0, 0.5, 0.625, 1.0, 2.0**-12, 0.34657, 0.70710678, 1.41421356, 9.02, 2.0**23]
    places += [88.0297, 88.7228, 88.7229, -87.3365, -103.2789, -103.9721, -103.9729]
    near = np.concatenate([neighbours(place) for place in places + [-p for p in places]])
    middle = rng.uniform(-110.0, 95.0, 400_000).astype(np.float32)
    small = rng.uniform(-10.0, 10.0, 400_000).astype(np.float32)
    halves = np.arange(-4096, 4096, dtype=np.float32) / 2
    values = np.concatenate([anything, near, middle, small, halves])
    return values[np.isfinite(values)]


def neighbours(place: float) -> Floats:
    """The thousand floats around ``place``."""
    bits = np.float32(abs(place)).view(np.int32) + np.arange(-500, 500, dtype=np.int32)
    return np.abs(np.maximum(bits, 0).view(np.float32)) * np.float32(-1.0 if place < 0 else 1.0)


def ulps(got: Floats, exact: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The distance of ``got`` from ``exact``; one unit at least that of subnormals."""
    _, exponent = np.frexp(exact)
    unit = np.ldexp(1.0, np.maximum(exponent - 24, -149))
    return np.abs(got.astype(np.float64) - exact) / unit


def exact(name: str, x: Floats) -> npt.NDArray[np.float64]:
    """The function in double precision."""
    wide = x.astype(np.float64)
    with np.errstate(over="ignore"):
        if name == "logistic":
            e = np.exp(-np.abs(wide))
            return np.where(wide >= 0, 1 / (1 + e), e / (1 + e))
        functions = {"exp": np.exp, "log": np.log, "tanh": np.tanh, "sqrt": np.sqrt}
        result: npt.NDArray[np.float64] = functions[name](wide)
        return result


@pytest.mark.parametrize(
    ("name", "bound"),
    [("exp", 1.1), ("log", 1.0), ("tanh", 1.5), ("logistic", 3.0), ("sqrt", 0.5)],
)
def test_error_is_within_the_documented_bound(
    native: Callable[[str, Floats], Floats], name: str, bound: float
) -> None:
    x = samples()
    if name in ("log", "sqrt"):
        x = np.abs(x[x != 0])
    got = native(name, x)
    want = exact(name, x)
    overflow = np.abs(want) > float(np.finfo(np.float32).max)
    worst = np.argmax(np.where(overflow, 0, ulps(np.where(overflow, 0, got), want)))
    assert ulps(got[worst : worst + 1], want[worst : worst + 1])[0] <= bound, (x[worst], got[worst])
    assert np.all(np.isposinf(got[overflow]))


def test_whole_numbers_are_exact(native: Callable[[str, Floats], Floats]) -> None:
    x = samples()
    wide = x.astype(np.float64)
    want = {
        "round": np.copysign(np.floor(np.abs(wide) + 0.5), wide),
        "rint": np.rint(wide),
        "floor": np.floor(wide),
    }
    for name, values in want.items():
        bits = values.astype(np.float32).view(np.uint32)
        np.testing.assert_array_equal(native(name, x).view(np.uint32), bits, err_msg=name)


INF, NAN = float("inf"), float("nan")
SPECIAL = {
    "exp": [
        (NAN, NAN),
        (INF, INF),
        (-INF, 0.0),
        (0.0, 1.0),
        (-0.0, 1.0),
        (89.0, INF),
        (-104.0, 0.0),
    ],
    "log": [
        (NAN, NAN),
        (INF, INF),
        (-INF, NAN),
        (0.0, -INF),
        (-0.0, -INF),
        (-1.0, NAN),
        (1.0, 0.0),
    ],
    "tanh": [(NAN, NAN), (INF, 1.0), (-INF, -1.0), (0.0, 0.0), (-0.0, -0.0), (1e-45, 1e-45)],
    "logistic": [(NAN, NAN), (INF, 1.0), (-INF, 0.0), (0.0, 0.5), (-0.0, 0.5), (-104.0, 0.0)],
    "sqrt": [(NAN, NAN), (INF, INF), (-INF, NAN), (0.0, 0.0), (-0.0, -0.0), (-1.0, NAN)],
    "round": [(NAN, NAN), (INF, INF), (-INF, -INF), (-0.0, -0.0), (-0.25, -0.0), (-0.5, -1.0)],
    "rint": [(NAN, NAN), (INF, INF), (-INF, -INF), (-0.0, -0.0), (-0.5, -0.0), (2.5, 2.0)],
    "floor": [(NAN, NAN), (INF, INF), (-INF, -INF), (-0.0, -0.0), (-0.25, -1.0), (0.75, 0.0)],
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_special_values(native: Callable[[str, Floats], Floats], name: str) -> None:
    x, want = np.array(SPECIAL[name], np.float32).T
    got = native(name, np.ascontiguousarray(x))
    np.testing.assert_array_equal(got, want)
    numbers = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(got[numbers]), np.signbit(want[numbers]))


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
@pytest.mark.parametrize(
    ("board", "qemu"),
    [("emu_cortex_m0plus", False), ("emu_cortex_m4", False), ("emu_cortex_m7", True)],
)
def test_devices_give_the_same_bits_as_the_host(
    native: Callable[[str, Floats], Floats], board: str, qemu: bool, toolchain: str, tmp_path: Path
) -> None:
    """With the FPU and without: soft float rounds as hardware does."""
    program = build(HERE / "math_driver.c", board, toolchain, tmp_path)
    x = samples()[::101]
    for name in FUNCTIONS:
        got = evaluate(program, board, name, x, tmp_path, qemu=qemu)
        want = native(name, x)
        numbers = ~np.isnan(want)
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want), err_msg=name)
        np.testing.assert_array_equal(
            got[numbers].view(np.uint32), want[numbers].view(np.uint32), err_msg=name
        )

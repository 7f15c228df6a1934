"""Rescales that bend at zero, with unit and shift in common: equal on every sum that can occur.

Random layers with realistic scales: the numbers that are found are put in by hand and compared with
the kernel's own for each sum; scheduled kernels are executed statement by statement.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.schedule.test_conv_blocks import expect_equal
from utvm.ir.dtype import DType
from utvm.ir.graph import TensorType
from utvm.ir.loop import Binary, Imm, Let, Module
from utvm.ir.rewrite import expressions
from utvm.op.builder import GraphBuilder
from utvm.op.conv2d import Conv2dAttrs
from utvm.op.registry import find_op
from utvm.op.requantize_linear import RequantizeLinearAttrs
from utvm.passes.fuse_ops import fuse_ops
from utvm.passes.lower import lower
from utvm.schedule.depthwise_across_kernel import schedule_across
from utvm.schedule.depthwise_kernel import DepthwiseSchedule, schedule_depthwise
from utvm.schedule.depthwise_strips import AcrossSchedule
from utvm.schedule.depthwise_sum import DepthwiseSum, Prepared, prepare, read_depthwise

Array = npt.NDArray[Any]
BOUNDS = (-128, 127)


def layer(seed: int, less: int = 2, bounds: tuple[int, int] = BOUNDS, filters: int = 8) -> Module:
    """A depthwise 3x1 whose rescale is that of TFLite: a product rounded, then a shift rounded."""
    data = np.random.default_rng(seed)
    b = GraphBuilder("net", find_op)
    x = b.input("x", TensorType((1, 5, 3, filters), DType.INT8))
    weight = b.constant(data.integers(-127, 128, (1, 3, 1, filters), dtype=np.int8))
    bias = b.constant(data.integers(-9999, 9999, (filters,), dtype=np.int32))
    total = b.emit("depthwise_conv2d", [x, weight, bias], Conv2dAttrs(input_zero_point=5))
    shift = data.integers(6, 9, filters)
    zero = int(data.integers(-30, 30))
    words = (
        data.integers(1 << 30, 1 << 31, filters),
        ((2 * zero + 1) << shift - 1) + data.integers(0, 2, filters),
        shift,
    )
    names = [b.constant(word.astype(np.int32)) for word in words]
    attrs = RequantizeLinearAttrs("int8", *bounds, left_shift=2, negative_less=less)
    b.output(b.emit("requantize_linear", [total, *names], attrs))
    return lower(fuse_ops(b.build(), find_op), find_op)


def sums_of(module: Module) -> tuple[DepthwiseSum, Prepared, Prepared]:
    """The layer as it is, and with its rescale fitted."""
    w = read_depthwise(module.functions[0], module.constants)
    assert w is not None
    plain = prepare(w, module.constants, fits=False)
    ready = prepare(w, module.constants, fits=True)
    assert plain is not None and ready is not None
    return w, plain, ready


def constant(ready: Prepared, name: str, f: int) -> int:
    return int(next(data for key, data in ready.constants.items() if key.endswith(name))[f])


def ones_of(ready: Prepared) -> int | None:
    """The logical shift of the fitted epilogue; None where units are the filters' own."""
    for expr in expressions(ready.w.epilogue):
        match expr:
            case Binary(">>", a, Imm(value=int(shift))) if a.dtype is DType.UINT32:
                return shift
    return None


def last_shift(ready: Prepared) -> int:
    match ready.w.epilogue[0]:
        case Let(value=Binary(">>", _, Imm(value=int(shift)))):
            return shift
    raise AssertionError("no literal shift")


@pytest.mark.parametrize("seed", range(8))
def test_every_sum_is_rescaled_alike(seed: int) -> None:
    w, plain, ready = sums_of(layer(seed))
    assert ready.w is not w, "no numbers were found"
    units = ones_of(ready)
    for f in range(w.filters):
        tap = int(np.argmax(np.abs(w.weights[f])))
        factor = int(ready.w.weights[f].flat[tap]) // int(w.weights[f].flat[tap])
        np.testing.assert_array_equal(ready.w.weights[f], w.weights[f] * factor)
        more = int(ready.biases[f]) - factor * int(plain.biases[f])
        reach = 128 * int(np.abs(w.weights[f].astype(int)).sum())
        acc = np.arange(-reach, reach + 1) + int(plain.biases[f])
        own = [constant(plain, name, f) for name in ("multiplier", "addend", "shift")]
        expected = (acc * 4 * own[0] >> 32) + own[1] - 2 * (acc < 0) >> own[2]
        scaled = acc * factor + more
        assert np.abs(scaled).max() < 1 << 31
        ones = (scaled & 0xFFFFFFFF) >> units if units else constant(ready, "fitted_unit", f)
        bent = scaled - np.where(scaled < 0, ones, 0)
        high = bent * constant(ready, "fitted_multiplier", f) >> 32
        found = high + constant(ready, "fitted_addend", f) >> last_shift(ready)
        np.testing.assert_array_equal(np.clip(found, *BOUNDS), np.clip(expected, *BOUNDS))


@pytest.mark.parametrize("seed", range(6))
def test_kernels_keep_the_meaning(seed: int) -> None:
    rng = random.Random(seed)
    module = layer(seed, bounds=rng.choice([BOUNDS, (-128, 30), (-60, 127)]))
    function = module.functions[0]
    across = schedule_across(function, module.constants, AcrossSchedule(2, rng.choice([2, 4])))
    planes = schedule_depthwise(function, module.constants, DepthwiseSchedule())
    for scheduled in (across, planes):
        assert scheduled is not None
        expect_equal(module, scheduled, seed)


def test_units_of_their_own_where_none_is_common() -> None:
    """With many filters some need a unit of their own: then all have one."""
    found = {ones_of(sums_of(layer(seed, filters=n))[2]) for seed in range(6) for n in (8, 400)}
    assert found >= {24, None}


def test_what_does_not_bend_stays() -> None:
    w, _, ready = sums_of(layer(0, less=0))
    assert ready.w is w
    narrow = schedule_depthwise(
        layer(0).functions[0], layer(0).constants, DepthwiseSchedule(wide=False)
    )
    assert narrow is not None
    shifts = [e for m in narrow.micros for e in expressions(m.body) if e.dtype is DType.UINT32]
    assert not shifts, "weights of int8 have no room for factors"

"""Layers for cores that multiply words only compute what their plain loops compute.

Convolutions on pixel pairs: random shapes, strides, dilated rows, padding, odd columns, batches,
filters that fill no block; weights so small that groups are long and so large that no two products
fit 16 bits; and which layers are of another kind. Depthwise layers byte by byte.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.schedule.test_conv_blocks import expect_equal
from tests.schedule.test_depthwise_across import layer as depthwise
from utvm.ir.dtype import DType
from utvm.ir.graph import TensorType
from utvm.ir.loop import Load, Module
from utvm.ir.rewrite import expressions
from utvm.op.builder import GraphBuilder
from utvm.op.conv2d import Conv2dAttrs
from utvm.op.dense import DenseAttrs
from utvm.op.registry import find_op
from utvm.op.requantize import RequantizeAttrs
from utvm.passes.fuse_ops import fuse_ops
from utvm.passes.lower import lower
from utvm.schedule.depthwise_bytes import schedule_bytes
from utvm.schedule.depthwise_strips import AcrossSchedule
from utvm.schedule.options import kernel_options
from utvm.schedule.pair_kernel import PairKernel, PairSchedule
from utvm.schedule.pair_layout import pair_layout
from utvm.schedule.weighted_sum import read_weighted_sum
from utvm.target.target import load_target

WINDOWS = [(1, 1), (3, 3), (3, 1), (1, 4), (2, 5), (4, 3)]
EXTREMES = (1, 15, 40, 128)
"""Weights are below."""


def layer(rng: random.Random, most: int, pixel: DType = DType.INT8) -> Module:
    data = np.random.default_rng(rng.randint(0, 1 << 30))
    b = GraphBuilder("net", find_op)
    kh, kw = rng.choice(WINDOWS)
    depth, filters = rng.choice([1, 2, 3, 4, 8, 12]), rng.choice([1, 2, 3, 4, 5])
    shape = (rng.randint(1, 2), rng.randint(kh, kh + 4), rng.randint(kw + 2, kw + 7), depth)
    x = b.input("x", TensorType(shape, pixel))
    weight = b.constant(data.integers(-most, most, (filters, kh, kw, depth), dtype=np.int8))
    bias = b.constant(data.integers(-999, 999, (filters,), dtype=np.int32))
    padding = tuple(rng.randint(0, min(1, side - 1)) for side in (kh, kh, kw, kw))
    attrs = Conv2dAttrs(
        strides=(rng.randint(1, 3), rng.randint(1, 2)),
        dilation=(2 if shape[1] > 2 * kh else 1, 1),
        padding=padding if rng.random() < 0.6 else (0, 0, 0, 0),
    )
    total = b.emit("conv2d", [x, weight, bias], attrs)
    multiplier = b.constant(data.integers(1 << 28, 1 << 30, (filters,), dtype=np.int32))
    shift = b.constant(np.array([-6], np.int32))
    attributes = RequantizeAttrs("int8", -128, 127, output_zero_point=3)
    b.output(b.emit("requantize", [total, multiplier, shift], attributes))
    return lower(fuse_ops(b.build(), find_op), find_op)


@pytest.mark.parametrize("most", EXTREMES)
@pytest.mark.parametrize("seed", range(6))
def test_pairs_keep_the_meaning(seed: int, most: int) -> None:
    rng = random.Random(seed)
    module = layer(rng, most)
    w = read_weighted_sum(module.functions[0], module.constants)
    assert w is not None
    made = PairKernel(w, module.constants, PairSchedule(rng.randint(1, 3))).build()
    assert made is not None
    expect_equal(module, made, seed)


@pytest.mark.parametrize("most", EXTREMES)
@pytest.mark.parametrize("seed", range(3))
def test_single_pixels_keep_the_meaning(seed: int, most: int) -> None:
    """One column, or one row of a dense layer: four filters in a word of weights."""
    rng = random.Random(seed)
    data = np.random.default_rng(seed)
    b = GraphBuilder("net", find_op)
    filters, depth = rng.choice([1, 3, 4, 6, 9]), rng.choice([2, 6, 16])
    bias = b.constant(data.integers(-999, 999, (filters,), dtype=np.int32))
    if seed:
        x = b.input("x", TensorType((2, 5, 1, depth), DType.INT8))
        weight = b.constant(data.integers(-most, most, (filters, 3, 1, depth), dtype=np.int8))
        total = b.emit("conv2d", [x, weight, bias], Conv2dAttrs(padding=(1, 1, 0, 0)))
    else:
        x = b.input("x", TensorType((1, depth), DType.INT8))
        weight = b.constant(data.integers(-most, most, (filters, depth), dtype=np.int8))
        total = b.emit("dense", [x, weight, bias], DenseAttrs())
    multiplier = b.constant(data.integers(1 << 28, 1 << 30, (filters,), dtype=np.int32))
    shift = b.constant(np.array([-6], np.int32))
    b.output(b.emit("requantize", [total, multiplier, shift], RequantizeAttrs("int8", -128, 127)))
    module = lower(fuse_ops(b.build(), find_op), find_op)
    w = read_weighted_sum(module.functions[0], module.constants)
    assert w is not None
    layout = pair_layout(w)
    assert layout is not None and layout.lanes == (2 if w.columns > 1 else 1)
    made = PairKernel(w, module.constants, PairSchedule()).build()
    assert made is not None
    expect_equal(module, made, seed)


@pytest.mark.parametrize(
    ("weights", "group"),
    [([-128], 1), ([127, 127], 2), ([127, 1, -127], 3), ([-128, -127], 2), ([-128, -128], 1)],
)
def test_the_largest_sums_fit(weights: list[int], group: int) -> None:
    """All pixels at their ends, and weights whose groups just fit or just do not."""
    depth = len(weights)
    b = GraphBuilder("net", find_op)
    x = b.input("x", TensorType((1, 1, 8, depth), DType.INT8))
    weight = b.constant(np.array(weights * 2, np.int8).reshape(2, 1, 1, depth))
    b.output(b.emit("conv2d", [x, weight, b.constant(np.zeros(2, np.int32))], Conv2dAttrs()))
    module = lower(fuse_ops(b.build(), find_op), find_op)
    w = read_weighted_sum(module.functions[0], module.constants)
    assert w is not None
    layout = pair_layout(w)
    assert layout is not None and layout.group == group
    made = PairKernel(w, module.constants, PairSchedule()).build()
    assert made is not None
    ends = np.array([-128, 127, 127, -128, -128, -128, 127, 127], np.int8)
    expect_equal(module, made, 0, np.repeat(ends, depth))


@pytest.mark.parametrize("pixel", [DType.UINT8, DType.INT16])
def test_other_pixels_stay_in_loops(pixel: DType) -> None:
    module = layer(random.Random(0), 40, pixel)
    w = read_weighted_sum(module.functions[0], module.constants)
    assert w is not None and pair_layout(w) is None


def test_the_core_decides() -> None:
    """Pairs where the core multiplies words only and there is enough to gain."""
    b = GraphBuilder("net", find_op)
    x = b.input("x", TensorType((1, 8, 8, 16), DType.INT8))
    weight = b.constant(np.ones((8, 3, 3, 16), np.int8))
    b.output(b.emit("conv2d", [x, weight, b.constant(np.zeros(8, np.int32))], Conv2dAttrs()))
    module = lower(fuse_ops(b.build(), find_op), find_op)
    function = module.functions[0]

    def templates(target: str) -> set[object]:
        space = kernel_options(function, module.constants, load_target(target))
        return {dict(o.config)["template"] for o in space if o.default}

    assert templates("cortex-m0plus") == {"pairs"}
    assert "pairs" not in templates("cortex-m4")


@pytest.mark.parametrize("seed", range(6))
def test_depthwise_layers_move_bytes(seed: int) -> None:
    """Images may begin anywhere: no word is loaded from them."""
    rng = random.Random(seed)
    module = depthwise(rng, residual=False)
    schedule = AcrossSchedule(rng.randint(1, 4), 1, rng.choice([256, 4096]), plain=True)
    made = schedule_bytes(module.functions[0], module.constants, schedule)
    assert made is not None
    loads = [e for m in made.micros for e in expressions(m.body) if isinstance(e, Load)]
    assert all(load.lanes == 1 for load in loads)
    expect_equal(module, made, seed)

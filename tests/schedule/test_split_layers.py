"""Layers whose columns or channels are taken in parts: dilated windows, groups, few channels.

Random shapes, executed statement by statement: the scheduled kernel gives what the plain loops
give, of bytes and of int16.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.schedule.test_conv_blocks import expect_equal
from utvm.ir.dtype import DType
from utvm.ir.graph import TensorType
from utvm.ir.loop import Invoke, Module
from utvm.ir.rewrite import statements
from utvm.op.builder import GraphBuilder
from utvm.op.conv2d import Conv2dAttrs
from utvm.op.registry import find_op
from utvm.op.requantize import RequantizeAttrs
from utvm.op.requantize_linear import RequantizeLinearAttrs
from utvm.passes.fuse_ops import fuse_ops
from utvm.passes.lower import lower
from utvm.schedule.conv_kernel import ConvSchedule
from utvm.schedule.depthwise_kernel import DepthwiseSchedule, schedule_depthwise
from utvm.schedule.split_kernel import schedule_split
from utvm.schedule.split_sum import read_split_sum
from utvm.schedule.weighted_sum import read_weighted_sum

PIXELS = (DType.INT8, DType.UINT8, DType.INT16)
SEEDS = 12


def layer(rng: random.Random, op: str, groups: int = 1) -> Module:
    """A convolution with a rescale per filter; the shape of a window decides what is dilated."""
    data = np.random.default_rng(rng.randint(0, 1 << 30))
    b = GraphBuilder("net", find_op)
    pixel = rng.choice(PIXELS)
    depth = groups * rng.choice([1, 2, 3, 4, 5, 6, 7])
    share = rng.choice([2, 3, 4, 5])
    filters = depth * rng.choice([1, 2]) if op == "depthwise_conv2d" else groups * share
    kh, kw = rng.choice([(1, 1), (3, 3), (2, 3), (1, 3), (3, 1), (2, 2), (1, 4)])
    dilation = rng.randint(1, 2), rng.randint(1, 3)
    reach = [(k - 1) * d + 1 for k, d in zip((kh, kw), dilation, strict=True)]
    height, width = (size + rng.randint(0, 4) for size in reach)
    strides = [1 if d > 1 else rng.randint(1, 2) for d in dilation]
    shape = (filters, kh, kw, depth // groups) if op == "conv2d" else (1, kh, kw, filters)
    x = b.input("x", TensorType((rng.randint(1, 2), height, width, depth), pixel))
    weight = b.constant(data.integers(-128, 128, shape, dtype=np.int8))
    bias = b.constant(data.integers(-999, 999, (filters,), dtype=np.int32))
    attrs = Conv2dAttrs(
        strides=(strides[0], strides[1]),
        dilation=dilation,
        padding=tuple(rng.randint(0, size - 1) for size in (reach[0],) * 2 + (reach[1],) * 2),  # type: ignore[arg-type]
        input_zero_point=rng.randint(0, 100),
    )
    total = b.emit(op, [x, weight, bias], attrs)
    words = [data.integers(0, 1 << 30, (filters,)), data.integers(-12, 1, (filters,))]
    names = [b.constant(word.astype(np.int32)) for word in words]
    result = RequantizeAttrs("int8", -128, 127, output_zero_point=rng.randint(-9, 9))
    b.output(b.emit("requantize", [total, *names], result))
    return lower(fuse_ops(b.build(), find_op), find_op)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_dilated_planes_keep_the_meaning(seed: int) -> None:
    rng = random.Random(seed)
    module = layer(rng, "depthwise_conv2d")
    schedule = DepthwiseSchedule(rng.randint(1, 6), rng.choice([16, 200, 4000]))
    scheduled = schedule_depthwise(module.functions[0], module.constants, schedule)
    assert scheduled is not None
    expect_equal(module, scheduled, seed)


@pytest.mark.parametrize("seed", range(2 * SEEDS))
def test_parts_keep_the_meaning(seed: int) -> None:
    rng = random.Random(seed)
    groups = rng.choice([1, 2, 3])
    module = layer(rng, "conv2d", groups)
    function = module.functions[0]
    split = read_split_sum(function, module.constants)
    if split is None:
        assert groups == 1 and read_weighted_sum(function, module.constants) is not None
        return
    assert len(split.parts) % groups == 0
    schedule = ConvSchedule(
        rng.randint(1, 3), rng.choice([2, 4]), rng.random() < 0.5, 4, ring=rng.random() < 0.5
    )
    scheduled = schedule_split(function, module.constants, schedule)
    assert scheduled is not None
    expect_equal(module, scheduled, seed)


@pytest.mark.parametrize(
    ("image", "weights", "attrs"),
    [
        # A padded row is as long as the image.
        ((1, 4, 4, 6), (6, 1, 5, 2), Conv2dAttrs(dilation=(1, 3), padding=(0, 0, 6, 6))),
        # One column of results: one phase, and the kernel keeps its name.
        ((1, 3, 5, 2), (3, 1, 3, 2), Conv2dAttrs(dilation=(1, 2))),
    ],
)
def test_corners_keep_the_meaning(
    image: tuple[int, ...], weights: tuple[int, ...], attrs: Conv2dAttrs
) -> None:
    data = np.random.default_rng(5)
    b = GraphBuilder("net", find_op)
    x = b.input("x", TensorType(image, DType.INT8))
    weight = b.constant(data.integers(-128, 128, weights, dtype=np.int8))
    b.output(b.emit("conv2d", [x, weight], attrs))
    module = lower(fuse_ops(b.build(), find_op), find_op)
    scheduled = schedule_split(module.functions[0], module.constants, ConvSchedule())
    assert scheduled is not None and scheduled.function.name == module.functions[0].name
    expect_equal(module, scheduled, 5)


def test_groups_share_micro_functions() -> None:
    rng = random.Random(5)
    module = layer(rng, "conv2d", 3)
    scheduled = schedule_split(module.functions[0], module.constants, ConvSchedule(wide=True))
    assert scheduled is not None
    calls = [s for s in statements(scheduled.function.body) if isinstance(s, Invoke)]
    blocks = {call.function for call in calls if call.function.startswith("conv")}
    streams = {call.pointers[1].buffer.name for call in calls if call.function in blocks}
    assert len(streams) >= 3 and len(blocks) < len(streams)


@pytest.mark.parametrize(("side", "split"), [(1, False), (3, True)])
def test_groups_of_single_filters_and_few_taps_stay_in_loops(side: int, split: bool) -> None:
    data = np.random.default_rng(3)
    b = GraphBuilder("net", find_op)
    x = b.input("x", TensorType((1, 5, 5, 6), DType.INT8))
    weight = b.constant(data.integers(-9, 9, (3, side, side, 2), dtype=np.int8))
    total = b.emit("conv2d", [x, weight], Conv2dAttrs())
    multiplier = b.constant(data.integers(1 << 28, 1 << 30, (3,), dtype=np.int32))
    shift = b.constant(np.array([-3], np.int32))
    b.output(b.emit("requantize", [total, multiplier, shift], RequantizeAttrs("int8", -128, 127)))
    module = lower(fuse_ops(b.build(), find_op), find_op)
    assert (read_split_sum(module.functions[0], module.constants) is not None) == split
    made = schedule_split(module.functions[0], module.constants, ConvSchedule(wide=True))
    assert (made is not None) == split
    if made is not None:
        assert len([m for m in made.micros if m.name.startswith("conv2x")]) == 1
        expect_equal(module, made, 3)


@pytest.mark.parametrize("share", [1, 3])
def test_groups_with_bounds_and_an_addend_per_filter(share: int) -> None:
    data = np.random.default_rng(share)
    b = GraphBuilder("net", find_op)
    x = b.input("x", TensorType((1, 5, 5, 6), DType.INT8))
    filters = 3 * share
    weight = b.constant(data.integers(-9, 9, (filters, 3, 3, 2), dtype=np.int8))
    total = b.emit("conv2d", [x, weight], Conv2dAttrs())
    words = [data.integers(1 << 28, 1 << 30, (filters,)), data.integers(500, 999, (filters,))]
    names = [b.constant(word.astype(np.int32)) for word in (*words, np.array([4]))]
    bounds = RequantizeLinearAttrs("int8", -26, 77)
    b.output(b.emit("requantize_linear", [total, *names], bounds))
    module = lower(fuse_ops(b.build(), find_op), find_op)
    made = schedule_split(module.functions[0], module.constants, ConvSchedule(wide=True))
    assert made is not None
    expect_equal(module, made, share)

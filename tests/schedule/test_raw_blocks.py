"""Convolutions straight on the image compute what their plain loops compute.

Random shapes whose windows are whole words: bytes with and without a sign and int16, strides,
dilation, padding in a ring of copied rows, batches, tails of columns and filters, windows of few
words and of many; and which shapes are no whole words.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.schedule.test_conv_blocks import expect_equal
from utvm.ir.dtype import DType
from utvm.ir.graph import TensorType
from utvm.ir.loop import Module
from utvm.op.builder import GraphBuilder
from utvm.op.conv2d import Conv2dAttrs
from utvm.op.registry import find_op
from utvm.op.requantize import RequantizeAttrs
from utvm.passes.fuse_ops import fuse_ops
from utvm.passes.lower import lower
from utvm.schedule.conv_kernel import ConvSchedule
from utvm.schedule.conv_schedule import schedule_conv
from utvm.schedule.raw_block import has_raw
from utvm.schedule.split_kernel import schedule_split
from utvm.schedule.weighted_sum import read_weighted_sum

WINDOWS = [(1, 1), (3, 3), (3, 1), (1, 4), (2, 5), (4, 3)]


def layer(rng: random.Random, pixel: DType, depth: int, groups: int = 1) -> Module:
    data = np.random.default_rng(rng.randint(0, 1 << 30))
    b = GraphBuilder("net", find_op)
    kh, kw = rng.choice(WINDOWS)
    shape = (rng.randint(1, 2), rng.randint(kh, kh + 4), rng.randint(kw, kw + 5), groups * depth)
    filters = groups * rng.choice([2, 3, 4, 5, 8])
    x = b.input("x", TensorType(shape, pixel))
    weight = b.constant(data.integers(-128, 128, (filters, kh, kw, depth), dtype=np.int8))
    bias = b.constant(data.integers(-999, 999, (filters,), dtype=np.int32))
    padding = tuple(rng.randint(0, min(1, side - 1)) for side in (kh, kh, kw, kw))
    attrs = Conv2dAttrs(
        strides=(rng.randint(1, 3), rng.randint(1, 3)),
        dilation=(2 if shape[1] > 2 * kh else 1, 1),
        padding=padding if rng.random() < 0.6 else (0, 0, 0, 0),
    )
    total = b.emit("conv2d", [x, weight, bias], attrs)
    multiplier = b.constant(data.integers(1 << 28, 1 << 30, (filters,), dtype=np.int32))
    shift = b.constant(np.array([-6], np.int32))
    attributes = RequantizeAttrs("int8", -128, 127, output_zero_point=3)
    b.output(b.emit("requantize", [total, multiplier, shift], attributes))
    return lower(fuse_ops(b.build(), find_op), find_op)


def knobs(rng: random.Random) -> ConvSchedule:
    return ConvSchedule(
        rng.randint(1, 3), rng.randint(1, 4), rng.random() < 0.5, rng.choice([2, 4]), raw=True
    )


@pytest.mark.parametrize("pixel", [DType.INT8, DType.UINT8, DType.INT16])
@pytest.mark.parametrize("seed", range(6))
def test_blocks_on_the_image_keep_the_meaning(seed: int, pixel: DType) -> None:
    rng = random.Random(seed)
    module = layer(rng, pixel, rng.choice([4, 8, 12, 24]))
    made = schedule_conv(module.functions[0], module.constants, knobs(rng))
    assert made is not None
    assert all(not b.name.startswith("lines") for b in made.function.workspace)
    expect_equal(module, made, seed)


@pytest.mark.parametrize("seed", range(8))
def test_groups_on_the_image_keep_the_meaning(seed: int) -> None:
    rng = random.Random(seed)
    module = layer(rng, DType.INT8, 4, groups=rng.choice([2, 3]))
    made = schedule_split(module.functions[0], module.constants, knobs(rng))
    if made is not None:
        expect_equal(module, made, seed)


def test_some_groups_lie_on_the_image() -> None:
    made = [
        schedule_split(module.functions[0], module.constants, knobs(random.Random(seed)))
        for seed in range(8)
        for module in [layer(random.Random(seed), DType.INT8, 4, groups=2)]
    ]
    assert any(one is not None for one in made) and any(one is None for one in made)


@pytest.mark.parametrize(
    ("shape", "weights", "padding", "raw"),
    [
        ((1, 4, 4, 4), (2, 3, 3, 4), (1, 1, 1, 1), True),
        ((1, 4, 4, 3), (2, 3, 3, 3), (0, 0, 0, 0), False),
        ((1, 4, 4, 2), (2, 1, 2, 2), (0, 0, 0, 0), False),
        ((1, 4, 2, 2), (2, 2, 2, 2), (0, 0, 0, 0), True),
        ((1, 4, 4, 2), (2, 2, 2, 2), (1, 1, 1, 1), False),
    ],
)
def test_windows_that_are_no_whole_words(
    shape: tuple[int, ...], weights: tuple[int, ...], padding: tuple[int, ...], raw: bool
) -> None:
    b = GraphBuilder("net", find_op)
    x = b.input("x", TensorType(shape, DType.INT8))
    weight = b.constant(np.ones(weights, np.int8))
    b.output(b.emit("conv2d", [x, weight], Conv2dAttrs(padding=padding)))
    module = lower(fuse_ops(b.build(), find_op), find_op)
    w = read_weighted_sum(module.functions[0], module.constants)
    assert w is not None and has_raw(w) == raw
    made = schedule_conv(module.functions[0], module.constants, ConvSchedule(raw=True))
    assert (made is not None) == raw

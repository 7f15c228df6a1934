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
from utvm.ir.loop import Module
from utvm.op.builder import GraphBuilder
from utvm.op.conv2d import Conv2dAttrs
from utvm.op.registry import find_op
from utvm.op.requantize import RequantizeAttrs
from utvm.passes.fuse_ops import fuse_ops
from utvm.passes.lower import lower
from utvm.schedule.depthwise_kernel import DepthwiseSchedule, schedule_depthwise

PIXELS = (DType.INT8, DType.UINT8, DType.INT16)
SEEDS = 12


def layer(rng: random.Random, op: str, groups: int = 1) -> Module:
    """A convolution with a rescale per filter; the shape of a window decides what is dilated."""
    data = np.random.default_rng(rng.randint(0, 1 << 30))
    b = GraphBuilder("net", find_op)
    pixel = rng.choice(PIXELS)
    depth = groups * rng.choice([1, 2, 3, 4, 5, 6, 7])
    share = rng.choice([1, 2, 3, 4])
    filters = depth * rng.choice([1, 2]) if op == "depthwise_conv2d" else groups * share
    kh, kw = rng.choice([(1, 1), (3, 3), (2, 3), (1, 3), (3, 1), (2, 2), (1, 4)])
    dilation = rng.randint(1, 2), rng.randint(1, 3)
    reach = [(k - 1) * d + 1 for k, d in zip((kh, kw), dilation, strict=True)]
    height, width = (size + rng.randint(0, 4) for size in reach)
    shape = (filters, kh, kw, depth // groups) if op == "conv2d" else (1, kh, kw, filters)
    x = b.input("x", TensorType((rng.randint(1, 2), height, width, depth), pixel))
    weight = b.constant(data.integers(-128, 128, shape, dtype=np.int8))
    bias = b.constant(data.integers(-999, 999, (filters,), dtype=np.int32))
    attrs = Conv2dAttrs(
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

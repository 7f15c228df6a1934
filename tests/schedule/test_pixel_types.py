"""Register blocks take images of uint8 and int16, and weights with a zero point.

Random layers, executed statement by statement: the blocks give what the plain loops give. Where
weights less their zero point need int16, only blocks with int16 weights are built.
"""

from __future__ import annotations

import random
from dataclasses import replace

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
from utvm.schedule.depthwise_kernel import DepthwiseSchedule, schedule_depthwise
from utvm.schedule.options import kernel_options
from utvm.schedule.winograd_kernel import schedule_winograd
from utvm.target.target import load_target


def layer(rng: random.Random, pixel: DType, weight: DType, zero: int, op: str = "conv2d") -> Module:
    """A convolution with a rescale."""
    data = np.random.default_rng(rng.randint(0, 1 << 30))
    b = GraphBuilder("net", find_op)
    depth = rng.choice([1, 3, 4, 6, 8])
    filters = depth if op == "depthwise_conv2d" else rng.choice([2, 3, 4, 9])
    kh, kw = rng.choice([(1, 1), (3, 3), (2, 3), (3, 1)])
    height, width = rng.randint(kh, kh + 3), rng.randint(kw, kw + 5)
    x = b.input("x", TensorType((1, height, width, depth), pixel))
    shape = (filters, kh, kw, depth) if op == "conv2d" else (1, kh, kw, filters)
    low, high = weight.minimum, weight.maximum
    weights = b.constant(data.integers(low, high + 1, shape).astype(weight.numpy))
    bias = b.constant(data.integers(-1000, 1000, (filters,), dtype=np.int32))
    signed = pixel is not DType.UINT8
    attrs = Conv2dAttrs(
        strides=(rng.randint(1, 2), rng.randint(1, 2)),
        padding=tuple(rng.randint(0, min(1, side - 1)) for side in (kh, kh, kw, kw)),  # type: ignore[arg-type]
        input_zero_point=rng.randint(-9, 9) if signed else rng.randint(0, 255),
    )
    if zero:
        attrs = replace(attrs, weight_zero_point=zero)
    total = b.emit(op, [x, weights, bias], attrs)
    multiplier = b.constant(data.integers(0, 1 << 30, (filters,), dtype=np.int32))
    shift = b.constant(data.integers(-12, 1, (filters,), dtype=np.int32))
    out = "uint8" if pixel is DType.UINT8 else "int8"
    bounds = (0, 255) if out == "uint8" else (-128, 127)
    result = RequantizeAttrs(out, *bounds, output_zero_point=rng.randint(0, 10))
    b.output(b.emit("requantize", [total, multiplier, shift], result))
    return lower(fuse_ops(b.build(), find_op), find_op)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("pixel", "weight", "zero"),
    [
        (DType.UINT8, DType.UINT8, 157),
        (DType.UINT8, DType.INT8, 0),
        (DType.INT16, DType.INT8, 0),
    ],
)
def test_blocks_keep_the_meaning(pixel: DType, weight: DType, zero: int, seed: int) -> None:
    rng = random.Random(seed)
    module = layer(rng, pixel, weight, zero)
    schedule = ConvSchedule(rng.randint(1, 3), rng.choice([2, 4]), True, rng.choice([2, 4]))
    scheduled = schedule_conv(module.functions[0], module.constants, schedule)
    assert scheduled is not None
    expect_equal(module, scheduled, seed)


@pytest.mark.parametrize("seed", range(6))
def test_depthwise_planes_of_uint8_keep_the_meaning(seed: int) -> None:
    module = layer(random.Random(seed), DType.UINT8, DType.INT8, 0, "depthwise_conv2d")
    scheduled = schedule_depthwise(module.functions[0], module.constants, DepthwiseSchedule())
    assert scheduled is not None
    expect_equal(module, scheduled, seed)


def test_weights_that_need_int16_are_wide_or_stay_in_loops() -> None:
    module = layer(random.Random(2), DType.UINT8, DType.UINT8, 157)
    function, constants = module.functions[0], module.constants
    assert schedule_conv(function, constants, ConvSchedule(wide=False)) is None
    assert schedule_winograd(function, constants) is None
    defaults = kernel_options(function, constants, load_target("cortex-m4"))
    templates = {dict(o.config)["template"] for o in defaults}
    assert templates == {"direct", "loops"}
    smallest = min(defaults, key=lambda o: o.bytes)
    assert dict(smallest.config)["template"] == "loops"
    built = smallest.build()
    assert built is not None and not built.micros

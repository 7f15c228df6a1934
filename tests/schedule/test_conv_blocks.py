"""Layers in register blocks compute what their plain loops compute: convolutions, dense layers.

Random shapes, strides, paddings, epilogues; blocks of several sizes, weights as int8 and int16. The
loops are executed statement by statement, so an access outside of a buffer, a read of what nobody
wrote and an overflow are errors, too.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.loop_interpreter import run_function
from utvm.ir.dtype import DType
from utvm.ir.graph import TensorType
from utvm.ir.loop import Module
from utvm.ir.verify_loop import verify_function
from utvm.op.builder import GraphBuilder
from utvm.op.conv2d import Conv2dAttrs
from utvm.op.dense import DenseAttrs
from utvm.op.elementwise import BinaryAttrs
from utvm.op.registry import find_op
from utvm.op.requantize import RequantizeAttrs
from utvm.passes.fuse_ops import fuse_ops
from utvm.passes.lower import lower
from utvm.schedule.conv_kernel import ConvSchedule, Scheduled
from utvm.schedule.conv_schedule import schedule_conv
from utvm.schedule.depthwise_kernel import DepthwiseSchedule, schedule_depthwise

Array = npt.NDArray[Any]
BATCHES = 8
SEEDS_PER_BATCH = 3


def random_layer(rng: random.Random) -> Module:
    """One quantized layer: sum, bias, rescale per filter, perhaps a residual addition."""
    data = np.random.default_rng(rng.randint(0, 1 << 30))
    b = GraphBuilder("net", find_op)
    depth, filters = rng.choice([1, 2, 3, 4, 5, 8, 12, 16]), rng.choice([2, 3, 4, 5, 8, 9, 11])
    if rng.random() < 0.25:
        batch = rng.randint(1, 3)
        x = b.input("x", TensorType((batch, depth), DType.INT8))
        weight = b.constant(data.integers(-128, 128, (filters, depth), dtype=np.int8))
        total = b.emit("dense", [x, weight, _words(b, data, filters, 1000)], DenseAttrs())
    elif rng.random() < 0.5:
        filters = depth * rng.choice([1, 1, 1, 2, 3])
        total = _conv(b, rng, data, depth, filters, "depthwise_conv2d")
    else:
        total = _conv(b, rng, data, depth, filters, "conv2d")
    multiplier = b.constant(data.integers(0, 1 << 30, (filters,), dtype=np.int32))
    shift = b.constant(data.integers(-12, 1, (filters,), dtype=np.int32))
    attrs = RequantizeAttrs("int8", -128, 127, output_zero_point=rng.randint(-10, 10))
    result = b.emit("requantize", [total, multiplier, shift], attrs)
    if rng.random() < 0.3:
        other = b.input("z", b.type_of(result))
        result = b.emit("maximum", [result, other], BinaryAttrs())
    b.output(result)
    return lower(fuse_ops(b.build(), find_op), find_op)


def _conv(
    b: GraphBuilder,
    rng: random.Random,
    data: np.random.Generator,
    depth: int,
    filters: int,
    op: str,
) -> str:
    kh, kw = rng.choice([(1, 1), (1, 1), (3, 3), (2, 3), (1, 3), (3, 1), (2, 2), (1, 4), (2, 5)])
    height, width = rng.randint(kh, kh + 3), rng.randint(kw, kw + 8)
    if kw == 1 and rng.random() < 0.5:
        height, width = height + 6, 1
    strides = (rng.randint(1, 2), rng.randint(1, 2))
    dilation = (rng.randint(1, 2) if height > 2 * kh else 1, 1)
    padding = tuple(rng.randint(0, min(1, side - 1)) for side in (kh, kh, kw, kw))
    x = b.input("x", TensorType((rng.randint(1, 2), height, width, depth), DType.INT8))
    shape = (filters, kh, kw, depth) if op == "conv2d" else (1, kh, kw, filters)
    weight = b.constant(data.integers(-128, 128, shape, dtype=np.int8))
    attrs = Conv2dAttrs(
        strides=strides,
        dilation=dilation,
        padding=padding,
        input_zero_point=rng.randint(-128, 127),
    )
    return b.emit(op, [x, weight, _words(b, data, filters, 1000)], attrs)


def _words(b: GraphBuilder, data: np.random.Generator, count: int, most: int) -> str:
    return b.constant(data.integers(-most, most, (count,), dtype=np.int32))


def expect_equal(
    module: Module, scheduled: Scheduled, seed: int, pixels: Array | None = None
) -> None:
    """The scheduled kernel is well-formed and gives what the plain one gives; for random inputs, or
    for one of these ``pixels``."""
    function = module.functions[0]
    arrays: dict[str, Array] = {
        buffer.name: np.random.default_rng(seed)
        .integers(-128, 128, buffer.shape)
        .astype(buffer.dtype.numpy)
        for buffer in function.inputs
    }
    if pixels is not None:
        arrays[function.inputs[0].name] = pixels.reshape(function.inputs[0].shape)
    arrays |= module.constants | (scheduled.constants or {})
    micros = {micro.name: micro for micro in scheduled.micros}
    for micro in scheduled.micros:
        verify_function(micro, after=f"seed {seed}")
    verify_function(scheduled.function, after=f"seed {seed}", micros=micros)
    expected = run_function(function, arrays)
    found = run_function(scheduled.function, arrays, micros=scheduled.micros)
    for name, wanted in expected.items():
        np.testing.assert_array_equal(found[name], wanted, err_msg=f"seed {seed}")


@pytest.mark.parametrize("batch", range(BATCHES))
def test_blocks_keep_the_meaning(batch: int) -> None:
    for seed in range(batch * SEEDS_PER_BATCH, (batch + 1) * SEEDS_PER_BATCH):
        rng = random.Random(seed)
        module = random_layer(rng)
        function = module.functions[0]
        conv = ConvSchedule(
            pixels=rng.randint(1, 3),
            filters=rng.randint(1, 5),
            wide=rng.random() < 0.5,
            steps=rng.choice([2, 4]),
            ring=rng.random() < 0.5,
        )
        planes = DepthwiseSchedule(
            rng.randint(1, 6), rng.choice([16, 200, 4000]), wide=rng.random() < 0.5
        )
        if function.op == "depthwise_conv2d":
            scheduled = schedule_depthwise(function, module.constants, planes)
        else:
            scheduled = schedule_conv(function, module.constants, conv)
        assert scheduled is not None, function
        expect_equal(module, scheduled, seed)

"""Transposed convolutions in register blocks compute what their plain loops compute.

Random windows, strides, paddings and sizes of images of bytes and of int16, executed statement by
statement, and in assembly on emulated cores.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.compiled import run_graphs
from tests.schedule.test_conv_blocks import expect_equal
from utvm.ir.dtype import DType
from utvm.ir.graph import Graph, TensorType
from utvm.ir.loop import Module
from utvm.op.builder import GraphBuilder
from utvm.op.registry import find_op
from utvm.op.requantize import RequantizeAttrs
from utvm.op.transpose_conv2d_phases import TransposeConv2dPhasesAttrs
from utvm.passes.fuse_ops import fuse_ops
from utvm.passes.lower import lower
from utvm.schedule.conv_kernel import ConvSchedule
from utvm.schedule.options import kernel_options
from utvm.schedule.transposed_kernel import schedule_transposed
from utvm.schedule.transposed_sum import read_transposed
from utvm.target.target import load_target

CASES = 24


def layer(rng: random.Random) -> Graph:
    """A transposed convolution with a rescale; the size may cut results off or add some."""
    data = np.random.default_rng(rng.randint(0, 1 << 30))
    b = GraphBuilder("net", find_op)
    dtype = rng.choice([DType.INT8, DType.UINT8, DType.INT16])
    depth, filters = rng.choice([2, 3, 4, 8]), rng.choice([2, 3, 4, 8])
    strides = rng.randint(1, 2), rng.randint(1, 3)
    window = tuple(rng.randint(stride, 5) for stride in strides)
    height, width = rng.randint(1, 4), rng.randint(1, 6)
    padding = tuple(rng.randint(0, min(2, reach - 1)) for reach in window)
    size = tuple(
        max(1, (extent - 1) * stride + reach - 2 * pad + rng.randint(0, 1))
        for extent, stride, reach, pad in zip(
            (height, width), strides, window, padding, strict=True
        )
    )
    attrs = TransposeConv2dPhasesAttrs(
        (window[0], window[1]),
        strides,
        (padding[0], padding[1]),
        (size[0], size[1]),
        input_zero_point=0 if dtype is DType.INT16 else rng.randint(0, 100),
    )
    x = b.input("x", TensorType((rng.randint(1, 2), height, width, depth), dtype))
    count = window[0] * window[1] * depth * filters
    weight = b.constant(data.integers(-128, 128, (count,), dtype=np.int8))
    pairs = rng.choice([1, strides[0] * strides[1]])
    bias = b.constant(data.integers(-999, 999, (pairs * filters,), dtype=np.int32))
    total = b.emit("transpose_conv2d_phases", [x, weight, bias], attrs)
    words = [data.integers(0, 1 << 30, (filters,)), data.integers(-12, 1, (filters,))]
    names = [b.constant(word.astype(np.int32)) for word in words]
    b.output(b.emit("requantize", [total, *names], RequantizeAttrs("int8", -128, 127)))
    return b.build()


def lowered(graph: Graph) -> Module:
    return lower(fuse_ops(graph, find_op), find_op)


@pytest.mark.parametrize("seed", range(CASES))
def test_blocks_keep_the_meaning(seed: int) -> None:
    rng = random.Random(seed)
    module = lowered(layer(rng))
    schedule = ConvSchedule(rng.randint(1, 3), rng.choice([2, 4]), rng.random() < 0.5, 4)
    scheduled = schedule_transposed(module.functions[0], module.constants, schedule)
    assert scheduled is not None
    expect_equal(module, scheduled, seed)


@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m7"])
def test_assembled_kernels_equal_the_reference(target: str) -> None:
    cases, expected = [], []
    for seed in range(CASES // 4):
        graph = layer(random.Random(100 + seed))
        type = graph.values[graph.inputs[0]].type
        limits = max(type.dtype.minimum, -2000), min(type.dtype.maximum, 2000)
        data = np.random.default_rng(seed).integers(limits[0], limits[1] + 1, type.shape)
        known = {graph.inputs[0]: data.astype(type.dtype.numpy), **graph.constants}
        cases.append((graph, [known[graph.inputs[0]]]))
        for node in graph.nodes:
            inputs = tuple(known[name] for name in node.inputs)
            (known[node.outputs[0]],) = find_op(node.op).reference(inputs, node.attrs)
        expected.append(known[graph.outputs[0]])
    for (found,), wanted in zip(run_graphs(cases, target), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_options_save_bytes_or_cycles() -> None:
    module = lowered(layer(random.Random(3)))
    function, constants = module.functions[0], module.constants
    assert read_transposed(function, constants) is not None
    narrow, wide = kernel_options(function, constants, load_target("cortex-m4"))
    assert narrow.bytes < wide.bytes and narrow.cycles > wide.cycles
    others = kernel_options(function, constants, load_target("cortex-m3"))
    assert {dict(option.config)["template"] for option in others} == {"loops"}

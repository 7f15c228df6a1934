"""Pools over packed words compute what their plain loops compute.

Random windows, strides, paddings, channels and clamps of int8 and uint8. The loops are executed
statement by statement; the same networks then run in assembly on emulated cores.
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
from utvm.op.clip import ClipAttrs
from utvm.op.lut import emit_lut
from utvm.op.pool2d import AvgPool2dAttrs, MaxPool2dAttrs
from utvm.op.registry import find_op
from utvm.passes.fuse_ops import fuse_ops
from utvm.passes.lower import lower
from utvm.schedule.options import kernel_options
from utvm.schedule.pool_kernel import schedule_pool
from utvm.schedule.pool_window import read_pool
from utvm.target.target import load_target

CASES = 48


def pool(rng: random.Random) -> Graph:
    """A pool, perhaps with a clamp or a table behind it."""
    b = GraphBuilder("net", find_op)
    dtype = rng.choice([DType.INT8, DType.INT8, DType.UINT8])
    kh, kw = rng.choice([(2, 2), (3, 3), (1, 3), (3, 1), (2, 3), (5, 4), (1, 1)])
    height, width = kh + rng.randint(0, 4), kw + rng.randint(0, 7)
    if rng.random() < 0.2:
        kh, kw = height, width
    padding = tuple(rng.randint(0, side - 1) for side in (kh, kh, kw, kw))
    top, bottom, left, right = padding if rng.random() < 0.5 else (0, 0, 0, 0)
    strides = rng.randint(1, 3), rng.randint(1, 3)
    shape = (rng.randint(1, 2), height, width, rng.choice([4, 4, 5, 7, 8, 12]))
    x = b.input("x", TensorType(shape, dtype))
    shared = (kh, kw), strides, (top, bottom, left, right)
    if rng.random() < 0.5:
        result = b.emit("max_pool2d", [x], MaxPool2dAttrs(*shared))
    else:
        rounding = rng.choice(["half_away", "truncate"])
        result = b.emit("avg_pool2d", [x], AvgPool2dAttrs(*shared, rounding=rounding))
    if rng.random() < 0.4:
        low = rng.choice([dtype.minimum, dtype.minimum + 50])
        result = b.emit("clip", [result], ClipAttrs(low, rng.choice([100, dtype.maximum])))
    if rng.random() < 0.25:
        table = [rng.randint(dtype.minimum, dtype.maximum) for _ in range(256)]
        result = emit_lut(b, result, table, dtype)
    b.output(result)
    return b.build()


def lowered(graph: Graph) -> Module:
    return lower(fuse_ops(graph, find_op), find_op)


@pytest.mark.parametrize("seed", range(CASES))
def test_packed_pools_keep_the_meaning(seed: int) -> None:
    module = lowered(pool(random.Random(seed)))
    scheduled = schedule_pool(module.functions[0], module.constants)
    if scheduled is None:  # no loop runs over a window of one
        assert read_pool(module.functions[0], module.constants) is None
        return
    assert scheduled.micros and not scheduled.function.workspace
    expect_equal(module, scheduled, seed)
    for option in kernel_options(module.functions[0], module.constants, load_target("cortex-m4")):
        other = option.build()
        assert other is not None and (not option.default or other.micros == scheduled.micros)
        expect_equal(module, other, seed)


@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m7"])
def test_assembled_pools_equal_the_reference(target: str) -> None:
    cases, expected = [], []
    for seed in range(CASES // 2):
        graph = pool(random.Random(1000 + seed))
        type = graph.values[graph.inputs[0]].type
        low, high = type.dtype.minimum, type.dtype.maximum
        data = np.random.default_rng(seed).integers(low, high + 1, type.shape)
        x = data.astype(type.dtype.numpy)
        cases.append((graph, [x]))
        value = x
        for node in graph.nodes:
            tables = [graph.constants[name] for name in node.inputs[1:]]
            (value,) = find_op(node.op).reference((value, *tables), node.attrs)
        expected.append(value)
    for (found,), wanted in zip(run_graphs(cases, target), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_windows_at_the_border_are_smaller_ones() -> None:
    b = GraphBuilder("net", find_op)
    x = b.input("x", TensorType((1, 8, 8, 4), DType.INT8))
    b.output(b.emit("max_pool2d", [x], MaxPool2dAttrs((3, 3), (1, 1), (1, 1, 1, 1))))
    module = lowered(b.build())
    found = read_pool(module.functions[0], module.constants)
    assert found is not None
    assert [(s.first, s.count, s.size) for s in found.segments(0)] == [
        (0, 1, 2), (1, 6, 3), (7, 1, 2),
    ]  # fmt: skip


def test_columns_between_windows_are_not_read() -> None:
    """The compiler would refuse a word that nobody uses."""
    b = GraphBuilder("net", find_op)
    x = b.input("x", TensorType((1, 6, 8, 4), DType.INT8))
    attrs = AvgPool2dAttrs((2, 1), (1, 3), rounding="half_away")
    b.output(b.emit("avg_pool2d", [x], attrs))
    data = np.arange(-96, 96, dtype=np.int8).reshape(1, 6, 8, 4)
    ((found,),) = run_graphs([(b.build(), [data])], "cortex-m4")
    np.testing.assert_array_equal(found, find_op("avg_pool2d").reference((data,), attrs)[0])


def test_few_channels_and_other_types_stay_loops() -> None:
    for shape, dtype in (((1, 4, 4, 3), DType.INT8), ((1, 4, 4, 4), DType.INT16)):
        b = GraphBuilder("net", find_op)
        x = b.input("x", TensorType(shape, dtype))
        b.output(b.emit("max_pool2d", [x], MaxPool2dAttrs((2, 2), (2, 2))))
        module = lowered(b.build())
        assert schedule_pool(module.functions[0], module.constants) is None

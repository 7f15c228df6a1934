"""Float layers in register blocks of an FPU agree with the references.

Random shapes of convolutions, depthwise convolutions, pools and dense layers, on cores with an FPU.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.compiled import run_graphs
from utvm.ir.dtype import DType
from utvm.ir.graph import Graph, TensorType
from utvm.op.builder import GraphBuilder
from utvm.op.conv2d import Conv2dAttrs
from utvm.op.dense import DenseAttrs
from utvm.op.pool2d import AvgPool2dAttrs, MaxPool2dAttrs
from utvm.op.registry import find_op
from utvm.passes.fuse_ops import fuse_ops
from utvm.passes.lower import lower
from utvm.schedule.default import FLOAT_BLOCKING, schedule_function
from utvm.schedule.primitives import loops
from utvm.target.target import load_target

CASES = 20


def layer(rng: random.Random) -> Graph:
    data = np.random.default_rng(rng.randint(0, 1 << 30))
    b = GraphBuilder("net", find_op)

    def constant(*shape: int) -> str:
        return b.constant(data.standard_normal(shape).astype(np.float32))

    op = rng.choice(["conv2d", "depthwise_conv2d", "dense", "max_pool2d", "avg_pool2d"])
    depth, filters = rng.choice([1, 3, 4, 6, 9]), rng.choice([1, 4, 5, 10])
    if op == "dense":
        x = b.input("x", TensorType((rng.randint(1, 3), depth), DType.FLOAT32))
        b.output(b.emit(op, [x, constant(filters, depth), constant(filters)], DenseAttrs()))
        return b.build()
    kh, kw = rng.choice([(1, 1), (3, 3), (2, 3), (5, 2)])
    height, width = rng.randint(kh, kh + 4), rng.randint(kw, kw + 7)
    padding = rng.randint(0, kh // 2), rng.randint(0, kh // 2), rng.randint(0, kw // 2), 0
    strides = rng.randint(1, 2), rng.randint(1, 2)
    x = b.input("x", TensorType((1, height, width, depth), DType.FLOAT32))
    if op == "conv2d":
        operands = [x, constant(filters, kh, kw, depth), constant(filters)]
        b.output(b.emit(op, operands, Conv2dAttrs(strides=strides, padding=padding)))
    elif op == "depthwise_conv2d":
        operands = [x, constant(1, kh, kw, depth), constant(depth)]
        b.output(b.emit(op, operands, Conv2dAttrs(strides=strides, padding=padding)))
    else:
        kind = MaxPool2dAttrs if op == "max_pool2d" else AvgPool2dAttrs
        b.output(b.emit(op, [x], kind((kh, kw), strides, padding)))
    return b.build()


@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m7"])
def test_floats_agree_with_the_references(target: str) -> None:
    cases, expected = [], []
    for seed in range(CASES):
        graph = layer(random.Random(seed))
        shape = graph.values[graph.inputs[0]].shape
        x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
        cases.append((graph, [x]))
        known = {graph.inputs[0]: x, **graph.constants}
        (node,) = graph.nodes
        inputs = tuple(known[name] for name in node.inputs)
        expected.append(find_op(node.op).reference(inputs, node.attrs)[0])
    for (found,), wanted in zip(run_graphs(cases, target), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("target", "step"), [("cortex-m4", FLOAT_BLOCKING.columns),
                                              ("cortex-m3", 2)])  # fmt: skip
def test_blocks_are_as_large_as_the_registers_allow(target: str, step: int) -> None:
    b = GraphBuilder("net", find_op)
    x = b.input("x", TensorType((1, 8, 8, 8), DType.FLOAT32))
    weight = b.constant(np.ones((8, 3, 3, 8), np.float32))
    bias = b.constant(np.ones(8, np.float32))
    b.output(b.emit("conv2d", [x, weight, bias], Conv2dAttrs(padding=(1, 1, 1, 1))))
    function = lower(fuse_ops(b.build(), find_op), find_op).functions[0]
    scheduled = schedule_function(function, load_target(target))
    assert {stmt.step for stmt in loops(scheduled) if stmt.var.name in ("x", "c")} == {step}

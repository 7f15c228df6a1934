"""trim-windows: what sees padding only goes into the bias, and results stay the same."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from utvm.driver.evaluate import evaluate
from utvm.driver.pipeline import compile_graph
from utvm.ir.dtype import DType
from utvm.ir.graph import Graph, TensorType
from utvm.ir.verify_graph import verify_graph
from utvm.op.builder import GraphBuilder
from utvm.op.conv2d import Conv2dAttrs
from utvm.op.registry import find_op
from utvm.passes.trim_windows import trim_windows
from utvm.target.target import load_target

Shape = tuple[int, ...]


def network(op: str, image: Shape, window: Shape, attrs: Conv2dAttrs, dtype: DType) -> Graph:
    rng = np.random.default_rng(3)
    b = GraphBuilder("small", find_op)
    x = b.input("x", TensorType(image, dtype))
    filters = window[3] if op == "depthwise_conv2d" else window[0]
    if dtype.is_float:
        weights = rng.normal(size=window).astype(np.float32)
        bias = rng.normal(size=filters).astype(np.float32)
    else:
        weights = rng.integers(-100, 100, window).astype(np.int8)
        bias = rng.integers(-1000, 1000, filters).astype(np.int32)
    b.output(b.emit(op, [x, b.constant(weights), b.constant(bias)], attrs))
    return b.build()


def results(graph: Graph) -> np.ndarray:
    rng = np.random.default_rng(4)
    type = graph.values["x"].type
    data = rng.normal(size=type.shape) if type.dtype.is_float else rng.integers(0, 100, type.shape)
    return evaluate(graph, {"x": data.astype(type.dtype.numpy)}, find_op)[graph.outputs[0]]


def weights_of(graph: Graph) -> Shape:
    return graph.constants[graph.nodes[0].inputs[1]].shape


SAME = Conv2dAttrs(padding=(1, 1, 1, 1), input_zero_point=7, weight_zero_point=2)


@pytest.mark.parametrize(
    ("op", "image", "window", "attrs", "left"),
    [
        ("conv2d", (2, 1, 5, 4), (3, 3, 3, 4), SAME, (3, 1, 3, 4)),
        ("conv2d", (1, 1, 1, 4), (3, 3, 3, 4), SAME, (3, 1, 1, 4)),
        ("conv2d", (1, 2, 4, 4), (3, 3, 3, 4), SAME, (3, 3, 3, 4)),
        ("conv2d", (1, 6, 1, 4), (4, 5, 5, 2), replace(SAME, padding=(2, 2, 2, 2)), (4, 5, 1, 2)),
        ("depthwise_conv2d", (1, 1, 4, 3), (1, 3, 3, 6), SAME, (1, 1, 3, 6)),
        # Two results two rows apart: the first row of the window sees nothing.
        (
            "conv2d",
            (1, 2, 4, 1),
            (2, 4, 3, 1),
            replace(SAME, padding=(1, 1, 1, 1), strides=(2, 1)),
            (2, 2, 3, 1),
        ),
        (
            "conv2d",
            (1, 2, 4, 1),
            (2, 3, 3, 1),
            replace(SAME, padding=(3, 3, 1, 1), dilation=(3, 1)),
            (2, 1, 3, 1),
        ),
    ],
)
def test_taps_that_see_padding_only_go(
    op: str, image: Shape, window: Shape, attrs: Conv2dAttrs, left: Shape
) -> None:
    graph = network(op, image, window, attrs, DType.INT8)
    trimmed = trim_windows(graph)
    verify_graph(trimmed, find_op, plain=True)
    assert weights_of(trimmed) == left
    np.testing.assert_array_equal(results(trimmed), results(graph))


@pytest.mark.parametrize("seed", range(60))
def test_the_result_stays_the_same(seed: int) -> None:
    rng = random.Random(seed)
    kh, kw = rng.randint(1, 6), rng.randint(1, 4)
    attrs = Conv2dAttrs(
        strides=(rng.randint(1, 3), rng.randint(1, 3)),
        dilation=(rng.randint(1, 3), rng.randint(1, 2)),
        padding=(rng.randint(6, 9), rng.randint(6, 9), rng.randint(0, 4), rng.randint(6, 8)),
    )
    dtype = rng.choice([DType.INT8, DType.FLOAT32])
    if dtype is DType.INT8:
        attrs = replace(attrs, input_zero_point=rng.randint(-128, 127))
    op = rng.choice(["conv2d", "depthwise_conv2d"])
    window = (1, kh, kw, 4) if op == "depthwise_conv2d" else (3, kh, kw, 2)
    image = (rng.randint(1, 2), rng.randint(1, 3), rng.randint(1, 4), 2)
    if (kh - 1) * attrs.dilation[0] >= image[1] + sum(attrs.padding[:2]):
        image = (*image[:1], 9, *image[2:])
    graph = network(op, image, window, attrs, dtype)
    trimmed = trim_windows(graph)
    verify_graph(trimmed, find_op, plain=True)
    np.testing.assert_allclose(results(trimmed), results(graph), rtol=1e-6, atol=1e-6)


def test_a_sum_without_a_bias_and_one_that_overflows_stay() -> None:
    graph = network("conv2d", (1, 1, 4, 4), (3, 3, 3, 4), SAME, DType.INT8)
    (node,) = graph.nodes
    bare = replace(graph, nodes=(replace(node, inputs=node.inputs[:2]),))
    assert weights_of(trim_windows(bare)) == (3, 3, 3, 4)
    bias = np.full(3, np.iinfo(np.int32).max, np.int32)
    full = replace(graph, constants={**graph.constants, node.inputs[2]: bias})
    minus = replace(node, attrs=replace(SAME, input_zero_point=-128))
    for other in (replace(full, nodes=(n,)) for n in (node, minus)):
        shape = weights_of(trim_windows(other))
        centered = graph.constants[node.inputs[1]].astype(np.int64) - 2
        gone = centered.sum((1, 2, 3)) - centered[:, 1:2].sum((1, 2, 3))
        zero = other.nodes[0].attrs.input_zero_point  # type: ignore[attr-defined]
        assert shape == ((3, 1, 3, 4) if (gone * zero <= 0).all() else (3, 3, 3, 4))


def test_the_compiler_trims_windows() -> None:
    graph = network("conv2d", (1, 1, 5, 4), (3, 3, 3, 4), SAME, DType.INT8)
    compiled = compile_graph(graph, load_target("host"))
    assert compiled.module.functions[0].macs == 5 * 3 * 3 * 4

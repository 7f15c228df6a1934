"""fold-pad: borders go into the windows behind them where they hold what padding holds there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.compiled import run_graph
from utvm.driver.pipeline import compile_graph
from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, Graph, TensorType
from utvm.op.builder import GraphBuilder
from utvm.op.conv2d import Conv2dAttrs
from utvm.op.pad import PadAttrs
from utvm.op.pool2d import AvgPool2dAttrs, MaxPool2dAttrs
from utvm.op.registry import find_op
from utvm.passes.fold_pad import fold_pad
from utvm.target.target import load_target

I8 = DType.INT8
X = TensorType((1, 5, 6, 2), I8)
BORDER = PadAttrs((0, 1, 2, 0), (0, 3, 0, 0), value=-3)


def padded(pad: PadAttrs, op: str, attrs: Attrs, *, keep: bool = False) -> Graph:
    """A pad in front of a window of 4 x 3; ``keep`` makes the border an output, too."""
    rng = np.random.default_rng(191)
    b = GraphBuilder("padded", find_op)
    x = b.emit("pad", [b.input("x", X)], pad)
    weights = {"conv2d": (3, 4, 3, 2), "depthwise_conv2d": (1, 4, 3, 2)}
    operands = [x]
    if op in weights:
        operands.append(b.constant(rng.integers(-99, 99, weights[op]).astype(np.int8)))
    b.output(b.emit(op, operands, attrs))
    if keep:
        b.output(x)
    return b.build()


CONV = Conv2dAttrs(input_zero_point=-3, padding=(0, 1, 0, 0))
POOL = MaxPool2dAttrs((4, 3), (2, 1))
LOWEST = replace(BORDER, value=-128)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(
    ("pad", "op", "attrs", "padding"),
    [
        (BORDER, "conv2d", CONV, (1, 4, 2, 0)),
        (BORDER, "depthwise_conv2d", CONV, (1, 4, 2, 0)),
        (LOWEST, "max_pool2d", POOL, (1, 3, 2, 0)),
    ],
)
def test_borders_become_padding(
    pad: PadAttrs, op: str, attrs: Attrs, padding: tuple[int, ...], keep: bool
) -> None:
    graph = padded(pad, op, attrs, keep=keep)
    folded = fold_pad(graph)
    (window,) = (node for node in folded.nodes if node.op == op)
    assert window.inputs[0] == "x"
    assert window.attrs == replace(attrs, padding=padding)  # type: ignore[type-var]
    assert any(node.op == "pad" for node in folded.nodes) == keep


@pytest.mark.parametrize(
    ("pad", "op", "attrs"),
    [
        (replace(BORDER, value=-2), "conv2d", CONV),
        (replace(BORDER, value=None), "conv2d", CONV),
        (replace(BORDER, before=(0, 1, 2, 1), after=(0, 3, 0, 1)), "max_pool2d", POOL),
        (replace(BORDER, before=(1, 0, 0, 0)), "conv2d", CONV),
        (PadAttrs((0, 1, 2, 0), (0, 3, 0, 0), "reflect"), "conv2d", CONV),
        (LOWEST, "max_pool2d", MaxPool2dAttrs((3, 3))),
        (BORDER, "max_pool2d", POOL),
        (LOWEST, "avg_pool2d", AvgPool2dAttrs((4, 3))),
    ],
    ids=["value", "zero", "channels", "batch", "mirror", "window", "lowest", "average"],
)
def test_other_borders_stay(pad: PadAttrs, op: str, attrs: Attrs) -> None:
    graph = padded(pad, op, attrs)
    assert fold_pad(graph).nodes == graph.nodes


def test_the_result_stays_the_same() -> None:
    x = np.random.default_rng(192).integers(-128, 128, X.shape).astype(np.int8)
    for pad, op, attrs in ((BORDER, "conv2d", CONV), (LOWEST, "max_pool2d", POOL)):
        graph = padded(pad, op, attrs)
        compiled = compile_graph(graph, load_target("host"))
        assert [node.op for node in compiled.graph.nodes] == [op]
        (found,) = run_graph(graph, [x])
        arrays = {"x": x, **graph.constants}
        for node in graph.nodes:
            reference = find_op(node.op).reference
            assert reference is not None
            results = reference([arrays[name] for name in node.inputs], node.attrs)
            arrays.update(zip(node.outputs, results, strict=True))
        np.testing.assert_array_equal(found, arrays[graph.outputs[0]])

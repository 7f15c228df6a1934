"""The network of cifar10_cnn.graph, built in Python with ``GraphBuilder``.

In: the .npz file of its constants, as only argument. Out: the text form on standard output, which
is cifar10_cnn.graph without its comments. Every step is one plain operator, so what the integers do
is all there is to read.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Graph, TensorType
from utvm.ir.print_graph import print_graph
from utvm.op.builder import GraphBuilder
from utvm.op.cast import CastAttrs
from utvm.op.clip import ClipAttrs
from utvm.op.conv2d import Conv2dAttrs
from utvm.op.dense import DenseAttrs
from utvm.op.elementwise import BinaryAttrs
from utvm.op.pool2d import AvgPool2dAttrs, MaxPool2dAttrs
from utvm.op.registry import find_op
from utvm.op.reshape import ReshapeAttrs

INT8 = CastAttrs("int8", saturate=True)
PARAMETERS = (
    "mean_data",
    "conv0_weight",
    "conv0_bias_header",
    "conv1_weight",
    "conv1_bias",
    "conv2_weight",
    "conv2_bias",
    "dense0_weight_row_major",
    "dense0_bias",
)


def build(params: Mapping[str, np.ndarray]) -> Graph:
    """The network with these constants."""
    b = GraphBuilder("cifar10_cnn", find_op)
    data = b.input("data", TensorType((1, 32, 32, 3), DType.UINT8))
    for name in PARAMETERS:
        b.constant(params[name], name)
    for name, value in (
        ("half_512", 256),
        ("bits_9", 9),
        ("half_32", 16),
        ("bits_5", 5),
        ("eight", 8),
    ):
        b.constant(np.array([value], np.int32), name)

    pixels = b.emit("cast", [data], CastAttrs("int16"), "pixels")
    mean = b.emit("cast", ["mean_data"], CastAttrs("int16"), "mean")
    centered = b.emit("sub", [pixels, mean], BinaryAttrs(), "centered")
    x = b.emit("cast", [centered], INT8, "x")

    x = convolution(b, 0, x, "conv0_bias_header")
    x = b.emit("max_pool2d", [x], MaxPool2dAttrs((3, 3), (2, 2), (0, 1, 0, 1)), "pool0")
    x = b.emit("clip", [x], ClipAttrs(low=0), "relu0")
    for layer in (1, 2):
        x = convolution(b, layer, x, f"conv{layer}_bias")
        x = b.emit("clip", [x], ClipAttrs(low=0), f"relu{layer}")
        x = average(b, layer, x)

    flat = b.emit("reshape", [x], ReshapeAttrs((1, 1024)), "flat")
    bias = b.emit("cast", ["dense0_bias"], CastAttrs("int32"), "bias")
    bias = b.emit("mul", [bias, "eight"], BinaryAttrs(), "bias_8")
    operands = [flat, "dense0_weight_row_major", bias]
    total = b.emit("dense", operands, DenseAttrs(), "dense0_sum")
    b.output(scaled(b, total, "dense0", "half_32", "bits_5", result="label"))
    return b.build()


def convolution(b: GraphBuilder, layer: int, x: str, bias: str) -> str:
    """5x5 taps over two pixels of padding, rescaled to int8."""
    attrs = Conv2dAttrs(padding=(2, 2, 2, 2))
    total = b.emit("conv2d", [x, f"conv{layer}_weight", bias], attrs, f"conv{layer}_sum")
    return scaled(b, total, f"conv{layer}", "half_512", "bits_9", result=f"conv{layer}")


def scaled(b: GraphBuilder, total: str, name: str, half: str, bits: str, result: str) -> str:
    """``total`` divided by a power of two, rounded half up, saturated to int8."""
    rounded = b.emit("add", [total, half], BinaryAttrs(), f"{name}_half")
    shifted = b.emit("shift_right", [rounded, bits], None, f"{name}_shift")
    return b.emit("cast", [shifted], INT8, result)


def average(b: GraphBuilder, layer: int, x: str) -> str:
    """3x3 averages in two passes, each truncated to int8: along the rows, then the columns."""
    rows = AvgPool2dAttrs((1, 3), (1, 2), (0, 0, 0, 1), rounding="truncate")
    columns = AvgPool2dAttrs((3, 1), (2, 1), (0, 1, 0, 0), rounding="truncate")
    x = b.emit("avg_pool2d", [x], rows, f"rows{layer}")
    return b.emit("avg_pool2d", [x], columns, f"pool{layer}")


if __name__ == "__main__":
    with np.load(sys.argv[1]) as arrays:
        print(print_graph(build(dict(arrays))), end="")

"""Four small networks, built by hand, whose generated C stands in tests/golden.

Weights are a fixed pattern, so that the C shows what the compiler does, not what was trained.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, Graph, Quantization, TensorType, Value
from utvm.op.base import NoAttrs
from utvm.op.builder import GraphBuilder
from utvm.op.conv2d import Conv2dAttrs
from utvm.op.dense import DenseAttrs
from utvm.op.elementwise import BinaryAttrs
from utvm.op.pool2d import MaxPool2dAttrs
from utvm.op.registry import find_op
from utvm.op.reshape import ReshapeAttrs
from utvm.op.softmax import SoftmaxAttrs


class NetworkBuilder:
    """A graph of quantized operators, as an importer would make it."""

    def __init__(self, name: str) -> None:
        self.graph = GraphBuilder(name, find_op)
        self._count = 0

    def input(self, name: str, shape: tuple[int, ...], scale: float = 0.0) -> str:
        dtype = DType.INT8 if scale else DType.FLOAT32
        return self.graph.input(name, TensorType(shape, dtype), _quantization(scale, -3))

    def weights(self, shape: tuple[int, ...], scale: float = 0.0) -> str:
        data = (np.arange(np.prod(shape)) * 37 % 41 - 20).reshape(shape)
        data = data.astype(np.int8) if scale else (data / 16).astype(np.float32)
        name = self.graph.constant(data, "weight")
        self.graph.annotate(name, _quantization(scale, 0))
        return name

    def bias(self, filters: int, scale: float = 0.0) -> str:
        data = np.arange(filters) * 50 - 100
        data = data.astype(np.int32) if scale else (data / 32).astype(np.float32)
        name = self.graph.constant(data, "bias")
        self.graph.annotate(name, _quantization(scale, 0))
        return name

    def apply(
        self, op: str, inputs: list[str], attrs: Attrs, shape: tuple[int, ...], scale: float = 0.0
    ) -> str:
        """An operator whose result has the quantization given; its source is numbered."""
        self.graph.source = f"{op.upper()} #{self._count}"
        self._count += 1
        dtype = DType.INT8 if scale else DType.FLOAT32
        zero_point = -128 if op == "softmax" else 5
        if op in ("max_pool2d", "reshape") and scale:
            zero_point = self.graph.quantization(inputs[0]).zero_point  # type: ignore[union-attr]
        value = Value(
            self.graph.fresh(op), TensorType(shape, dtype), _quantization(scale, zero_point)
        )
        name = self.graph.add_value(value)
        self.graph.add_node(op, inputs, [name], attrs)
        return name

    def finish(self, output: str) -> Graph:
        self.graph.output(output)
        return self.graph.build()


def _quantization(scale: float, zero_point: int) -> Quantization | None:
    return Quantization((scale,), (zero_point,)) if scale else None


def residual() -> Graph:
    """A padded 3x3 convolution whose result is added to its input."""
    b = NetworkBuilder("residual")
    x = b.input("image", (1, 6, 6, 4), 0.05)
    operands = [x, b.weights((4, 3, 3, 4), 0.02), b.bias(4, 0.001)]
    attrs = Conv2dAttrs(padding=(1, 1, 1, 1), activation="relu")
    y = b.apply("conv2d", operands, attrs, (1, 6, 6, 4), 0.06)
    return b.finish(b.apply("add", [x, y], BinaryAttrs(), (1, 6, 6, 4), 0.07))


def depthwise() -> Graph:
    """A depthwise convolution with stride 2, then maxima over 2x2."""
    b = NetworkBuilder("depthwise")
    x = b.input("image", (1, 9, 9, 3), 0.05)
    operands = [x, b.weights((1, 3, 3, 3), 0.02), b.bias(3, 0.001)]
    attrs = Conv2dAttrs(strides=(2, 2), activation="relu6")
    y = b.apply("depthwise_conv2d", operands, attrs, (1, 4, 4, 3), 0.03)
    pool = MaxPool2dAttrs(window=(2, 2), strides=(2, 2))
    return b.finish(b.apply("max_pool2d", [y], pool, (1, 2, 2, 3), 0.03))


def classifier() -> Graph:
    """Flattened, a dense layer, probabilities."""
    b = NetworkBuilder("classifier")
    x = b.input("features", (1, 2, 2, 5), 0.05)
    flat = b.apply("reshape", [x], ReshapeAttrs((1, 20)), (1, 20), 0.05)
    operands = [flat, b.weights((6, 20), 0.02), b.bias(6, 0.001)]
    y = b.apply("dense", operands, DenseAttrs(), (1, 6), 0.1)
    return b.finish(b.apply("softmax", [y], SoftmaxAttrs(1.0), (1, 6), 1 / 256))


def regression() -> Graph:
    """Floats: a dense layer and a logistic function."""
    b = NetworkBuilder("regression")
    x = b.input("features", (1, 7))
    y = b.apply("dense", [x, b.weights((3, 7)), b.bias(3)], DenseAttrs(activation="relu"), (1, 3))
    return b.finish(b.apply("logistic", [y], NoAttrs(), (1, 3)))


NETWORKS: dict[str, Callable[[], Graph]] = {
    network.__name__: network for network in (residual, depthwise, classifier, regression)
}

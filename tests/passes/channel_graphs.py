"""Random plain integer networks in which channels are constant or unread, for tests of passes.

In: a seed. Out: a graph of int8 values with convolutions of every kind, rescales, tables, clamps,
sums of branches, pools, borders, concatenations, moves and a classifier. About half of the filters
are zero, and so are some weights of single inputs. ``assert_equal`` compares two graphs by the
NumPy references of their operators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from utvm.driver.evaluate import evaluate
from utvm.ir.dtype import DType
from utvm.ir.graph import Graph, TensorType
from utvm.op.builder import GraphBuilder
from utvm.op.cast import CastAttrs
from utvm.op.clip import ClipAttrs
from utvm.op.concat import ConcatAttrs
from utvm.op.conv2d import Conv2dAttrs
from utvm.op.pad import PadAttrs
from utvm.op.pool2d import AvgPool2dAttrs, MaxPool2dAttrs
from utvm.op.reduce import ReduceAttrs
from utvm.op.registry import find_op
from utvm.op.requantize import RequantizeAttrs
from utvm.op.requantize_linear import RequantizeLinearAttrs
from utvm.op.reshape import ReshapeAttrs
from utvm.op.resize import ResizeAttrs
from utvm.op.strided_slice import StridedSliceAttrs
from utvm.op.sum_linear import SumLinearAttrs
from utvm.op.transpose import TransposeAttrs


@dataclass
class Drawing:
    """A graph being drawn; ``images`` are its int8 values [1, H, W, C], the newest last."""

    random: np.random.Generator
    builder: GraphBuilder
    images: list[str] = field(default_factory=list)

    @property
    def current(self) -> str:
        return self.images[-1]

    def integer(self, low: int, high: int) -> int:
        """A number in low..high, both included."""
        return int(self.random.integers(low, high + 1))

    def shape(self, name: str) -> tuple[int, ...]:
        return self.builder.type_of(name).shape

    def constant(self, low: int, high: int, shape: tuple[int, ...], dtype: str = "int32") -> str:
        data = self.random.integers(low, high + 1, shape).astype(dtype)
        return self.builder.constant(data)

    def weights(self, shape: tuple[int, ...], axis: int) -> str:
        """int8 weights; along ``axis`` about half are zero, along the last axis a quarter."""
        data = self.random.integers(-127, 128, shape)
        filters = np.moveaxis(data, axis, 0)
        filters[self.random.random(shape[axis]) < 0.5] = 0
        if axis != len(shape) - 1:
            data[..., self.random.random(shape[-1]) < 0.25] = 0
        return self.builder.constant(data.astype(np.int8), "weight")

    def rescaled(self, total: str, taps: int) -> str:
        """int8 of an accumulator: one of the two fixed-point rescales, constants per channel."""
        channels = self.shape(total)[-1]
        shift = 7 + int(np.log2(taps)) // 2
        low, high = self.integer(-128, -100), self.integer(60, 127)
        count = channels if self.integer(0, 1) else 1
        if self.integer(0, 1):
            multiplier = self.constant(1 << 30, (1 << 31) - 1, (count,))
            shifts = self.constant(shift - 1, shift + 1, (count,))
            zero = self.integer(-128, 20)
            attrs = RequantizeAttrs("int8", low, high, output_zero_point=zero, right=True)
            return self.builder.emit("requantize", [total, multiplier, shifts], attrs)
        multiplier = self.constant(1 << 29, (1 << 30) - 1, (count,))
        addends = [self.constant(-(1 << 13), 1 << 13, (count,)) for _ in range(2)]
        shifts = self.constant(shift - 2, shift - 1, (count,))
        attrs_linear = RequantizeLinearAttrs("int8", low, high)
        operands = [total, multiplier, addends[0], shifts]
        if self.integer(0, 2) == 0:
            operands.append(addends[1])
        return self.builder.emit("requantize_linear", operands, attrs_linear)


def _conv(d: Drawing) -> str:
    _, height, width, channels = d.shape(d.current)
    filters, kh, kw = d.integer(1, 13), d.integer(1, min(3, height)), d.integer(1, min(3, width))
    weight = d.weights((filters, kh, kw, channels), 0)
    operands = [d.current, weight]
    if d.integer(0, 4):
        operands.append(d.constant(-4000, 4000, (filters,)))
    padding = tuple(d.integer(0, 1) * d.integer(0, 1) for _ in range(4))
    attrs = Conv2dAttrs(
        strides=(d.integer(1, 2), d.integer(1, 2)),
        padding=padding,  # type: ignore[arg-type]
        input_zero_point=int(d.random.choice([-128, 0, 5])),
        weight_zero_point=int(d.random.choice([0, 0, 0, 3])),
    )
    return d.rescaled(d.builder.emit("conv2d", operands, attrs), kh * kw * channels)


def _depthwise(d: Drawing) -> str:
    _, height, width, channels = d.shape(d.current)
    kh, kw = d.integer(1, min(3, height)), d.integer(1, min(3, width))
    filters = channels * d.integer(1, 2)
    weight = d.weights((1, kh, kw, filters), 3)
    padding = (d.integer(0, 1), 0, d.integer(0, 1), 0)
    attrs = Conv2dAttrs(padding=padding, input_zero_point=int(d.random.choice([-128, 0])))
    bias = d.constant(-4000, 4000, (filters,))
    return d.rescaled(d.builder.emit("depthwise_conv2d", [d.current, weight, bias], attrs), kh * kw)


def _sum(d: Drawing) -> str:
    others = [name for name in d.images if d.shape(name) == d.shape(d.current)]
    other = others[d.integer(0, len(others) - 1)]
    kind = d.integer(0, 2)
    if kind == 0:
        attrs = SumLinearAttrs("int8", -128, 127, (d.integer(1, 90), -d.integer(1, 90)), 64, 7)
        return d.builder.emit("sum_linear", [d.current, other], attrs)
    wide = [d.builder.emit("cast", [name], CastAttrs("int32")) for name in (d.current, other)]
    op = ("add", "sub", "minimum", "maximum", "mul")[d.integer(0, 4)]
    total = d.builder.emit(op, wide)
    if kind == 1:
        return d.builder.emit("cast", [total], CastAttrs("int8", saturate=True))
    return d.builder.emit("cast", [total], CastAttrs("int8"))


def _unary(d: Drawing) -> str:
    kind = d.integer(0, 3)
    if kind == 0:
        table = d.constant(-128, 127, (256,), "int8")
        return d.builder.emit("lut", [d.current, table])
    if kind == 1:
        low = d.integer(-128, 20)
        return d.builder.emit("clip", [d.current], ClipAttrs(low, low + d.integer(0, 200)))
    channels = d.shape(d.current)[-1]
    count = channels if d.integer(0, 1) else 1
    if kind == 2:
        bits = d.constant(0, 7, (count,), "int8")
        return d.builder.emit("shift_right", [d.current, bits])
    bound = d.constant(-128, 127, (1, 1, 1, count), "int8")
    op = ("minimum", "maximum")[d.integer(0, 1)]
    return d.builder.emit(op, [d.current, bound])


def _pool(d: Drawing) -> str:
    _, height, width, _ = d.shape(d.current)
    window = (d.integer(1, min(3, height)), d.integer(1, min(3, width)))
    padding = (min(1, window[0] - 1), 0, 0, min(1, window[1] - 1))
    if d.integer(0, 1):
        return d.builder.emit("max_pool2d", [d.current], MaxPool2dAttrs(window, (1, 1), padding))
    return d.builder.emit("avg_pool2d", [d.current], AvgPool2dAttrs(window, (1, 1), padding))


def _move(d: Drawing) -> str:
    _, height, width, channels = shape = d.shape(d.current)
    kind = d.integer(0, 6)
    if kind == 0:
        sides = (0, d.integer(0, 1), d.integer(0, 1), d.integer(0, 3) // 3)
        attrs = PadAttrs(sides, (0, 0, 1, 0), value=d.integer(-128, 0))
        return d.builder.emit("pad", [d.current], attrs)
    if kind == 1:
        return d.builder.emit("concat", [d.current, d.constant(-9, 9, shape, "int8")],
                              ConcatAttrs(d.integer(1, 3)))  # fmt: skip
    if kind == 2:
        others = [name for name in d.images if d.shape(name)[:3] == shape[:3]]
        other = others[d.integer(0, len(others) - 1)]
        return d.builder.emit("concat", [other, d.current], ConcatAttrs(3))
    if kind == 3:
        begin = d.integer(0, channels - 1) * d.integer(0, 1)
        cut = StridedSliceAttrs((0, 0, 0, begin), (1, 1, 1, 1), (1, height, 1, channels - begin))
        return d.builder.emit("strided_slice", [d.current], cut)
    if kind == 4:
        order = (0, 2, 1, 3) if d.integer(0, 2) else (0, 3, 1, 2)
        return d.builder.emit("transpose", [d.current], TransposeAttrs(order))
    if kind == 5:
        size = (1, width, height, channels) if d.integer(0, 1) else (1, 1, height, width * channels)
        return d.builder.emit("reshape", [d.current], ReshapeAttrs(size))
    return d.builder.emit("resize_nearest", [d.current], ResizeAttrs((height, d.integer(1, 5))))


STEPS: tuple[Callable[[Drawing], str], ...] = (
    *(_conv, _conv, _conv, _conv, _depthwise, _depthwise, _sum, _unary, _pool, _move),
)


def random_graph(seed: int) -> Graph:
    """Three to nine steps and a classifier; the last image sometimes is an output, too."""
    d = Drawing(np.random.default_rng(seed), GraphBuilder(f"drawn_{seed}", find_op))
    size = (1, d.integer(2, 6), d.integer(2, 6), d.integer(1, 8))
    d.images.append(d.builder.input("x", TensorType(size, DType.INT8)))
    for _ in range(d.integer(3, 9)):
        if d.builder.type_of(d.current).elements < 4000:
            d.images.append(STEPS[d.integer(0, len(STEPS) - 1)](d))
    if d.integer(0, 2) == 0 and len(d.images) > 1:
        d.builder.output(d.current)
    if d.integer(0, 1):
        total = d.builder.emit("sum", [d.current], ReduceAttrs((1, 2), keep_dims=True))
        d.images.append(d.rescaled(total, 16))
    depth = d.builder.type_of(d.current).elements
    flat = d.builder.emit("reshape", [d.current], ReshapeAttrs((1, depth)))
    weight, bias = d.weights((7, depth), 0), d.constant(-500, 500, (7,))
    d.builder.output(d.builder.emit("dense", [flat, weight, bias]))
    return d.builder.build()


def random_inputs(graph: Graph, seed: int = 5) -> Iterator[dict[str, np.ndarray]]:
    """Some inputs for a graph of int8: noise, and both ends of the type."""
    rng = np.random.default_rng(seed)
    for low, high in ((-128, 127), (-128, 127), (-128, -128), (127, 127)):
        yield {
            name: rng.integers(low, high + 1, graph.values[name].shape).astype(np.int8)
            for name in graph.inputs
        }


def assert_equal(graph: Graph, other: Graph) -> None:
    """Both compute the same outputs, bit for bit."""
    for inputs in random_inputs(graph):
        wanted = list(evaluate(graph, inputs, find_op).values())
        found = list(evaluate(other, inputs, find_op).values())
        for a, b in zip(wanted, found, strict=True):
            np.testing.assert_array_equal(a, b)


def macs_of(graph: Graph) -> int:
    """Multiply-accumulates of a graph."""
    total = 0
    for node in graph.nodes:
        if (count := find_op(node.op).macs) is not None:
            inputs = [value.type for value in graph.inputs_of(node)]
            total += count(inputs, [value.type for value in graph.outputs_of(node)])
    return total

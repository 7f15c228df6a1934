"""Random quantized and float networks as TFLite models: shapes and combinations nobody thought of.

In: a seed and an element type. Out: the bytes of a model with some operators, and one input
array. Scales are chosen so that values neither die out nor all saturate. The same seed gives the
same network everywhere. ``OPERATORS`` lists what may be drawn; each adds to a ``Network``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.tflite_builder import ModelBuilder

Array = npt.NDArray[Any]
RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
ACTIVATIONS = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")


@dataclass(frozen=True)
class Tensor:
    """A tensor of the network being drawn; scale and zero point are unused in float networks."""

    index: int
    shape: tuple[int, ...]
    scale: float
    zero: int


@dataclass
class Network:
    """The model so far; ``current`` is what the next operator reads, ``older`` what it may add."""

    random: np.random.Generator
    dtype: str
    builder: ModelBuilder = field(default_factory=ModelBuilder)
    older: list[Tensor] = field(default_factory=list)

    @property
    def current(self) -> Tensor:
        return self.older[-1]

    def integer(self, low: int, high: int) -> int:
        """A number in low..high, both included."""
        return int(self.random.integers(low, high + 1))

    def choice(self, *options: Any) -> Any:
        return options[self.integer(0, len(options) - 1)]

    def add(self, shape: tuple[int, ...], scale: float, zero: int | None = None) -> Tensor:
        """Declares an activation tensor."""
        scale = float(np.float32(scale))
        if self.dtype == "float32":
            index = self.builder.tensor(shape, self.dtype)
            return Tensor(index, shape, scale, 0)
        if zero is None:
            low, high = RANGES[self.dtype]
            zero = 0 if self.dtype == "int16" else self.integer(low, high)
        return Tensor(self.builder.tensor(shape, self.dtype, scale, zero), shape, scale, zero)

    def weights(self, shape: tuple[int, ...], axis: int) -> tuple[int, Array, float]:
        """A constant filter: its index, its scales, and a typical real magnitude of a weight."""
        if self.dtype == "float32":
            data = self.random.normal(0, 0.3, shape).astype(np.float32)
            return self.builder.tensor(shape, "float32", data=data), np.ones(1), 0.3
        per_channel = self.dtype != "uint8" and self.integer(0, 3) > 0
        count = shape[axis] if per_channel else 1
        scales = (2.0 ** self.random.uniform(-9, -7, count)).astype(np.float32)
        if self.dtype == "uint8":
            data = self.random.integers(0, 256, shape)
            index = self.builder.tensor(
                shape, "uint8", float(scales[0]), self.integer(0, 255), data=data
            )
            return index, scales, 80 * float(scales[0])
        data = self.random.integers(-127, 128, shape)
        scale: Any = scales.tolist() if per_channel else float(scales[0])
        index = self.builder.tensor(
            shape, "int8", scale, axis=axis if per_channel else None, data=data
        )
        return index, scales, 73 * float(scales.mean())

    def bias(self, x: Tensor, scales: Array, channels: int) -> int:
        """A constant bias on the scale of the accumulators."""
        if self.dtype == "float32":
            data = self.random.normal(0, 0.5, channels)
            return self.builder.tensor((channels,), "float32", data=data)
        real = (x.scale * scales).tolist()
        scale: Any = real if len(real) > 1 else real[0]
        data = self.random.integers(-3000, 3000, channels)
        dtype = "int64" if self.dtype == "int16" else "int32"
        axis = 0 if len(real) > 1 else None
        return self.builder.tensor((channels,), dtype, scale, axis=axis, data=data)

    def output(self, shape: tuple[int, ...], magnitude: float) -> Tensor:
        """A result whose values are about ``magnitude`` large."""
        steps = 60 if self.dtype != "int16" else 12000
        return self.add(shape, magnitude / steps)

    def magnitude(self, x: Tensor) -> float:
        return (
            1.0 if self.dtype == "float32" else x.scale * (60 if self.dtype != "int16" else 12000)
        )


def _extent(size: int, window: int, stride: int, dilation: int, padding: str) -> int:
    reach = (window - 1) * dilation + 1
    return -(-size // stride) if padding == "SAME" else (size - reach) // stride + 1


def _window(net: Network, x: Tensor, *, dilated: bool) -> tuple[dict[str, Any], int, int, int, int]:
    """Options of a random window that fits, its rows and columns, and the result's."""
    _, height, width, _ = x.shape
    padding = net.choice("SAME", "VALID")
    kh, kw = net.integer(1, min(5, height)), net.integer(1, min(5, width))
    sh, sw = net.integer(1, 3), net.integer(1, 3)
    dilation = net.integer(1, 2) if dilated and sh == sw == 1 else 1
    if padding == "VALID" and ((kh - 1) * dilation >= height or (kw - 1) * dilation >= width):
        dilation = 1
    options: dict[str, Any] = {"padding": padding, "stride_h": sh, "stride_w": sw}
    if dilated:
        options |= {"dilation_h_factor": dilation, "dilation_w_factor": dilation}
    rows = _extent(height, kh, sh, dilation, padding)
    columns = _extent(width, kw, sw, dilation, padding)
    return options, kh, kw, rows, columns


def conv(net: Network) -> None:
    x = net.current
    options, kh, kw, rows, columns = _window(net, x, dilated=True)
    channels, filters = x.shape[3], net.integer(1, 13)
    weight, scales, typical = net.weights((filters, kh, kw, channels), 0)
    inputs = [x.index, weight, net.bias(x, scales, filters)]
    size = net.magnitude(x) * typical * np.sqrt(kh * kw * channels)
    y = net.output((x.shape[0], rows, columns, filters), size)
    activation = net.choice(*ACTIVATIONS)
    net.builder.op("CONV_2D", inputs, [y.index], **options, fused_activation_function=activation)
    net.older.append(y)


def depthwise(net: Network) -> None:
    x = net.current
    options, kh, kw, rows, columns = _window(net, x, dilated=True)
    multiplier = net.integer(1, 3)
    filters = x.shape[3] * multiplier
    weight, scales, typical = net.weights((1, kh, kw, filters), 3)
    y = net.output((x.shape[0], rows, columns, filters),
                   net.magnitude(x) * typical * np.sqrt(kh * kw))  # fmt: skip
    net.builder.op(
        "DEPTHWISE_CONV_2D",
        [x.index, weight, net.bias(x, scales, filters)],
        [y.index],
        **options,
        depth_multiplier=multiplier,
        fused_activation_function=net.choice(*ACTIVATIONS[:3]),
    )
    net.older.append(y)


def pool(net: Network) -> None:
    x = net.current
    options, kh, kw, rows, columns = _window(net, x, dilated=False)
    y = net.add((x.shape[0], rows, columns, x.shape[3]), x.scale, x.zero)
    net.builder.op(
        net.choice("MAX_POOL_2D", "AVERAGE_POOL_2D"),
        [x.index],
        [y.index],
        **options,
        filter_height=kh,
        filter_width=kw,
    )
    net.older.append(y)


def arithmetic(net: Network) -> None:
    """ADD, SUB or MUL with an older tensor of the shape, or with a constant row."""
    x = net.current
    others = [t for t in net.older if t.shape == x.shape]
    other = net.choice(*others)
    if net.integer(0, 2) == 0:
        shape = net.choice((x.shape[-1],), (1,), (1, 1, 1, x.shape[-1]))
        scale = float(np.float32(net.random.uniform(0.3, 2.0) * x.scale))
        if net.dtype == "float32":
            index = net.builder.tensor(shape, "float32", data=net.random.normal(0, 1, shape))
        else:
            low, high = RANGES[net.dtype]
            zero = 0 if net.dtype == "int16" else net.integer(low, high)
            data = net.random.integers(low, high + 1, shape)
            index = net.builder.tensor(shape, net.dtype, scale, zero, data=data)
        other = Tensor(index, shape, scale, 0)
    kind = net.choice("ADD", "ADD", "SUB", "MUL")
    a, b = net.magnitude(x), net.magnitude(other)
    y = net.output(x.shape, a * b if kind == "MUL" else a + b)
    options = {"pot_scale_int16": False} if kind != "MUL" else {}
    net.builder.op(
        kind,
        [x.index, other.index] if net.integer(0, 1) else [other.index, x.index],
        [y.index],
        fused_activation_function=net.choice(*ACTIVATIONS[:2]),
        **options,
    )
    net.older.append(y)


def unary(net: Network) -> None:
    x = net.current
    kinds = ["LEAKY_RELU", "RELU", "RELU6"]
    if net.dtype in ("int8", "uint8", "float32"):
        kinds += ["HARD_SWISH"]
    kind = net.choice(*kinds)
    y = net.output(x.shape, net.magnitude(x))
    net.builder.op(kind, [x.index], [y.index])
    net.older.append(y)


def squash(net: Network) -> None:
    """LOGISTIC or TANH with the output quantization that the specification fixes."""
    x = net.current
    kind = net.choice("LOGISTIC", "TANH")
    fixed = {
        ("LOGISTIC", "int8"): (1 / 256, -128),
        ("LOGISTIC", "uint8"): (1 / 256, 0),
        ("TANH", "int8"): (1 / 128, 0),
        ("TANH", "uint8"): (1 / 128, 128),
    }
    scale, zero = fixed.get((kind, net.dtype), (1 / 32768, 0))
    y = net.add(x.shape, scale, zero)
    net.builder.op(kind, [x.index], [y.index])
    net.older.append(y)


def pad(net: Network) -> None:
    x = net.current
    pads = [[0, 0], *([net.integer(0, 2), net.integer(0, 2)] for _ in range(2)), [0, 0]]
    shape = tuple(n + a + b for n, (a, b) in zip(x.shape, pads, strict=True))
    y = net.add(shape, x.scale, x.zero)
    table = net.builder.tensor((4, 2), "int32", data=np.array(pads))
    net.builder.op("PAD", [x.index, table], [y.index])
    net.older.append(y)


def concat(net: Network) -> None:
    x = net.current
    others = [t for t in net.older if t.shape[:3] == x.shape[:3]
              and (t.scale, t.zero) == (x.scale, x.zero)]  # fmt: skip
    other = net.choice(*others)
    y = net.add((*x.shape[:3], x.shape[3] + other.shape[3]), x.scale, x.zero)
    net.builder.op("CONCATENATION", [x.index, other.index], [y.index], axis=3)
    net.older.append(y)


def transpose(net: Network) -> None:
    x = net.current
    order = (0, *(1 + net.random.permutation(3)).tolist())
    y = net.add(tuple(x.shape[i] for i in order), x.scale, x.zero)
    table = net.builder.tensor((4,), "int32", data=np.array(order))
    net.builder.op("TRANSPOSE", [x.index, table], [y.index])
    net.older.append(y)


def cut(net: Network) -> None:
    """STRIDED_SLICE of rows and columns."""
    x = net.current
    begin = [0, *(net.integer(0, (n - 1) // 2) for n in x.shape[1:3]), 0]
    steps = [1, net.integer(1, 2), net.integer(1, 2), 1]
    shape = tuple(-(-(n - b) // s) for n, b, s in zip(x.shape, begin, steps, strict=True))
    y = net.add(shape, x.scale, x.zero)
    tables = [net.builder.tensor((4,), "int32", data=np.array(v)) for v in (begin, x.shape, steps)]
    net.builder.op("STRIDED_SLICE", [x.index, *tables], [y.index])
    net.older.append(y)


def mean(net: Network) -> None:
    x = net.current
    axes = net.choice([1], [2], [1, 2], [3])
    shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    y = net.output(shape, net.magnitude(x) * 0.5)
    table = net.builder.tensor((len(axes),), "int32", data=np.array(axes))
    net.builder.op("MEAN", [x.index, table], [y.index], keep_dims=True)
    net.older.append(y)


def resize(net: Network) -> None:
    x = net.current
    rows, columns = net.integer(1, 9), net.integer(1, 9)
    y = net.add((x.shape[0], rows, columns, x.shape[3]), x.scale, x.zero)
    table = net.builder.tensor((2,), "int32", data=np.array([rows, columns]))
    half = bool(net.integer(0, 1))
    net.builder.op(
        net.choice("RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR"),
        [x.index, table],
        [y.index],
        half_pixel_centers=half,
        align_corners=not half and bool(net.integer(0, 1)),
    )
    net.older.append(y)


def classify(net: Network) -> None:
    """RESHAPE, FULLY_CONNECTED and sometimes SOFTMAX: the end of a network."""
    x = net.current
    depth = int(np.prod(x.shape[1:]))
    flat = net.add((x.shape[0], depth), x.scale, x.zero)
    table = net.builder.tensor((2,), "int32", data=np.array([x.shape[0], depth]))
    net.builder.op("RESHAPE", [x.index, table], [flat.index], new_shape=[x.shape[0], depth])
    classes = net.integer(1, 11)
    weight, scales, typical = net.weights((classes, depth), 0)
    y = net.output((x.shape[0], classes), net.magnitude(x) * typical * np.sqrt(depth))
    net.builder.op(
        "FULLY_CONNECTED", [flat.index, weight, net.bias(flat, scales, classes)], [y.index]
    )
    net.older.append(y)
    if net.integer(0, 1):
        scale, zero = {
            "int8": (1 / 256, -128), "uint8": (1 / 256, 0), "int16": (1 / 32768, 0),
        }.get(net.dtype, (1.0, 0))  # fmt: skip
        z = net.add(y.shape, scale, zero)
        net.builder.op("SOFTMAX", [y.index], [z.index])
        net.older.append(z)


OPERATORS: tuple[Callable[[Network], None], ...] = (
    *(conv, conv, conv, depthwise, depthwise, pool, arithmetic, arithmetic, unary, squash),
    *(pad, concat, transpose, cut, mean, resize),
)


def random_network(seed: int, dtype: str) -> tuple[bytes, Array]:
    """A model of three to eight operators and a classifier, with an input for it."""
    net = Network(np.random.default_rng(seed), dtype)
    shape = (1, net.integer(3, 14), net.integer(3, 14), net.integer(1, 9))
    net.older.append(net.add(shape, 0.05 if dtype != "int16" else 0.0002))
    source = net.current
    for _ in range(net.integer(3, 8)):
        if net.current.shape[1] * net.current.shape[2] == 1 and net.integer(0, 1):
            break
        OPERATORS[net.integer(0, len(OPERATORS) - 1)](net)
    outputs = [net.current.index]
    classify(net)
    outputs.append(net.current.index)
    if outputs[0] == source.index:
        outputs = outputs[1:]
    model = net.builder.build([source.index], outputs)
    if dtype == "float32":
        return model, net.random.normal(0, 1, shape).astype(np.float32)
    low, high = RANGES[dtype]
    return model, net.random.integers(low, high + 1, shape).astype(dtype)

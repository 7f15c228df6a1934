"""Random layers of the kinds that networks are made of: convolutions, dense layers, pools.

In: a seed and a number. Out: a TFLite model of one operator, with what the sweep's table needs to
know of its shape. Shape ``i`` of a seed depends on nothing but these two, so a sweep can stop and
go on. Sizes are odd as often as even, channels few as often as many; an eighth of the layers has
int16 activations, another one uint8.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tests.op.single_op_models import (
    ConvCase,
    Model,
    conv_model,
    data_of,
    op_model,
    quantized,
)
from utvm.ir.dtype import DType

MOST_MACS = 600_000
MOST_ELEMENTS = 40_000
FEW_MACS = 10_000
"""Layers below that are drawn less often."""
WINDOWS = ((1, 1), (1, 1), (1, 1), (3, 3), (3, 3), (3, 3), (3, 3), (5, 5), (5, 5), (3, 1), (1, 5),
           (2, 2), (7, 7), (4, 3), (10, 4))  # fmt: skip
CHANNELS = (1, 2, 3, 3, 4, 5, 7, 8, 12, 13, 16, 16, 20, 24, 32, 32, 40, 48, 64, 64, 96, 128)
SIZES = (4, 6, 7, 8, 12, 14, 16, 24, 32, 48, 96)
KINDS = {
    "conv": 0.36,
    "depthwise": 0.22,
    "dense": 0.14,
    "pool": 0.14,
    "grouped": 0.06,
    "transposed": 0.08,
}
TYPES = {DType.INT8: 0.75, DType.UINT8: 0.125, DType.INT16: 0.125}


@dataclass(frozen=True)
class Shape:
    """One layer; ``channels`` are the result's, ``results`` its batch, rows and columns."""

    kind: str
    dtype: str
    image: tuple[int, int, int, int]
    window: tuple[int, int]
    channels: int
    results: tuple[int, int, int]
    strides: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    note: str = ""

    @property
    def macs(self) -> int:
        """Products; of pools, elements that windows see or would see inside of the image."""
        batch, rows, columns = self.image[:3] if self.kind == "transposed" else self.results
        return self.taps * self.channels * batch * rows * columns

    @property
    def taps(self) -> int:
        """Elements that a result is made of."""
        depth = self.image[3] // self.groups
        alone = self.kind in ("depthwise", "pool")
        return self.window[0] * self.window[1] * (1 if alone else depth)

    def __str__(self) -> str:
        """As in ``conv 3x3 s2x2 int8 1x8x8x16 -> 32``."""
        parts = [self.kind, _by(self.window)]
        parts += [f"s{_by(self.strides)}"] if self.strides != (1, 1) else []
        parts += [f"d{_by(self.dilation)}"] if self.dilation != (1, 1) else []
        parts += [f"g{self.groups}"] if self.groups > 1 else []
        parts += [self.dtype, _by(self.image), "->", str(self.channels), self.note]
        return " ".join(parts).strip()


def _by(numbers: tuple[int, ...]) -> str:
    return "x".join(map(str, numbers))


def random_shape(seed: int, number: int) -> tuple[Shape, Model]:
    """Layer ``number`` of a seed."""
    rng = np.random.default_rng((seed, number))
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    dtype = DType(rng.choice([t.value for t in TYPES], p=list(TYPES.values())))
    if kind == "pool":
        return _pool(rng, dtype)
    make = {
        "conv": _convolution,
        "depthwise": _depthwise,
        "dense": _dense,
        "grouped": _grouped,
        "transposed": _transposed,
    }[kind]
    while True:
        case = make(rng, dtype)
        shape = _shape_of(kind, case)
        macs = shape.macs
        elements = max(int(np.prod(case.shape)), int(np.prod(case.out_shape)))
        fits = min(case.out_shape) > 0 and macs <= MOST_MACS and elements <= MOST_ELEMENTS
        if fits and (macs >= FEW_MACS or rng.random() < 0.3):
            return shape, conv_model(rng, case)


def _shape_of(kind: str, case: ConvCase) -> Shape:
    note = f"{case.padding} {case.activation}"
    note += " per-channel" if case.per_channel and case.dtype is not DType.UINT8 else ""
    return Shape(
        kind,
        case.dtype.value,
        case.shape,
        case.filter,
        case.channels,
        case.out_shape[:3],
        case.strides,
        case.dilation,
        case.groups,
        note,
    )


def _image(rng: np.random.Generator, depth: int) -> tuple[int, int, int, int]:
    """A batch of images, square ones of usual sizes or any other."""
    if rng.random() < 0.5:
        height = width = int(rng.choice(SIZES))
    else:
        height, width = (int(n) for n in rng.integers(1, 24, 2))
    return int(rng.choice((1, 1, 1, 1, 1, 2, 3))), height, width, depth


def _case(rng: np.random.Generator, dtype: DType, depth: int, channels: int, kind: str) -> ConvCase:
    stride = int(rng.choice((1, 1, 1, 2, 3)))
    strides = (stride, stride if rng.random() < 0.85 else int(rng.integers(1, 4)))
    dilated = strides == (1, 1) and kind != "TRANSPOSE_CONV" and rng.random() < 0.2
    dilation = tuple(int(n) for n in rng.integers(1, 4, 2)) if dilated else (1, 1)
    window = WINDOWS[rng.integers(len(WINDOWS))]
    return ConvCase(
        kind,
        dtype,
        _image(rng, depth),
        window,
        channels,
        strides,
        (dilation[0], dilation[1]),
        str(rng.choice(("SAME", "SAME", "VALID"))),
        str(rng.choice(("NONE", "RELU", "RELU6"))),
        per_channel=bool(rng.random() < 0.8),
        # The reference kernel of CONV_2D wants one.
        bias=kind == "CONV_2D" or bool(rng.random() < 0.9),
    )


def _channels(rng: np.random.Generator) -> int:
    return int(rng.choice(CHANNELS))


def _convolution(rng: np.random.Generator, dtype: DType) -> ConvCase:
    return _case(rng, dtype, _channels(rng), _channels(rng), "CONV_2D")


def _depthwise(rng: np.random.Generator, dtype: DType) -> ConvCase:
    depth = _channels(rng)
    multiplier = int(rng.choice((1, 1, 1, 1, 2, 3, 8)))
    return _case(rng, dtype, depth, depth * multiplier, "DEPTHWISE_CONV_2D")


def _grouped(rng: np.random.Generator, dtype: DType) -> ConvCase:
    groups = int(rng.choice((2, 3, 4, 8)))
    depth, channels = (groups * int(rng.choice((1, 2, 3, 4, 5, 8, 12, 16))) for _ in range(2))
    # The reference kernels group int8 and float only.
    case = _case(rng, DType.INT8, depth, channels, "CONV_2D")
    return replace(case, groups=groups)


def _transposed(rng: np.random.Generator, dtype: DType) -> ConvCase:
    case = _case(rng, dtype, _channels(rng), _channels(rng), "TRANSPOSE_CONV")
    return replace(case, activation="NONE")


def _dense(rng: np.random.Generator, dtype: DType) -> ConvCase:
    depth, outputs = (
        int(rng.choice(CHANNELS)) * int(rng.choice((1, 4))) if rng.random() < 0.5
        else int(rng.integers(1, 300)) for _ in range(2)
    )  # fmt: skip
    rows = int(rng.choice((1, 1, 1, 1, 3, 10)))
    activation = str(rng.choice(("NONE", "RELU", "RELU6")))
    return ConvCase(
        "FULLY_CONNECTED",
        dtype,
        (1, 1, rows, depth),
        (1, 1),
        outputs,
        activation=activation,
        per_channel=dtype is DType.INT8 and bool(rng.random() < 0.4),
        bias=bool(rng.random() < 0.9),
    )


def _pool(rng: np.random.Generator, dtype: DType) -> tuple[Shape, Model]:
    window = tuple(int(n) for n in rng.integers(1, 6, 2))
    strides = tuple(int(n) for n in rng.integers(1, 4, 2))
    batch, *sizes, depth = _image(rng, _channels(rng))
    sizes = [max(size, taps) for size, taps in zip(sizes, window, strict=True)]
    while batch * sizes[0] * sizes[1] * depth > MOST_ELEMENTS:
        depth = -(-depth // 2)
    if rng.random() < 0.15:
        window = (sizes[0], sizes[1])
    padding = str(rng.choice(("SAME", "VALID")))
    results = [
        -(-extent // stride) if padding == "SAME" else (extent - taps) // stride + 1
        for extent, taps, stride in zip(sizes, window, strides, strict=True)
    ]
    kind = str(rng.choice(("AVERAGE_POOL_2D", "MAX_POOL_2D")))
    quant = quantized(rng, dtype, 0.05)
    image = (batch, sizes[0], sizes[1], depth)
    options: dict[str, Any] = {
        "padding": padding,
        "filter_height": window[0],
        "filter_width": window[1],
        "stride_h": strides[0],
        "stride_w": strides[1],
        "fused_activation_function": str(rng.choice(("NONE", "NONE", "RELU"))),
    }
    model = op_model(
        kind,
        [data_of(rng, dtype, image)],
        [quant],
        (batch, *results, depth),
        quant,
        version=2,
        **options,
    )
    shape = Shape(
        "pool",
        dtype.value,
        image,
        (window[0], window[1]),
        depth,
        (batch, results[0], results[1]),
        (strides[0], strides[1]),
        note=f"{kind.partition('_')[0].lower()} {padding}",
    )
    return shape, model

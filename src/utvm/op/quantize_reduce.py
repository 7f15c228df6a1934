"""AVERAGE_POOL_2D, MAX_POOL_2D, MEAN, SUM, REDUCE_MAX and REDUCE_MIN on quantized tensors.

In: the ``Quant`` of input and output, window or axes. Out: frozen parameters and exact NumPy
references on NHWC arrays. Pooling never rescales: input and output share their quantization. MEAN
folds the division by the count into its multiplier, truncating. Sources: TFLite
kernels/{pooling,reduce}.cc, kernels/internal/reference/{pooling,reduce}.h, integer_ops/pooling.h.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from utvm.ir.dtype import DType
from utvm.op.fixed_point import (
    Int32Array,
    Int64Array,
    int64_of,
    requantize,
    wrap_int32,
)
from utvm.op.quantize_params import Quant, operator_multiplier, require_dtypes, require_symmetric

_SAME = frozenset((d, d) for d in (DType.INT8, DType.UINT8, DType.INT16))


@dataclass(frozen=True)
class MeanParams:
    """MEAN and SUM: out = requantize(sum - zero_point_sum)."""

    zero_point_sum: int
    multiplier: int
    shift: int
    zero_point: int
    qmin: int
    qmax: int


@dataclass(frozen=True)
class Window:
    """A pooling window, (height, width) each; ``padding`` is what lies before the input."""

    filter: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[int, int]
    output: tuple[int, int]


def mean_params(x: Quant, out: Quant, count: int) -> MeanParams:
    """MEAN over ``count`` elements. The 1/count joins the multiplier with as many bits as fit."""
    p = sum_reduce_params(x, out, count)
    room = min(count.bit_length() - 1, 32, 31 + p.shift)
    multiplier = (p.multiplier << room) // count
    return MeanParams(p.zero_point_sum, multiplier, p.shift - room, p.zero_point, p.qmin, p.qmax)


def sum_reduce_params(x: Quant, out: Quant, count: int) -> MeanParams:
    """SUM over ``count`` elements.

    LiteRT's reference kernel reads int8 and int16 data as uint8 here, so for those types this is
    the arithmetic of TFLite Micro, which is the one meant.
    """
    require_dtypes("MEAN or SUM", (x.dtype, out.dtype), _SAME)
    require_symmetric("MEAN or SUM", x, out)
    multiplier, shift = operator_multiplier("MEAN or SUM", x.f64 / out.f64)
    return MeanParams(x.zero_point * count, multiplier, shift, out.zero_point, out.qmin, out.qmax)


def mean_reference(x: npt.ArrayLike, axes: tuple[int, ...], p: MeanParams) -> Int32Array:
    """MEAN or SUM over ``axes``, which are kept with size one."""
    total = int64_of(x).sum(axis=axes, keepdims=True) - p.zero_point_sum
    return requantize(wrap_int32(total), p.multiplier, p.shift, p.zero_point, p.qmin, p.qmax)


def average_rounded(total: npt.ArrayLike, count: npt.ArrayLike) -> Int64Array:
    """total / count to the nearest, halves away from zero, with count / 2 truncated."""
    value, divisor = int64_of(total), int64_of(count)
    magnitude = (np.abs(value) + divisor // 2) // divisor
    return np.where(value > 0, magnitude, -magnitude)


def _windows(x: Int64Array, window: Window) -> list[list[Int64Array]]:
    """For each output pixel, the part of the input under the window: (batch, pixels, channels)."""
    batch, height, width, channels = x.shape
    rows: list[list[Int64Array]] = []
    for oy in range(window.output[0]):
        top = oy * window.strides[0] - window.padding[0]
        row = []
        for ox in range(window.output[1]):
            left = ox * window.strides[1] - window.padding[1]
            part = x[
                :,
                max(top, 0) : min(top + window.filter[0], height),
                max(left, 0) : min(left + window.filter[1], width),
            ]
            row.append(part.reshape(batch, -1, channels))
        rows.append(row)
    return rows


def average_pool_reference(x: npt.ArrayLike, window: Window, qmin: int, qmax: int) -> Int64Array:
    """The mean of what lies inside the input, clamped; padding does not count."""
    rows = [
        [average_rounded(part.sum(axis=1), part.shape[1]) for part in row]
        for row in _windows(int64_of(x), window)
    ]
    return np.clip(_stacked(rows), qmin, qmax)


def max_pool_reference(x: npt.ArrayLike, window: Window, qmin: int, qmax: int) -> Int64Array:
    rows = [[part.max(axis=1) for part in row] for row in _windows(int64_of(x), window)]
    return np.clip(_stacked(rows), qmin, qmax)


def _stacked(rows: list[list[Int64Array]]) -> Int64Array:
    """Pixels of (batch, channels) as one NHWC array."""
    return np.stack([np.stack(row, axis=1) for row in rows], axis=1)

"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR: coordinates and exact NumPy references.

In: NHWC arrays, the output size, the two coordinate options. Out: per axis the source pixels and
weights (all of them constants for the compiler), and the resized array. int8 and int16 interpolate
in integers with ten fractional bits; uint8 in float32, plus one half, truncated; float32 in
float32. Nearest copies. Quantization plays no part. Sources: TFLite kernels/resize_bilinear.cc,
kernels/internal/reference/{resize_bilinear,resize_nearest_neighbor}.h.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from utvm.op.fixed_point import Int64Array, int64_of, round_half_away


@dataclass(frozen=True)
class ResizeOptions:
    align_corners: bool = False
    half_pixel_centers: bool = False


@dataclass(frozen=True, eq=False)
class LinearAxis:
    """One axis of a bilinear resize: two source indices and the weight of the upper one.

    ``upper_weight`` counts in 1/1024 for integers and is a float32 fraction otherwise; at a border
    it may lie outside the unit range, as in the kernels.
    """

    lower: Int64Array
    upper: Int64Array
    upper_weight: np.ndarray


def nearest_indices(size: int, out_size: int, options: ResizeOptions) -> Int64Array:
    """The source index of every output index along one axis, computed in float32."""
    f32 = np.float32
    if options.align_corners and out_size > 1:
        scale = f32(size - 1) / f32(out_size - 1)
    else:
        scale = f32(size) / f32(out_size)
    offset = f32(0.5 if options.half_pixel_centers else 0.0)
    at = (np.arange(out_size).astype(f32) + offset) * scale
    index = int64_of(round_half_away(at) if options.align_corners else np.floor(at))
    return np.clip(index, 0, size - 1)


def resize_nearest_reference(
    x: np.ndarray, out_size: tuple[int, int], options: ResizeOptions
) -> np.ndarray:
    rows = nearest_indices(x.shape[1], out_size[0], options)
    columns = nearest_indices(x.shape[2], out_size[1], options)
    return x[:, rows][:, :, columns]


def linear_axis_integer(size: int, out_size: int, options: ResizeOptions) -> LinearAxis:
    """Coordinates in 1/1024 pixel; divisions truncate towards zero as in C."""
    if options.align_corners and out_size > 1:
        scale = (1024 * (size - 1) + (out_size - 1) // 2) // (out_size - 1)
    else:
        scale = (1024 * size + out_size // 2) // out_size
    at = np.arange(out_size, dtype=np.int64) * scale
    if options.half_pixel_centers:
        at = at + scale // 2 - 512
    lower = np.maximum(_truncated(at, 1024), 0)
    upper = np.minimum(_truncated(at + 1023, 1024), size - 1)
    return LinearAxis(lower, upper, at - 1024 * lower)


def linear_axis_float(size: int, out_size: int, options: ResizeOptions) -> LinearAxis:
    """Coordinates in float32."""
    f32 = np.float32
    if options.align_corners and out_size > 1:
        scale = f32(size - 1) / f32(out_size - 1)
    else:
        scale = f32(size) / f32(out_size)
    at = np.arange(out_size).astype(f32)
    at = (at + f32(0.5)) * scale - f32(0.5) if options.half_pixel_centers else at * scale
    lower = np.maximum(int64_of(np.floor(at)), 0)
    upper = np.minimum(int64_of(np.ceil(at)), size - 1)
    return LinearAxis(lower, upper, at - lower.astype(f32))


def _truncated(value: Int64Array, divisor: int) -> Int64Array:
    magnitude = np.abs(value) // divisor
    return np.where(value < 0, -magnitude, magnitude)


def _corners(
    x: np.ndarray, rows: LinearAxis, columns: LinearAxis
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The pixels at (low, low), (high, low), (low, high) and (high, high) rows and columns."""
    top, bottom = x[:, rows.lower], x[:, rows.upper]
    return (
        top[:, :, columns.lower],
        bottom[:, :, columns.lower],
        top[:, :, columns.upper],
        bottom[:, :, columns.upper],
    )


def resize_bilinear_integer_reference(
    x: npt.ArrayLike, out_size: tuple[int, int], options: ResizeOptions
) -> Int64Array:
    """int8 and int16: the weighted sum in 1/2^20, halves away from zero."""
    value = int64_of(x)
    rows = linear_axis_integer(value.shape[1], out_size[0], options)
    columns = linear_axis_integer(value.shape[2], out_size[1], options)
    dy = rows.upper_weight[None, :, None, None]
    dx = columns.upper_weight[None, None, :, None]
    c00, c10, c01, c11 = _corners(value, rows, columns)
    total = (
        c00 * (1024 - dy) * (1024 - dx)
        + c10 * dy * (1024 - dx)
        + c01 * (1024 - dy) * dx
        + c11 * dy * dx
    )
    half = np.where(total > 0, 1 << 19, -(1 << 19))
    return _truncated(total + half, 1 << 20)


def resize_bilinear_float_reference(
    x: np.ndarray, out_size: tuple[int, int], options: ResizeOptions
) -> np.ndarray:
    """float32, and uint8 with one half added and the fraction cut off; sums left to right."""
    f32 = np.float32
    rows = linear_axis_float(x.shape[1], out_size[0], options)
    columns = linear_axis_float(x.shape[2], out_size[1], options)
    dy = rows.upper_weight[None, :, None, None]
    dx = columns.upper_weight[None, None, :, None]
    c00, c10, c01, c11 = _corners(x.astype(f32), rows, columns)
    one = f32(1.0)
    total: np.ndarray = (
        c00 * (one - dy) * (one - dx)
        + c10 * dy * (one - dx)
        + c01 * (one - dy) * dx
        + c11 * dy * dx
    )
    if x.dtype == f32:
        return total
    return int64_of(total + f32(0.5)).astype(x.dtype)

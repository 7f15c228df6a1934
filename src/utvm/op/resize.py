"""``resize_nearest`` and ``resize_bilinear``: images [N, H, W, C] in another size, as TFLite has
them.

Which pixels a result reads, and with what weights, depends on the sizes alone, so both stand in
tables by row and by column: offsets of elements, and weights in 1/1024 (int8, int16) or float32
(float32 and uint8). Quantization plays no part: nearest copies, and bilinear interpolates integers
as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, TensorType
from utvm.ir.loop import INT32, Binary, Cast, Expr, Imm, Let, Load, Select, Stmt, Var
from utvm.op.base import Arrays, Op, Types, expect, expect_inputs
from utvm.op.channels import same_channels
from utvm.op.definition import Definition, cast, grid
from utvm.op.quantize_resize import (
    LinearAxis,
    ResizeOptions,
    linear_axis_float,
    linear_axis_integer,
    nearest_indices,
    resize_bilinear_float_reference,
    resize_bilinear_integer_reference,
    resize_nearest_reference,
)
from utvm.op.ranges import same_range

BILINEAR_TYPES = (DType.INT8, DType.UINT8, DType.INT16, DType.FLOAT32)
FLOAT = DType.FLOAT32
MOST_SIZE = 1 << 16
"""Rows or columns of a result: each has its entry in a table."""

ONE_BITS = 10
"""Weights of integers count in 1/2^10, so products of two in 1/2^20."""


@dataclass(frozen=True)
class ResizeAttrs(Attrs):
    """``size``: rows and columns of the result. ``align_corners``: the corner pixels' centers
    coincide.

    ``half_pixel_centers``: pixels are squares whose centers lie at one half.
    """

    size: tuple[int, int]
    align_corners: bool = False
    half_pixel_centers: bool = False

    @property
    def options(self) -> ResizeOptions:
        return ResizeOptions(self.align_corners, self.half_pixel_centers)


def _infer(inputs: Types, attrs: ResizeAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 1)
    x = inputs[0]
    expect(len(x.shape) == 4 and x.elements > 0, "an image to resize is NHWC", "rank 4", x)
    expect(min(attrs.size) >= 1, "the size is not positive", found=attrs.size)
    expect(max(attrs.size) <= MOST_SIZE, "the size is too large", f"at most {MOST_SIZE}",
           attrs.size)  # fmt: skip
    return (TensorType((x.shape[0], *attrs.size, x.shape[3]), x.dtype),)


def _infer_bilinear(inputs: Types, attrs: ResizeAttrs) -> tuple[TensorType, ...]:
    types = _infer(inputs, attrs)
    expect(types[0].dtype in BILINEAR_TYPES, "cannot interpolate",
           "float32, int8, uint8 or int16", types[0].dtype.value)  # fmt: skip
    return types


def _reference_nearest(inputs: Arrays, attrs: ResizeAttrs) -> tuple[np.ndarray, ...]:
    return (resize_nearest_reference(inputs[0], attrs.size, attrs.options),)


def _reference_bilinear(inputs: Arrays, attrs: ResizeAttrs) -> tuple[np.ndarray, ...]:
    x = inputs[0]
    if x.dtype.kind == "i":
        result = resize_bilinear_integer_reference(x, attrs.size, attrs.options)
        return (result.astype(x.dtype),)
    return (resize_bilinear_float_reference(x, attrs.size, attrs.options),)


def _table(d: Definition, name: str, data: np.ndarray, position: str) -> Expr:
    """Element ``position`` of a constant table."""
    return Load(d.table(name, data), (Var(position),))


def _define_nearest(d: Definition) -> tuple[Stmt, ...]:
    """Loops n, y, x, c; ``row`` and ``column`` are offsets of elements."""
    attrs: ResizeAttrs = d.attrs
    n, height, width, channels = d.buffers[0].shape
    source = d.buffers[0].view(n, height * width * channels)
    offsets = (
        ("row", "y", nearest_indices(height, attrs.size[0], attrs.options) * width * channels),
        ("column", "x", nearest_indices(width, attrs.size[1], attrs.options) * channels),
    )
    row, column = (
        Let(Var(name), _table(d, f"{name}s", data.astype(np.int32), position))
        for name, position, data in offsets
    )
    at = Var("row") + Var("column") + Var("c")
    index = tuple(Var(name) for name in ("n", "y", "x", "c"))
    body = d.store(index, Load(source, (Var("n"), at)))
    nest = grid(("x",), (attrs.size[1],), (column, *grid(("c",), (channels,), body)))
    return grid(("n", "y"), (n, attrs.size[0]), (row, *nest))


def _define_bilinear(d: Definition) -> tuple[Stmt, ...]:
    """Loops n, y, x, c over the four pixels around each point; lets hold offsets and weights."""
    attrs: ResizeAttrs = d.attrs
    n, height, width, channels = d.buffers[0].shape
    in_integers = d.output.dtype in (DType.INT8, DType.INT16)
    axis_of = linear_axis_integer if in_integers else linear_axis_float
    rows = axis_of(height, attrs.size[0], attrs.options)
    columns = axis_of(width, attrs.size[1], attrs.options)
    source = d.buffers[0].view(n, height * width * channels)

    def pixel(row: str, column: str, dtype: DType) -> Expr:
        at = Var(row) + Var(column) + Var("c")
        return cast(Load(source, (Var("n"), at)), dtype)

    lets, value = (_integer_sum if in_integers else _float_sum)(pixel, d.output.dtype)
    index = tuple(Var(name) for name in ("n", "y", "x", "c"))
    body = grid(("c",), (channels,), (*lets, *d.store(index, value)))
    in_row = _lets(d, columns, ("left", "right", "dx"), "x", channels)
    in_image = _lets(d, rows, ("top", "bottom", "dy"), "y", width * channels)
    nest = grid(("x",), (attrs.size[1],), (*in_row, *body))
    return grid(("n", "y"), (n, attrs.size[0]), (*in_image, *nest))


def _lets(
    d: Definition, axis: LinearAxis, names: tuple[str, str, str], position: str, step: int
) -> tuple[Stmt, ...]:
    """The offsets of the lower and upper pixel along one axis and the weight of the upper."""
    lower, upper, weight = names
    in_floats = axis.upper_weight.dtype == np.float32
    weights = axis.upper_weight.astype(np.float32 if in_floats else np.int32)
    data = ((axis.lower * step).astype(np.int32), (axis.upper * step).astype(np.int32), weights)
    lets: list[Stmt] = []
    for name, values in zip((lower, upper, weight), data, strict=True):
        value = _table(d, f"{name}_of_{position}", values, position)
        lets.append(Let(Var(name, value.dtype), value))
    return tuple(lets)


Pixel = Callable[[str, str, DType], Expr]


def _integer_sum(pixel: Pixel, dtype: DType) -> tuple[tuple[Stmt, ...], Expr]:
    """First along the rows, then between them, then one rounding, halves away from zero."""
    wide = DType.INT64 if dtype is DType.INT16 else DType.INT32
    one = Imm(1 << ONE_BITS)
    dx, dy = Var("dx"), Var("dy")
    lets: list[Stmt] = []
    for name, row in (("above", "top"), ("below", "bottom")):
        value = pixel(row, "left", INT32) * (one - dx) + pixel(row, "right", INT32) * dx
        lets.append(Let(Var(name), value))
    above, below = cast(Var("above"), wide), cast(Var("below"), wide)
    total = Var("total", wide)
    lets.append(Let(total, above * cast(one - dy, wide) + below * cast(dy, wide)))
    half = 1 << (2 * ONE_BITS - 1)
    away = Select(Binary(">", total, Imm(0, wide)), Imm(half, wide), Imm(-half, wide))
    return tuple(lets), Cast(dtype, Binary("/", total + away, Imm(2 * half, wide)))


def _float_sum(pixel: Pixel, dtype: DType) -> tuple[tuple[Stmt, ...], Expr]:
    """The products and sums in the kernels' order, since uint8 cuts off what they make of it."""
    dx, dy = Var("dx", FLOAT), Var("dy", FLOAT)
    one = Imm(1.0, FLOAT)
    total = (
        pixel("top", "left", FLOAT) * (one - dy) * (one - dx)
        + pixel("bottom", "left", FLOAT) * dy * (one - dx)
        + pixel("top", "right", FLOAT) * (one - dy) * dx
        + pixel("bottom", "right", FLOAT) * dy * dx
    )
    if dtype is FLOAT:
        return (), total
    return (), Cast(dtype, total + Imm(0.5, FLOAT))


RESIZE_NEAREST = Op(
    "resize_nearest",
    ResizeAttrs,
    _infer,
    reference=_reference_nearest,
    define=_define_nearest,
    operands=("x",),
    ranges=same_range,
    channels=same_channels,
)
RESIZE_BILINEAR = Op(
    "resize_bilinear",
    ResizeAttrs,
    _infer_bilinear,
    reference=_reference_bilinear,
    define=_define_bilinear,
    operands=("x",),
    channels=same_channels,
)

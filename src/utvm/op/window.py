"""What the operators with a sliding window share: conv2d, depthwise_conv2d, the pools.

Tensors are NHWC. A window needs padded rows: ``padded_rows`` defines them as a workspace filled by
a copy nest, which a schedule moves inwards (``compute_at``) so that only a few lines exist at a
time. Rows are flat: W*C elements.
"""

from __future__ import annotations

from math import prod

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import Binary, Buffer, Expr, Imm, Load, Select, Stmt, Store, Var, all_of
from utvm.ir.verify_graph import MAX_ELEMENTS
from utvm.op.base import expect
from utvm.op.definition import Definition, grid

Pair = tuple[int, int]
Padding = tuple[int, int, int, int]


def output_extent(extent: int, window: int, stride: int, dilation: int, pad: int) -> int:
    """The number of window positions along one axis of ``extent + pad`` elements."""
    effective = (window - 1) * dilation + 1
    expect(extent + pad >= effective, "the window is larger than its padded input",
           f"at most {extent + pad}", effective)  # fmt: skip
    return (extent + pad - effective) // stride + 1


def output_size(
    shape: tuple[int, ...], window: Pair, strides: Pair, dilation: Pair, padding: Padding
) -> Pair:
    """Rows and columns of the result for an NHWC input ``shape``."""
    expect(len(shape) == 4, "a window slides over NHWC", "rank 4", shape)
    expect(min(*window, *strides, *dilation) >= 1, "windows, strides and dilations are positive")
    expect(min(padding) >= 0, "padding is not negative", found=padding)
    largest = max(*window, *strides, *dilation, *padding)
    expect(largest <= MAX_ELEMENTS, "a window, stride, dilation or padding is too large",
           f"at most {MAX_ELEMENTS}", largest)  # fmt: skip
    top, bottom, left, right = padding
    expect_image((shape[0], shape[1] + top + bottom, shape[2] + left + right, shape[3]))
    rows = output_extent(shape[1], window[0], strides[0], dilation[0], top + bottom)
    columns = output_extent(shape[2], window[1], strides[1], dilation[1], left + right)
    return rows, columns


def expect_image(shape: tuple[int, ...]) -> None:
    """Checks the size of an image with its padding: offsets into it are int32."""
    expect(prod(shape) <= MAX_ELEMENTS, "the padded image is too large",
           f"at most {MAX_ELEMENTS} elements", list(shape))  # fmt: skip


def padded_rows(
    d: Definition, window: Pair, strides: Pair, dilation: Pair, padding: Padding, value: Imm
) -> tuple[tuple[Stmt, ...], Buffer]:
    """The copy nest and the buffer [N, rows, columns*C] that the windows of operand 0 read.

    Without padding it is the operand itself and no copy. Loops: pad_n, pad_y, pad_x; the buffer is
    named "rows", which is what schedules look for.
    """
    rows = (d.output.shape[1] - 1) * strides[0] + (window[0] - 1) * dilation[0] + 1
    columns = (d.output.shape[2] - 1) * strides[1] + (window[1] - 1) * dilation[1] + 1
    return padded_image(d, (padding[0], padding[2]), (rows, columns), value)


def padded_image(
    d: Definition, origin: Pair, size: Pair, value: Imm
) -> tuple[tuple[Stmt, ...], Buffer]:
    """The same for a padded image of ``size`` in which operand 0 begins at ``origin``."""
    source = d.buffers[0]
    n, height, width, channels = source.shape
    (top, left), (rows, columns) = origin, size
    flat = source.view(n, height, width * channels)
    if top == 0 and left == 0 and rows <= height and columns <= width:
        return (), flat
    buffer = d.workspace("rows", source.dtype, n, rows, columns * channels)
    b, y, x = Var("pad_n"), Var("pad_y"), Var("pad_x")
    inside = all_of(
        Binary(">=", y, Imm(top)),
        Binary("<", y, Imm(top + height)),
        Binary(">=", x, Imm(left * channels)),
        Binary("<", x, Imm((left + width) * channels)),
    )
    element = Load(flat, (b, y - top, x - left * channels))
    store = Store(buffer, (b, y, x), Select(inside, element, value))
    nest = grid(("pad_n", "pad_y", "pad_x"), (n, rows, columns * channels), (store,))
    return nest, buffer


def padding_value(dtype: DType, value: int) -> Imm:
    """``value`` as a literal of an operand's type: what padding holds, or where a sum starts."""
    return Imm(float(value) if dtype.is_float else value, dtype)


def scaled(var: Expr, factor: int) -> Expr:
    """``var * factor``, without a multiplication by one."""
    return var if factor == 1 else var * factor


def window_view(
    x: np.ndarray,
    window: Pair,
    strides: Pair,
    dilation: Pair,
    padding: Padding,
    value: float | int,
) -> np.ndarray:
    """[N, OH, OW, KH, KW, C]: every window of an NHWC array, for NumPy references."""
    top, bottom, left, right = padding
    full = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)
    reach = tuple((k - 1) * d + 1 for k, d in zip(window, dilation, strict=True))
    views = np.lib.stride_tricks.sliding_window_view(full, reach, axis=(1, 2))
    views = views[:, :: strides[0], :: strides[1], :, :: dilation[0], :: dilation[1]]
    return np.moveaxis(views, 3, 5)

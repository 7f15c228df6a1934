"""Reads the loops of a depthwise convolution, as ``weighted_sum`` does for a full one.

In: an unscheduled function of ``depthwise_conv2d``. Out: its geometry, read off the index
expressions, or None where it is of another kind (floats, weights made at run time, weights with a
zero point).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import Buffer, Expr, Function, Load, Stmt
from utvm.ir.rewrite import Linear, from_linear
from utvm.schedule.rescale_fit import fitted
from utvm.schedule.unbiased import unbiased
from utvm.schedule.weighted_sum import (
    PIXELS,
    Array,
    Summation,
    flat_form,
    known_bias,
    product_of,
    read_summation,
)


@dataclass(frozen=True, eq=False)
class DepthwiseSum:
    """out[n, y, x, c * multiplier + m] = epilogue(bias + sum over ky, kx of image * weights).

    ``image`` is [batch, height, width, channels], ``weights`` [filters, kh, kw] in int16.
    ``origin`` is the padding above and to the left, in rows and columns of the image.
    """

    function: Function
    source: Buffer
    image: tuple[int, int, int, int]
    weights: Array
    rows: int
    columns: int
    strides: tuple[int, int]
    row_dilation: int
    origin: tuple[int, int]
    padding: int
    bias: Expr
    acc: Buffer
    epilogue: tuple[Stmt, ...]
    column_dilation: int = 1
    column_step: int = 1
    """Columns of the image from one that is read to the next: of a phase of a dilated window."""
    axes: tuple[str, str] = ("y", "x")
    """The loop variables of rows and columns in the epilogue."""

    @property
    def filters(self) -> int:
        return int(self.weights.shape[0])

    @property
    def multiplier(self) -> int:
        return self.filters // self.image[3]

    @property
    def window(self) -> tuple[int, int]:
        return int(self.weights.shape[1]), int(self.weights.shape[2])

    @property
    def blank_columns(self) -> int:
        """Columns that the first window reads before the image begins."""
        return max(-(-self.origin[1] // self.column_step), 0)


def read_depthwise(function: Function, constants: Mapping[str, Array]) -> DepthwiseSum | None:
    """The geometry of a kernel, or None."""
    if function.op != "depthwise_conv2d":
        return None
    read = read_summation(function)
    product = None if read is None else product_of(read.update, read.acc)
    known = {"n", "y", "x", "c", "m", "ky", "kx"}
    if read is None or product is None or set(read.loops) - known:
        return None
    pixel, weight = product
    data = constants.get(weight.buffer.name)
    narrow = weight.buffer.dtype in (DType.INT8, DType.INT16)
    if data is None or pixel.buffer.dtype not in PIXELS or not narrow:
        return None
    padding = read.padding(pixel)
    return None if padding is None else _geometry(function, read, pixel, weight, data, padding)


def _geometry(
    function: Function,
    read: Summation,
    pixel: Load,
    weight: Load,
    data: Array,
    padding: tuple[str, tuple[int, int], int],
) -> DepthwiseSum | None:
    """The numbers behind the two loads; None where an index has other terms than these."""
    loops = read.loops
    name, (above, left), value = padding
    source = next(b for b in function.inputs if b.name == name)
    n, height, width, channels = source.shape
    kh, kw = loops.get("ky", 1), loops.get("kx", 1)
    filters = data.size // (kh * kw)
    line, form = pixel.buffer.shape[-1], flat_form(pixel.buffer, pixel.indices)
    if form is None or left % channels or filters % channels or loops.get("c", 1) != channels:
        return None
    row, dilation = form.coefficient("y") // line, form.coefficient("ky") // line
    column = form.coefficient("x") // channels
    image = pixel.buffer.elements // pixel.buffer.shape[0]
    column_dilation = form.coefficient("kx") // channels or 1
    pixels = {"n": image, "y": row * line, "x": column * channels, "c": 1}
    taps = {"ky": dilation * line, "kx": column_dilation * channels}
    order = {"ky": kw * filters, "kx": filters, "c": filters // channels, "m": 1}
    for load, wanted in ((pixel, pixels | taps), (weight, order)):
        terms = tuple(sorted((k, c) for k, c in wanted.items() if k in loops and c))
        if flat_form(load.buffer, load.indices) != Linear(0, terms):
            return None
    found = DepthwiseSum(
        function,
        source,
        (n, height, width, channels),
        data.reshape(kh, kw, filters).transpose(2, 0, 1).astype("int16"),
        rows=loops.get("y", 1),
        columns=loops.get("x", 1),
        strides=(row or 1, column or 1),
        row_dilation=dilation or 1,
        origin=(above, left // channels),
        padding=value,
        bias=read.bias,
        acc=read.acc,
        epilogue=read.epilogue,
        column_dilation=column_dilation,
    )
    return _turned(found) if found.image[2] == kw == found.columns == 1 and left == 0 else found


def _turned(w: DepthwiseSum) -> DepthwiseSum:
    """An image one pixel wide is one row of the same bytes, and columns are what blocks share."""
    n, height, _, channels = w.image
    return replace(
        w,
        image=(n, 1, height, channels),
        weights=w.weights.transpose(0, 2, 1),
        rows=1,
        columns=w.rows,
        strides=(1, w.strides[0]),
        row_dilation=1,
        origin=(0, w.origin[0]),
        column_dilation=w.row_dilation,
        axes=(w.axes[1], w.axes[0]),
    )


@dataclass(frozen=True, eq=False)
class Prepared:
    """A sum whose biases are known, and the constants that its epilogue reads. ``raised``: pixels
    are to be shifted left by ``RAISED``, so that the epilogue need not shift sums as far."""

    w: DepthwiseSum
    biases: Array
    constants: Mapping[str, Array]
    raised: bool = False


def prepare(
    w: DepthwiseSum, constants: Mapping[str, Array], fits: bool, raises: bool = False
) -> Prepared | None:
    """The sum with its biases; none if the rescale of shifted sums makes up for them. ``fits``:
    weights may be int16, so that they are shifted in place of sums, and that a rescale that bends
    may become shorter; ``raises``: pixels may be shifted, too. None where the biases are not
    known."""
    biases = known_bias(w.bias, w.filters, constants)
    if biases is None:
        return None
    terms = [("c", w.multiplier)] + ([("m", 1)] if w.multiplier > 1 else [])
    index = from_linear(Linear(0, tuple(sorted(terms))))
    own = (w.weights, biases, w.source.dtype, w.acc, w.epilogue, constants, index)
    tried = biases.any() and (raises or not fits)
    bare = unbiased(*own, raised=raises) if tried else None
    if bare is not None:
        known = {**constants, **bare.constants}
        return Prepared(replace(w, epilogue=bare.epilogue), np.zeros_like(biases), known, raises)
    fit = fitted(*own) if fits else None
    if fit is None:
        return Prepared(w, biases, constants)
    weights = replace(w, weights=fit.weights, epilogue=fit.epilogue)
    return Prepared(weights, fit.biases, {**constants, **fit.constants})

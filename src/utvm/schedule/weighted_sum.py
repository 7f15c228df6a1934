"""Reads the loops of a kernel that sums products of an image and constant weights.

In: an unscheduled function of ``conv2d`` or ``dense``. Out: its geometry as numbers, or None where
the kernel is of another kind: floats, weights made at run time; groups and dilated columns are for
``split_sum``. The image may be of int8, uint8 or int16; weights less their zero point
must fit int16. Nothing is assumed about how the operator was written; strides and
padding are read off the index expressions, so what is returned is what the loops mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import (
    Alloc,
    Binary,
    Buffer,
    Cast,
    Expr,
    For,
    Function,
    Imm,
    Load,
    Select,
    Stmt,
    Store,
)
from utvm.ir.rewrite import Linear, linear
from utvm.schedule.primitives import extent, writes

Array = np.ndarray

PIXELS = (DType.INT8, DType.UINT8, DType.INT16)
"""What an image may be made of: all of these are halfwords in the line buffer."""


@dataclass(frozen=True, eq=False)
class WeightedSum:
    """out[n, y, x, c] = epilogue(bias[c] + sum over ky, kx, i of image * weights).

    ``image`` is [batch, height, width, depth], ``weights`` [filters, kh, kw, depth]. Rows and
    columns count the results, ``origin`` is the padding above and to the left, in the image.
    ``variables`` names the loop variables of n, y, x and c in ``epilogue``, where they were not
    simplified away.
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
    variables: Mapping[str, str]
    column_step: int = 1
    """Columns of the image from one of a window to the next."""
    pitch: int = 0
    """Elements from one pixel of the image to the next; 0 is ``depth``."""
    first_channel: int = 0
    """Where the ``depth`` channels of a pixel begin that are read."""
    raised: bool = False
    """Pixels are shifted left in the line buffer (``unbiased.RAISED``), so that sums need not be
    as far."""

    @property
    def pixel_pitch(self) -> int:
        return self.pitch or self.depth

    @property
    def filters(self) -> int:
        return int(self.weights.shape[0])

    @property
    def depth(self) -> int:
        return self.image[3]

    @property
    def window(self) -> tuple[int, int]:
        return int(self.weights.shape[1]), int(self.weights.shape[2])

    @property
    def narrow(self) -> bool:
        """Whether the weights fit int8."""
        return self.weights.dtype == np.int8

    @property
    def padded(self) -> bool:
        """Whether some window reaches out of the image."""
        (kh, kw), (_, height, width, _) = self.window, self.image
        top, left = self.origin
        last_row = (self.rows - 1) * self.strides[0] + (kh - 1) * self.row_dilation
        last_column = ((self.columns - 1) * self.strides[1] + kw - 1) * self.column_step
        return top > 0 or left > 0 or last_row >= height or last_column - left >= width


@dataclass(frozen=True)
class Summation:
    """A kernel that adds products to ``acc``, which begins with ``bias``: its loops outside and
    inside of the accumulator by name, what the innermost does, the statements behind the sum, and
    the copy that pads rows before it all, if there is one."""

    stage: Stmt | None
    outer: dict[str, int]
    inner: dict[str, int]
    bias: Expr
    acc: Buffer
    update: tuple[Stmt, ...]
    epilogue: tuple[Stmt, ...]

    @property
    def loops(self) -> dict[str, int]:
        return {**self.outer, **self.inner}

    def padding(self, pixel: Load) -> tuple[str, tuple[int, int], int] | None:
        """What is padded, elements above and to the left, the value; None where it is unknown."""
        return read_stage(self.stage) if self.stage else (pixel.buffer.name, (0, 0), 0)


def read_summation(function: Function) -> Summation | None:
    """The parts of such a kernel, or None."""
    stage = [s for s in function.body if writes((s,), "rows")]
    rest = [s for s in function.body if s not in stage]
    if len(rest) != 1 or len(stage) > 1:
        return None
    outer, body = peel(rest[0], parallel=True)
    if len(body) < 4 or not isinstance(body[0], Alloc) or not isinstance(body[1], Store):
        return None
    acc, bias, epilogue = body[0].buffer, body[1].value, tuple(body[3:])
    if any(writes(epilogue, name) for name in (acc.name, "rows")):
        return None
    inner, update = peel(body[2], parallel=False)
    return Summation(stage[0] if stage else None, outer, inner, bias, acc, update, epilogue)


def read_weighted_sum(function: Function, constants: Mapping[str, Array]) -> WeightedSum | None:
    """The geometry of a kernel, or None."""
    if function.op not in ("conv2d", "dense"):
        return None
    read = read_summation(function)
    if read is None:
        return None
    product = offset_product_of(read.update, read.acc)
    if product is None or set(read.loops) - {"n", "y", "x", "c", "ky", "r"}:
        return None
    pixel, weight, zero = product
    data = less_zero_point(constants.get(weight.buffer.name), zero)
    if data is None or pixel.buffer.dtype not in PIXELS:
        return None
    reader = _Reader(function, read, pixel, weight, data)
    return reader.dense() if function.op == "dense" else reader.conv()


def peel(stmt: Stmt, parallel: bool) -> tuple[dict[str, int], tuple[Stmt, ...]]:
    """The extents of perfectly nested loops by name, and the body of the innermost."""
    extents: dict[str, int] = {}
    body: tuple[Stmt, ...] = (stmt,)
    while len(body) == 1 and isinstance(body[0], For) and body[0].parallel == parallel:
        loop = body[0]
        extents[loop.var.name] = extent(loop)
        body = loop.body
    return extents, body


def product_of(body: tuple[Stmt, ...], acc: Buffer) -> tuple[Load, Load] | None:
    """The two loads of ``acc = acc + int32(pixel) * int32(weight)``."""
    if len(body) != 1 or acc.dtype is not DType.INT32:
        return None
    match body[0]:
        case Store(
            buffer,
            _,
            Binary("+", Load(previous), Binary("*", Cast(_, Load() as x), Cast(_, Load() as w))),
        ) if buffer == previous == acc:
            return x, w
    return None


def offset_product_of(body: tuple[Stmt, ...], acc: Buffer) -> tuple[Load, Load, int] | None:
    """The same for ``int32(pixel) * (int32(weight) - zero)``, and the zero point."""
    plain = product_of(body, acc)
    if plain is not None:
        return (*plain, 0)
    if len(body) != 1 or acc.dtype is not DType.INT32:
        return None
    match body[0]:
        case Store(
            buffer,
            _,
            Binary(
                "+",
                Load(previous),
                Binary("*", Cast(_, Load() as x), Binary("-", Cast(_, Load() as w), Imm(zero))),
            ),
        ) if buffer == previous == acc:
            return x, w, int(zero)
    return None


def less_zero_point(data: Array | None, zero: int) -> Array | None:
    """Weights less their zero point as int8, or int16 where they need it; None if that is not
    enough."""
    if data is None or data.dtype.kind not in "iu":
        return None
    difference = data.astype(np.int64) - zero
    for dtype in (np.int8, np.int16):
        if np.array_equal(difference.astype(dtype), difference):
            return difference.astype(dtype)
    return None


def flat_form(buffer: Buffer, indices: tuple[Expr, ...]) -> Linear | None:
    """The linear form of a flat offset."""
    offset: Expr = Imm(0)
    for size, index in zip(buffer.shape, indices, strict=True):
        offset = offset * size + index
    return linear(offset)


@dataclass(frozen=True, eq=False)
class _Reader:
    """The kernel's parts, the two loads and the weights."""

    function: Function
    read: Summation
    pixel: Load
    weight: Load
    data: Array

    def dense(self) -> WeightedSum | None:
        """Rows of a matrix are the pixels of one image row."""
        batch, depth = self.read.outer.get("n", 1), self.read.inner.get("r", 1)
        filters = self.read.outer.get("c", 1)
        if not self._forms_are({"n": depth, "r": 1}, {"c": depth, "r": 1}):
            return None
        return WeightedSum(
            self.function,
            self._input(self.pixel.buffer.name),
            (1, 1, batch, depth),
            self.data.reshape(filters, 1, 1, depth),
            rows=1,
            columns=batch,
            strides=(1, 1),
            row_dilation=1,
            origin=(0, 0),
            padding=0,
            bias=self.read.bias,
            acc=self.read.acc,
            epilogue=self.read.epilogue,
            variables={"x": "n", "c": "c"},
        )

    def conv(self) -> WeightedSum | None:
        """Rows and columns of the image; one row of all pixels where 1x1 windows allow it."""
        padding = self.read.padding(self.pixel)
        if padding is None:
            return None
        name, offsets, value = padding
        source = self._input(name)
        n, height, width, depth = source.shape
        span, kh = self.read.inner.get("r", 1), self.read.inner.get("ky", 1)
        if span % depth or offsets[1] % depth:
            return None
        kw, line = span // depth, self.pixel.buffer.shape[-1]
        merged = not self.read.stage and line == n * height * width * depth and n * height > 1
        form = flat_form(self.pixel.buffer, self.pixel.indices)
        if form is None:
            return None
        steps = [divmod(form.coefficient(name), line) for name in ("y", "ky")]
        column, rest = divmod(form.coefficient("x"), depth)
        if rest or any(rest for _, rest in steps):
            return None
        (row, _), (dilation, _) = steps
        image_bytes = self.pixel.buffer.elements // self.pixel.buffer.shape[0]
        pixels = {"n": image_bytes, "y": row * line, "x": column * depth}
        taps = {"ky": dilation * line, "r": 1}
        per_filter = kh * span
        if not self._forms_are(pixels | taps, {"c": per_filter, "ky": span, "r": 1}):
            return None
        filters = self.read.outer.get("c", 1)
        n, height, width = (1, 1, n * height * width) if merged else (n, height, width)
        return WeightedSum(
            self.function,
            source,
            (n, height, width, depth),
            self.data.reshape(filters, kh, kw, depth),
            rows=self.read.outer.get("y", 1),
            columns=self.read.outer.get("x", 1),
            strides=(row or 1, column or 1),
            row_dilation=dilation or 1,
            origin=(offsets[0], offsets[1] // depth),
            padding=value,
            bias=self.read.bias,
            acc=self.read.acc,
            epilogue=self.read.epilogue,
            variables={name: name for name in ("n", "y", "x", "c")},
        )

    def _input(self, name: str) -> Buffer:
        return next(b for b in self.function.inputs if b.name == name)

    def _forms_are(self, pixel: dict[str, int], weight: dict[str, int]) -> bool:
        """Whether both loads are linear with exactly these coefficients and no constant."""
        loops = self.read.loops
        for load, wanted in ((self.pixel, pixel), (self.weight, weight)):
            terms = {k: c for k, c in wanted.items() if k in loops and c}
            if flat_form(load.buffer, load.indices) != Linear(0, tuple(sorted(terms.items()))):
                return False
        return True


def read_stage(stmt: Stmt) -> tuple[str, tuple[int, int], int] | None:
    """Of the copy that pads rows: what it copies, elements above and to the left, the value."""
    _, body = peel(stmt, parallel=True)
    match body:
        case (Store(_, _, Select(_, Load(source, (_, y, x)), Imm(value=int(value)))),):
            above, left = linear(y), linear(x)
            if above is not None and left is not None:
                return source.name, (-above.constant, -left.constant), value
    return None


def largest_pixel(dtype: DType) -> int:
    """The greatest magnitude of a pixel."""
    return max(-int(dtype.minimum), int(dtype.maximum))


def largest_sum(weights: Array, pixels: DType, biases: Array) -> int:
    """No sum of pixels times the weights [filters, ...], with its bias, has a greater magnitude."""
    sums = np.abs(weights.astype(np.int64)).reshape(len(weights), -1).sum(axis=1)
    return int((sums * largest_pixel(pixels) + np.abs(biases.astype(np.int64))).max())


def folded_shift(shift: int, weights: Array, pixels: DType, biases: Array) -> int:
    """``shift`` if weights and biases may be shifted so far left in place of the sums, else 0:
    weights in int16, sums in int32."""
    largest = int(np.abs(weights.astype(np.int64)).max(initial=0))
    fits = largest << shift < 1 << 15
    return shift if fits and largest_sum(weights, pixels, biases) << shift < 1 << 31 else 0


def known_bias(bias: Expr, filters: int, constants: Mapping[str, Array]) -> Array | None:
    """The int32 bias of each filter; None where it is not known."""
    if isinstance(bias, Imm):
        return np.full(filters, int(bias.value), np.int32)
    load = bias.value if isinstance(bias, Cast) else bias
    if isinstance(load, Load) and load.buffer.name in constants:
        data = constants[load.buffer.name].reshape(-1)
        if data.dtype.kind == "i" and data.dtype.itemsize <= 4 and data.size == filters:
            return data.astype(np.int32)
    return None

"""A convolution or a dense layer on panels, by micro functions that layers share: the kernel.

In: a weighted sum and the knobs of its blocks. Out: the kernel, which lays the windows of some
pixels out in panels and invokes the block on them, with its micro functions and its stream; or None
where that cannot be. Rows of an image whose windows reach out of it are copied between padding
first. Columns that fill no block are made once more, together with some before them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import (
    Binary,
    Buffer,
    Expr,
    Function,
    If,
    Imm,
    Invoke,
    Pointer,
    Stmt,
    Var,
    all_of,
    loop,
)
from utvm.ir.rewrite import simplify_body, substitute_expr
from utvm.schedule.conv_block import Block
from utvm.schedule.fill import blank, copy, fills_of
from utvm.schedule.line_buffer import buffer_of
from utvm.schedule.panel_block import PanelBuilder, panel_micro
from utvm.schedule.weighted_sum import Array, WeightedSum
from utvm.schedule.window_layout import WindowLayout

CHUNK_COLUMNS = 16
"""Results for which panels are filled at a time, at most."""
PANEL_BYTES = 4096
"""What their panels take, if that is enough for one block."""
SMALL_LAYER = 64
"""So many filters and fewer may go two at a time, if they need no other function then."""


def has_panels(w: WeightedSum) -> bool:
    """Whether rows of windows, and pixels that are copied, are whole words."""
    lanes = 32 // w.source.dtype.bits
    plain = w.column_step == 1 and w.pixel_pitch == w.depth
    words = w.window[1] * w.depth % lanes == 0 and (not w.padded or w.depth % lanes == 0)
    return plain and words


def panel_pixels(w: WeightedSum, pixels: int) -> int:
    """Pixels of a block: as many as asked for, or single ones."""
    rest = w.columns % pixels
    again = rest == 0 or not w.function.in_place
    return pixels if w.columns >= pixels and again else 1


def panel_filters(w: WeightedSum, filters: int) -> tuple[tuple[int, int], ...]:
    """Filters and filters of a block: what divides them all, else a whole part and what is left."""
    most = 2 if w.filters <= SMALL_LAYER else 4
    for width in range(filters, 0, -1):
        if width >= min(most, filters) and w.filters % width == 0 and width & (width - 1) == 0:
            return ((w.filters, width),)
    width = min(filters, w.filters)
    rest = w.filters % width
    return ((w.filters - rest, width), *(((rest, rest),) if rest else ()))


@dataclass(frozen=True, eq=False)
class _Part:
    builder: PanelBuilder
    micro: Function
    stream: np.ndarray
    name: str


@dataclass
class PanelKernel:
    """``block`` tells pixels and filters of a block at most, kind of weights, steps of a turn."""

    w: WeightedSum
    constants: Mapping[str, Array]
    block: Block

    def __post_init__(self) -> None:
        w, b = self.w, self.block
        pixels = panel_pixels(w, b.pixels)
        filters = b.filters if pixels > 1 else b.filters * b.pixels
        self.block = replace(b, pixels=pixels)
        self.widths = panel_filters(w, filters)
        turn = 2 * b.steps
        taps = -(-w.weights.size // w.filters // turn) * turn
        most = min(CHUNK_COLUMNS, PANEL_BYTES // (2 * taps))
        most = max(most - most % pixels, pixels)
        chunks = (n for n in range(most, most // 2, -pixels) if w.columns % n == 0)
        self.chunk = min(next(chunks, most), w.columns - w.columns % pixels)
        self.layout = WindowLayout(taps, self.chunk, 1, w.source.dtype.bits == 8)

    def parts(self) -> list[_Part] | None:
        """Blocks that cover all filters."""
        result: list[_Part] = []
        first = 0
        for filters, width in self.widths:
            block = replace(self.block, filters=width)
            builder = PanelBuilder(self.w, self.layout, block, first, filters, self.constants)
            built = builder.build()
            if built is None:
                return None
            name = f"{self.w.function.name}_stream{'_tail' if first else ''}"
            result.append(_Part(builder, *built, name))
            first += filters
        return result

    def build(self) -> tuple[Function, tuple[Function, ...], dict[str, np.ndarray]] | None:
        """The kernel, its micro functions, its constants."""
        w, parts = self.w, self.parts()
        if parts is None:
            return None
        full, rest = divmod(w.columns, self.chunk)
        row: tuple[Stmt, ...] = (
            loop(Var("first"), full, *self.part(parts, Var("first") * self.chunk, self.chunk)),
        )
        if rest:
            columns = rest + -rest % self.block.pixels
            row += self.part(parts, Imm(w.columns - columns), columns)
        row = (*self.copied_rows(), *row)
        body: tuple[Stmt, ...] = (loop(Var("n"), w.image[0], loop(Var("y"), w.rows, *row)),)
        if w.padded:
            body = (blank(self.lines, Imm(0), w.padding, 1, self.lines.elements), *body)
        if self.layout.column > w.weights.size // w.filters:
            body = (blank(buffer_of(self.layout), Imm(0), 0, 1, self.layout.elements), *body)
        body = simplify_body(body)
        streams = {part.name: part.stream for part in parts}
        micros = (*(part.micro for part in parts), self.filler, *fills_of(body))
        return self.function(body, parts), micros, streams

    @property
    def filler(self) -> Function:
        return panel_micro(self.w, self.block.pixels)

    # Rows between padding.

    @property
    def line(self) -> int:
        """Elements of a row of the padded image, as far as windows see it."""
        w = self.w
        return ((w.columns - 1) * w.strides[1] + w.window[1]) * w.depth

    @property
    def lines(self) -> Buffer:
        return Buffer("rows", self.w.source.dtype, (self.w.window[0] * self.line,), "workspace")

    def copied_rows(self) -> tuple[Stmt, ...]:
        """The rows that the windows of row ``y`` of results see."""
        w = self.w
        if not w.padded:
            return ()
        _, height, width, depth = w.image
        ky, left = Var("ky"), w.origin[1]
        count = min(width, self.line // depth - left) * depth
        row = self.row(ky)
        at = (Var("n") * height + row) * (width * depth)
        to = ky * self.line + left * depth
        source = w.source.view(w.source.elements)
        copied = copy(Pointer(source, at), self.lines, to, count)
        outside = blank(self.lines, to, w.padding, 1, count)
        inside = all_of(Binary(">=", row, Imm(0)), Binary("<", row, Imm(height)))
        return (loop(ky, w.window[0], If(inside, (copied,), (outside,))),)

    def row(self, ky: Expr) -> Expr:
        """The row of the image under row ``ky`` of windows."""
        w = self.w
        return Var("y") * w.strides[0] + ky * w.row_dilation - w.origin[0]

    def part(self, parts: list[_Part], first: Expr, columns: int) -> tuple[Stmt, ...]:
        """``columns`` results from ``first`` on: panels, then all filters."""
        w, pixels, ky = self.w, self.block.pixels, Var("ky")
        _, height, width, depth = w.image
        kh, kw = w.window
        if w.padded:
            source, at = self.lines, ky * self.line + first * (w.strides[1] * depth)
        else:
            source = w.source.view(w.source.elements)
            at = (Var("n") * height + self.row(ky)) * width + first * w.strides[1]
            at = at * depth
        size, segment = self.layout.column * pixels, kw * depth
        words = segment * w.source.dtype.bits // 32
        scalars = (columns // pixels, words - 1, w.strides[1] * depth, size)
        pointers = (Pointer(source, at), Pointer(buffer_of(self.layout), ky * (segment * pixels)))
        fill = loop(ky, kh, Invoke(self.filler.name, pointers, tuple(map(Imm, scalars))))
        return (fill, *(self.call(part, first, columns // pixels) for part in parts))

    def call(self, part: _Part, first: Expr, groups: int) -> Invoke:
        w, builder = self.w, part.builder
        stream = Buffer(part.name, DType.INT32, (len(part.stream),), "const")
        pointers = [Pointer(buffer_of(self.layout), Imm(0)), Pointer(stream, Imm(0))]
        results: list[Pointer] = []
        names = {w.variables.get("n", "n"): Var("n"), w.variables.get("y", "y"): Var("y")}
        for operand in builder.epilogue.operands.values():
            offset = operand.outer + first * operand.step(w.variables["x"])
            # Filters of an earlier part lie before those of this one.
            offset = offset + builder.first * operand.step(w.variables["c"])
            offset = substitute_expr(offset, names)
            pointer = Pointer(operand.buffer.view(operand.buffer.elements), offset)
            (results if operand.buffer.scope == "output" else pointers).append(pointer)
        scalars = (groups, *builder.scalars())
        return Invoke(part.micro.name, (*pointers, *results), tuple(map(Imm, scalars)))

    def function(self, body: tuple[Stmt, ...], parts: list[_Part]) -> Function:
        w = self.w
        tables = {
            o.buffer.name: None
            for part in parts
            for o in part.builder.epilogue.operands.values()
            if o.buffer.scope == "const"
        }
        streams = [Buffer(p.name, DType.INT32, (len(p.stream),), "const") for p in parts]
        declared = {b.name: b for b in w.function.constants}
        return replace(
            w.function,
            body=body,
            workspace=(buffer_of(self.layout), *((self.lines,) if w.padded else ())),
            constants=(*streams, *(declared[name] for name in tables)),
        )

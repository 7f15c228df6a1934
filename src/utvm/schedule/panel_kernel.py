"""A 1x1 convolution or a dense layer on panels, by micro functions that layers share: the kernel.

In: a weighted sum and the knobs of its blocks. Out: the kernel, which lays some pixels out in
panels and invokes the block on them, with its micro functions and its stream; or None where that
cannot be. Columns that fill no block are made once more, together with some before them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import Buffer, Expr, Function, Imm, Invoke, Pointer, Stmt, Var, loop
from utvm.ir.rewrite import simplify_body, substitute_expr
from utvm.schedule.blank import blank, blanks_of
from utvm.schedule.conv_block import Block
from utvm.schedule.line_buffer import buffer_of
from utvm.schedule.panel_block import PanelBuilder, panel_micro
from utvm.schedule.weighted_sum import Array, WeightedSum
from utvm.schedule.window_layout import WindowLayout

CHUNK_COLUMNS = 16
"""Results for which panels are filled at a time, at most."""
SMALL_LAYER = 64
"""So many filters and fewer may go two at a time, if they need no other function then."""


def has_panels(w: WeightedSum) -> bool:
    """Whether windows are single pixels of whole words inside of the image."""
    lanes = 4 if w.source.dtype.bits == 8 else 2
    return w.window == (1, 1) and not w.padded and w.depth % lanes == 0


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
        most = CHUNK_COLUMNS - CHUNK_COLUMNS % pixels
        chunks = (n for n in range(most, most // 2, -pixels) if w.columns % n == 0)
        self.chunk = min(next(chunks, most), w.columns - w.columns % pixels)
        self.layout = WindowLayout(-(-w.depth // turn) * turn, self.chunk, 1, w.depth % 4 == 0)
        if w.source.dtype.bits == 16:
            self.layout = replace(self.layout, grouped=False)

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
        body: tuple[Stmt, ...] = (loop(Var("n"), w.image[0], loop(Var("y"), w.rows, *row)),)
        if self.layout.column > w.depth:
            body = (blank(buffer_of(self.layout), Imm(0), 0, 1, self.layout.elements), *body)
        body = simplify_body(body)
        streams = {part.name: part.stream for part in parts}
        micros = (*(part.micro for part in parts), self.filler, *blanks_of(body))
        return self.function(body, parts), micros, streams

    @property
    def filler(self) -> Function:
        return panel_micro(self.w, self.block.pixels)

    def part(self, parts: list[_Part], first: Expr, columns: int) -> tuple[Stmt, ...]:
        """``columns`` results from ``first`` on: panels, then all filters."""
        w, pixels = self.w, self.block.pixels
        _, height, width, depth = w.image
        source = w.source.view(w.source.elements)
        row = Var("n") * height + Var("y") * w.strides[0]
        at = (row * width + first * w.strides[1]) * depth
        words = depth // (4 if w.source.dtype.bits == 8 else 2)
        size = self.layout.column * pixels
        scalars = (columns // pixels, words - 1, w.strides[1] * depth, size)
        pointers = (Pointer(source, at), Pointer(buffer_of(self.layout), Imm(0)))
        fill = Invoke(self.filler.name, pointers, tuple(map(Imm, scalars)))
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
            workspace=(buffer_of(self.layout),),
            constants=(*streams, *(declared[name] for name in tables)),
        )
